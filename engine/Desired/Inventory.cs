// What was asked for: containers, guests, quarantines and overrides, as the store keeps them. What is comes from the host (Host/HostState.cs).

using System.Collections.Immutable;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Desired;

/// <summary>Everything that AssignHub was asked to do and holds to, in one immutable value.</summary>
public sealed record Inventory
{
    /// <summary>Nothing asked for.</summary>
    public static Inventory Empty { get; } = new();

    /// <summary>Containers by id.</summary>
    public ImmutableSortedDictionary<string, Container> Containers { get; init; } =
        ImmutableSortedDictionary.Create<string, Container>(StringComparer.Ordinal);

    /// <summary>Guests by name.</summary>
    public ImmutableSortedDictionary<string, Guest> Guests { get; init; } =
        ImmutableSortedDictionary.Create<string, Guest>(StringComparer.Ordinal);

    /// <summary>Devices that did not answer after a reset, until someone clears them.</summary>
    public ImmutableSortedDictionary<PciAddress, Quarantine> Quarantined { get; init; } = ImmutableSortedDictionary<PciAddress, Quarantine>.Empty;

    /// <summary>Devices that may be taken although the host uses them, each until its time.</summary>
    public ImmutableSortedDictionary<PciAddress, Override> Overrides { get; init; } = ImmutableSortedDictionary<PciAddress, Override>.Empty;

    /// <summary>The container that holds this device, or null.</summary>
    public Container? ContainerOf(PciAddress device) =>
        Containers.Values.FirstOrDefault(container => container.Members.Any(member => member.Address == device));

    /// <summary>This inventory with one container put in or replaced.</summary>
    public Inventory With(Container container) => this with { Containers = Containers.SetItem(container.Id, container) };

    /// <summary>This inventory with one guest put in or replaced.</summary>
    public Inventory With(Guest guest) => this with { Guests = Guests.SetItem(guest.Name, guest) };
}

/// <summary>A device that may not be assigned until someone clears it.</summary>
/// <param name="Address">The device.</param>
/// <param name="Reason">What it failed at.</param>
/// <param name="Since">Since when.</param>
public sealed record Quarantine(PciAddress Address, string Reason, DateTimeOffset Since);

/// <summary>Somebody's word that one device may be taken although the host uses it.</summary>
/// <param name="Address">The device.</param>
/// <param name="Reason">Why, in that person's words.</param>
/// <param name="Actor">Who.</param>
/// <param name="Since">Since when.</param>
/// <param name="Until">Until when, at most.</param>
public sealed record Override(PciAddress Address, string Reason, string Actor, DateTimeOffset Since, DateTimeOffset Until);
