// A group is known by its members: kernel numbers change at boot and when hardware comes back, and hardware may be another than it was.

using System.Collections.Immutable;
using System.Globalization;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>Finds a container's group again, and tells what it differs in from the one that was claimed.</summary>
public static class Identity
{
    /// <summary>The group that a container's members are in now; null if none of them is there.</summary>
    public static IommuGroup? GroupOf(World world, Container container) =>
        container.Members.Select(member => world.GroupOf(member.Address)).FirstOrDefault(group => group is not null);

    /// <summary>What is different from the group that was claimed, in words; null if nothing.</summary>
    public static string? DifferenceFrom(World world, Container container)
    {
        IommuGroup? group = GroupOf(world, container);
        string[] differences =
        [
            .. container.Members.Select(member => DifferenceFrom(world, member, group)).OfType<string>(),
            .. (group?.Devices ?? []).Where(address => !container.Members.Any(member => member.Address == address)).Select(address => $"{address} is new in the group"),
        ];
        return differences.Length == 0 ? null : string.Join("; ", differences);
    }

    /// <summary>Whether a device is the one that was claimed.</summary>
    /// <remarks>
    /// A serial that only its own driver tells is not known while VFIO has it. But the kernel forgets <c>driver_override</c> with the device,
    /// so one that is still held to VFIO has never left.
    /// </remarks>
    public static bool IsSame(ContainerMember member, PciDevice device) =>
        device.VendorId == member.VendorId && device.DeviceId == member.DeviceId
        && (member.Serial is null || device.Serial == member.Serial || (device.Serial is null && VfioDrivers.IsVfio(device.DriverOverride)));

    /// <summary>The inventory with each container's group number as it is now.</summary>
    public static Inventory Renumber(World world) =>
        world.Inventory.Containers.Values.Aggregate(world.Inventory, (inventory, container) => Renumber(world with { Inventory = inventory }, container.Id));

    /// <summary>The inventory with one container's group number as it is now; a container that had that number until now has none.</summary>
    public static Inventory Renumber(World world, string id)
    {
        Container container = world.Inventory.Containers[id];
        int? number = NumberOf(world, container);
        return number == container.Group ? world.Inventory : Number(world.Inventory, container, number);
    }

    /// <summary>A container's group number as it is now; null if the group is not there.</summary>
    /// <remarks>Of two containers whose groups became one, the first has the number until it is given up.</remarks>
    public static int? NumberOf(World world, Container container) =>
        GroupOf(world, container) is { } group && world.ContainerOf(group)?.Id == container.Id ? group.Number : null;

    /// <summary>The inventory with a container in it under this number, which no other has.</summary>
    public static Inventory Number(Inventory inventory, Container container, int? number)
    {
        foreach (Container other in inventory.Containers.Values.Where(other => number is not null && other.Group == number && other.Id != container.Id))
        {
            inventory = inventory.With(other with { Group = null });
        }

        return inventory.With(container with { Group = number });
    }

    private static string? DifferenceFrom(World world, ContainerMember member, IommuGroup? group)
    {
        if (!world.Host.Devices.TryGetValue(member.Address, out PciDevice? device))
        {
            return $"{member.Address} is missing from the host";
        }

        if (!IsSame(member, device))
        {
            return device.VendorId == member.VendorId && device.DeviceId == member.DeviceId && device.Serial is null
                ? $"{member.Address} does not tell its serial, which was {member.Serial}"
                : $"{member.Address} is {Describe(device.VendorId, device.DeviceId, device.Serial)} and was {Describe(member.VendorId, member.DeviceId, member.Serial)}";
        }

        return group?.Devices.Contains(member.Address) == true ? null
            : device.Group is { } other ? $"{member.Address} is in group {other} now"
            : $"{member.Address} is in no group now";
    }

    private static string Describe(ushort vendor, ushort device, string? serial) =>
        string.Create(CultureInfo.InvariantCulture, $"{vendor:x4}:{device:x4}{(serial is null ? "" : $" with serial {serial}")}");
}
