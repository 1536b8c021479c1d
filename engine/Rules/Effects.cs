// What a step that succeeded means for the inventory. Journal and inventory are written together, so a crash sees both or neither.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Rules;

/// <summary>What a step found out, beyond having succeeded.</summary>
public sealed record StepOutcome
{
    /// <summary>Nothing but success.</summary>
    public static StepOutcome Done { get; } = new();

    /// <summary>Of <see cref="ProveContainer"/>: what the kernel said of the IOMMU.</summary>
    public IommuReport? Iommu { get; init; }

    /// <summary>Of <see cref="ProveContainer"/>: what it said of the devices, where they were opened.</summary>
    public ImmutableArray<DeviceReport> Reports { get; init; } = [];

    /// <summary>Of <see cref="LaunchGuest"/>: the process.</summary>
    public GuestProcess? Process { get; init; }

    /// <summary>Of <see cref="CheckDevices"/>: devices that did not answer as before.</summary>
    public ImmutableArray<Quarantine> Quarantined { get; init; } = [];
}

/// <summary>The effect of each step on the inventory.</summary>
public static class Effects
{
    /// <summary>The inventory after a step succeeded.</summary>
    public static Inventory Apply(Inventory inventory, Step step, StepOutcome outcome) => step switch
    {
        ProveContainer prove => Change(inventory, prove.Container, container => container with
        {
            State = ContainerState.Ready,
            Backend = outcome.Iommu?.Backend ?? container.Backend,
            Iommu = outcome.Iommu ?? container.Iommu,
            Reports = outcome.Reports.IsEmpty ? container.Reports : outcome.Reports,
            Error = null,
        }),
        DropContainer drop => inventory with { Containers = inventory.Containers.Remove(drop.Container) },
        FenceContainer fence => Change(inventory, fence.Container, container => container with
        {
            State = container.State == ContainerState.Attached ? ContainerState.Attached : ContainerState.Ready,
            Fence = fence.Reason,
        }),
        UnfenceContainer unfence => Change(inventory, unfence.Container, container => container with { Fence = null }),
        GrantGroup grant => Change(inventory, grant.Container, container => container with { State = ContainerState.Attached, Guest = grant.Guest }),
        // A container that is on its way back, or has failed, stays so.
        RevokeGroup revoke => Change(inventory, revoke.Container, container => container with
        {
            State = container.State == ContainerState.Attached ? ContainerState.Ready : container.State,
            Guest = revoke.Free ? null : container.Guest,
        }),
        LaunchGuest launch => Change(inventory, launch.Guest, guest => guest with { Process = outcome.Process, Error = null }),
        PlugDevice plug => Change(inventory, plug.Guest, guest => guest.Devices.TryGetValue(plug.Device, out GuestDevice? device)
            ? guest.With(device with { State = GuestDeviceState.Attached })
            : guest),
        UnplugDevice { Returns: true } unplug => Change(inventory, unplug.Guest, guest => guest.Devices.TryGetValue(unplug.Device, out GuestDevice? device)
            ? guest.With(device with { State = GuestDeviceState.Pending })
            : guest),
        UnplugDevice unplug => Change(inventory, unplug.Guest, guest => guest.Without(unplug.Device) with { Generation = guest.Generation + 1 }),
        LoseDevice lose => Change(inventory, lose.Guest, guest => guest.Devices.TryGetValue(lose.Device, out GuestDevice? device)
            ? guest.With(device with { State = GuestDeviceState.Pending, Bus = null, Slot = null })
            : guest),
        RunGuest run => Change(inventory, run.Guest, guest => guest with { State = GuestState.Running }),
        HoldGuest hold => Change(inventory, hold.Guest, guest => guest with { State = GuestState.Paused }),
        EndGuest end => Change(inventory, end.Guest, guest => Ended(guest, end.Error)),
        DropGuest drop => Forget(inventory, drop.Guest),
        CheckDevices => outcome.Quarantined.Aggregate(inventory, (next, quarantine) =>
            next with { Quarantined = next.Quarantined.SetItem(quarantine.Address, quarantine) }),
        RecordOverride record => inventory with { Overrides = inventory.Overrides.SetItem(record.Override.Address, record.Override) },
        DropOverride drop => inventory with { Overrides = inventory.Overrides.Remove(drop.Device) },
        _ => inventory,
    };

    /// <summary>The inventory after a step of a way back failed, or was forbidden: a device that did not get into its guest waits for the next start.</summary>
    public static Inventory Fail(Inventory inventory, Step step) => step is not PlugDevice plug
        ? inventory
        : Change(inventory, plug.Guest, guest => guest.Devices.TryGetValue(plug.Device, out GuestDevice? device)
            ? guest.With(device with { State = GuestDeviceState.Pending, Bus = null, Slot = null })
            : guest);

    /// <summary>A guest whose process is gone: what it had is pending until its next start.</summary>
    internal static Guest Ended(Guest guest, string? error) => guest with
    {
        Process = null,
        State = error is null ? GuestState.Stopped : GuestState.Failed,
        Error = error,
        Devices = guest.Devices.Values.ToImmutableSortedDictionary(
            device => device.Address, device => device with { State = GuestDeviceState.Pending, Bus = null, Slot = null }),
    };

    /// <summary>The inventory with containers marked that could not be given back in full.</summary>
    public static Inventory Strand(Inventory inventory, IEnumerable<string> containers, string? error) =>
        containers.Aggregate(inventory, (next, id) => Change(next, id, container => container with { State = ContainerState.Failed, Error = error }));

    private static Inventory Forget(Inventory inventory, string name)
    {
        foreach (Container container in inventory.Containers.Values.Where(container => container.Guest == name))
        {
            inventory = inventory.With(container with { Guest = null });
        }

        return inventory with { Guests = inventory.Guests.Remove(name) };
    }

    private static Inventory Change(Inventory inventory, string container, Func<Container, Container> change) =>
        inventory.Containers.TryGetValue(container, out Container? found) ? inventory.With(change(found)) : inventory;

    private static Inventory Change(Inventory inventory, string guest, Func<Guest, Guest> change) =>
        inventory.Guests.TryGetValue(guest, out Guest? found) ? inventory.With(change(found)) : inventory;
}
