// A group is known by its members: kernel numbers change at boot, and hardware may have been moved in between.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>Finds each container's group again, or fences the container.</summary>
public static class Identity
{
    /// <summary>The inventory with the group numbers of this boot; a container whose group changed is fenced, with the difference.</summary>
    public static Inventory Realign(World world)
    {
        Inventory inventory = world.Inventory;
        foreach (Container container in world.Inventory.Containers.Values)
        {
            ImmutableArray<PciDevice> present =
                [.. container.Endpoints.Where(member => world.Host.Devices.ContainsKey(member.Address)).Select(member => world.Host.Devices[member.Address])];
            IommuGroup? group = present.IsEmpty ? null : world.GroupOf(present[0].Address);
            string? difference = group is null ? null : Difference(world, container, group);
            Container realigned = difference is null
                ? container with { Group = group?.Number }
                : container with { Group = group!.Number, State = ContainerState.Fenced, Error = difference };
            if (realigned.Group != container.Group || realigned.State != container.State)
            {
                inventory = inventory.With(realigned);
            }
        }

        return inventory;
    }

    /// <summary>What is different from the group that was claimed, in words; null if nothing.</summary>
    private static string? Difference(World world, Container container, IommuGroup group)
    {
        ImmutableArray<string> differences =
        [
            .. container.Members.Where(member => !group.Devices.Contains(member.Address)).Select(member => $"{member.Address} is gone from the group"),
            .. group.Devices.Where(address => !container.Members.Any(member => member.Address == address)).Select(address => $"{address} is new in the group"),
            .. container.Members.Where(member => world.Host.Devices.TryGetValue(member.Address, out PciDevice? device)
                    && (device.VendorId != member.VendorId || device.DeviceId != member.DeviceId || device.Serial != member.Serial))
                .Select(member => $"{member.Address} is another device than at the claim"),
        ];
        return differences.IsEmpty ? null : string.Join("; ", differences);
    }
}
