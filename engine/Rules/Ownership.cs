// Who has a group, and what a device is to the hub. The group is the unit: nobody ever holds part of one.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The owner of a group: exactly one of four.</summary>
public enum GroupOwner
{
    /// <summary>A member is on a host driver.</summary>
    Host,
    /// <summary>Nobody.</summary>
    Free,
    /// <summary>A container of AssignHub.</summary>
    Container,
    /// <summary>A process that AssignHub did not start holds it through VFIO.</summary>
    Foreign,
}

/// <summary>What a device is to the hub.</summary>
public enum DeviceState
{
    /// <summary>The host's.</summary>
    Host,
    /// <summary>Nobody's.</summary>
    Free,
    /// <summary>In a claimed group, and in no running guest.</summary>
    Reserved,
    /// <summary>In a running guest.</summary>
    Assigned,
    /// <summary>It did not answer after a reset.</summary>
    Quarantined,
    /// <summary>Claimed, and gone from the host.</summary>
    Missing,
}

/// <summary>Ownership of groups and devices.</summary>
public static class Ownership
{
    /// <summary>Drivers that leave a group to whoever claims it (they are <c>driver_managed_dma</c> in the kernel).</summary>
    private static readonly ImmutableHashSet<string> HarmlessDrivers =
        ImmutableHashSet.Create(StringComparer.Ordinal, "pci-stub", "pcieport");

    /// <summary>Whether a driver keeps its device's group from being claimed.</summary>
    public static bool Blocks(string? driver) =>
        driver is not null && !HarmlessDrivers.Contains(driver) && !VfioDrivers.IsVfio(driver);

    /// <summary>
    /// Whether a member of a claimed group stays where it is: bridges, and the host's own parts that class 06 covers
    /// (host and ISA bridges), which vfio-pci may not or must not drive.
    /// </summary>
    public static bool Stays(PciDevice device) => device.IsBridge || device.ClassCode >> 16 == 0x06;

    /// <summary>Who owns the group.</summary>
    public static GroupOwner OwnerOf(World world, IommuGroup group)
    {
        if (world.ContainerOf(group) is not null)
        {
            return GroupOwner.Container;
        }

        if (world.Host.Holders.ContainsKey(group.Number))
        {
            return GroupOwner.Foreign;
        }

        return world.Members(group).Any(member => Stays(member) ? Blocks(member.Driver) : member.Driver is not null && !VfioDrivers.IsVfio(member.Driver))
            ? GroupOwner.Host
            : GroupOwner.Free;
    }

    /// <summary>What the device is to the hub.</summary>
    public static DeviceState StateOf(World world, PciDevice device)
    {
        if (world.Inventory.Quarantined.ContainsKey(device.Address))
        {
            return DeviceState.Quarantined;
        }

        if (Stays(device))
        {
            return DeviceState.Host;
        }

        if (world.ActiveGuestWith(device.Address) is not null)
        {
            return DeviceState.Assigned;
        }

        if (world.Inventory.ContainerOf(device.Address) is not null)
        {
            return DeviceState.Reserved;
        }

        return device.Driver is null || VfioDrivers.IsVfio(device.Driver) ? DeviceState.Free : DeviceState.Host;
    }

    /// <summary>
    /// Whether the kernel would let the group into a container as it is now: no member on a driver that does DMA for the host.
    /// </summary>
    public static bool IsViable(World world, IommuGroup group) => !world.Members(group).Any(member => Blocks(member.Driver));
}
