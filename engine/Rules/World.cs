// All that a rule may look at: what was observed, and what was asked for.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>What is and what was asked for, at one moment.</summary>
/// <param name="Host">The host as observed.</param>
/// <param name="Inventory">What was asked for.</param>
public sealed record World(HostState Host, Inventory Inventory)
{
    /// <summary>What the processes of active guests were seen to be, by guest name; a guest without one has no entry.</summary>
    public ImmutableDictionary<string, GuestView> Guests { get; init; } = ImmutableDictionary<string, GuestView>.Empty;

    /// <summary>The group that holds this device, or null.</summary>
    public IommuGroup? GroupOf(PciAddress device) =>
        Host.Devices.TryGetValue(device, out PciDevice? found) && found.Group is { } number && Host.Groups.TryGetValue(number, out IommuGroup? group)
            ? group
            : null;

    /// <summary>The container of this group, by its members, whatever number it had; null if none of them is claimed.</summary>
    public Container? ContainerOf(IommuGroup group) => ContainersOf(group).FirstOrDefault();

    /// <summary>The same where hardware was moved: groups that were claimed apart may be one now.</summary>
    public IEnumerable<Container> ContainersOf(IommuGroup group) =>
        Inventory.Containers.Values.Where(container => container.Members.Any(member => group.Devices.Contains(member.Address)));

    /// <summary>The active guest that this device is in, or on its way into or out of; null if none.</summary>
    public Guest? ActiveGuestWith(PciAddress device) =>
        Inventory.Guests.Values.FirstOrDefault(guest => guest.IsActive && guest.Devices.TryGetValue(device, out GuestDevice? plugged)
            && plugged.State != GuestDeviceState.Pending);

    /// <summary>The members of a group that the kernel shows, in bus order.</summary>
    public IEnumerable<PciDevice> Members(IommuGroup group) =>
        group.Devices.Where(Host.Devices.ContainsKey).Select(address => Host.Devices[address]);
}

/// <summary>A guest's process as QEMU and the kernel tell it.</summary>
/// <param name="Running">Whether its CPUs run.</param>
/// <param name="Devices">The host devices that QEMU has.</param>
/// <param name="ContainersOpen">Container fds that its process holds.</param>
public sealed record GuestView(bool Running, ImmutableHashSet<PciAddress> Devices, int ContainersOpen)
{
    /// <summary>Whether it was launched with an emulated IOMMU.</summary>
    public bool HasIommu { get; init; }
}
