// Resets: what one hits, when it is refused, and what it is followed by.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The rules and plans of resets.</summary>
public static class Resets
{
    /// <summary>All functions on the buses below a bridge, in bus order: what its reset hits.</summary>
    public static ImmutableArray<PciAddress> Below(HostState host, PciDevice bridge) => bridge.Bridge is not { SecondaryBus: > 0 } buses
        ? []
        :
        [
            .. host.Devices.Keys.Where(address => address.Domain == bridge.Address.Domain
                && address.Bus >= buses.SecondaryBus && address.Bus <= buses.SubordinateBus),
        ];

    /// <summary>
    /// All functions that the bus reset reaching this device hits, itself included: everything below its parent bridge.
    /// A device on a root bus is alone, for no bridge can reset it.
    /// </summary>
    public static ImmutableArray<PciAddress> DomainOf(HostState host, PciDevice device) =>
        device.ParentBridge is { } parent && host.Devices.TryGetValue(parent, out PciDevice? bridge) ? Below(host, bridge) : [device.Address];

    /// <summary>The devices below a bridge that are the active guests', plugged or on their way back after an eviction.</summary>
    public static IEnumerable<(Guest Guest, GuestDevice Device)> Evicted(World world, PciAddress bridge)
    {
        ImmutableArray<PciAddress> hit = world.Host.Devices.TryGetValue(bridge, out PciDevice? found) ? Below(world.Host, found) : [];
        return world.Inventory.Guests.Values.Where(guest => guest.IsActive)
            .SelectMany(guest => guest.Devices.Values.Where(device => hit.Contains(device.Address)).Select(device => (guest, device)));
    }

    /// <summary>Everything against resetting what is below this bridge; empty if it may be done now.</summary>
    /// <param name="world">What is.</param>
    /// <param name="bridge">The bridge.</param>
    /// <param name="evict">Whether running guests give up their devices for it.</param>
    public static ImmutableArray<Refusal> RefusalsFor(World world, PciDevice bridge, bool evict = false)
    {
        string subject = bridge.Address.ToString();
        ImmutableArray<PciAddress> hit = Below(world.Host, bridge);
        if (hit.IsEmpty)
        {
            return [Refusals.ResetUnsupported(subject, $"There is nothing below {bridge.Address}.")];
        }

        if (!bridge.CanResetSubordinate)
        {
            return [Refusals.ResetUnsupported(subject, $"The kernel offers no reset_subordinate for {bridge.Address}.")];
        }

        return Blockers(world, subject, hit, evict);
    }

    internal static void Plan(Draft draft, ResetBridge reset)
    {
        if (!draft.World.Host.Devices.TryGetValue(reset.Bridge, out PciDevice? bridge) || !bridge.IsBridge)
        {
            draft.Refuse(Refusals.BridgeNotFound(reset.Bridge));
            return;
        }

        draft.Refuse(RefusalsFor(draft.World, bridge, reset.Evict));
        if (draft.IsRefused)
        {
            return;
        }

        ImmutableArray<PciAddress> hit = Below(draft.World.Host, bridge);
        Hold(draft, hit);
        (Guest Guest, GuestDevice Device)[] evicted = reset.Evict
            ? [.. Evicted(draft.World, bridge.Address).Where(evicted => evicted.Guest.State == GuestState.Running)]
            : [];
        foreach ((Guest guest, GuestDevice device) in evicted)
        {
            DevicePlugging.Evict(draft, guest.Name, device.Address, $"the reset of {bridge.Address} hits it; it comes back after");
        }

        draft.Do(new ResetBelow(bridge.Address, $"it hits {string.Join(", ", hit)}"));
        Check(draft, hit);
        foreach ((Guest guest, GuestDevice device) in evicted)
        {
            DevicePlugging.Return(draft, guest.Name, device.Address);
        }
    }

    internal static void Plan(Draft draft, ResetDevice reset)
    {
        if (!draft.World.Host.Devices.TryGetValue(reset.Device, out PciDevice? device))
        {
            draft.Refuse(Refusals.DeviceNotFound(reset.Device));
            return;
        }

        if (device.ResetMethods.IsEmpty)
        {
            draft.Refuse(Refusals.ResetUnsupported(device.Address.ToString(), $"The kernel has no way to reset {device.Address} alone."));
        }

        ImmutableArray<PciAddress> hit = HitBy(draft.World.Host, reset);
        draft.Refuse(Blockers(draft.World, device.Address.ToString(), hit, evict: false));
        Hold(draft, hit);
        draft.Do(new ResetFunction(device.Address, $"by {string.Join(" or ", device.ResetMethods)}"));
        Check(draft, hit);
    }

    /// <summary>After a reset that failed half-way: all that it may have wedged is checked, and what was evicted goes back, but for what did not survive.</summary>
    internal static void Undo(Draft draft, ResetBridge reset)
    {
        if (!draft.World.Host.Devices.TryGetValue(reset.Bridge, out PciDevice? bridge))
        {
            return;
        }

        Check(draft, Below(draft.World.Host, bridge));
        if (!reset.Evict)
        {
            return;
        }

        foreach ((Guest guest, GuestDevice device) in Evicted(draft.World with { Inventory = draft.Inventory }, reset.Bridge).ToArray())
        {
            GuestView? view = draft.World.Guests.GetValueOrDefault(guest.Name);
            if (view?.Devices.Contains(device.Address) == true)
            {
                draft.Inventory = draft.Inventory.With(draft.Inventory.Guests[guest.Name].With(device with { State = GuestDeviceState.Attached }));
            }
            else if (view is not null)
            {
                DevicePlugging.Return(draft, guest.Name, device.Address);
            }
        }
    }

    /// <summary>After a reset of one function that failed: it is checked.</summary>
    internal static void Undo(Draft draft, ResetDevice reset) => Check(draft, HitBy(draft.World.Host, reset));

    internal static void Plan(Draft draft, ClearQuarantine clear)
    {
        if (!draft.World.Host.Devices.ContainsKey(clear.Device))
        {
            draft.Refuse(Refusals.DeviceNotFound(clear.Device));
            return;
        }

        draft.Inventory = draft.Inventory with { Quarantined = draft.Inventory.Quarantined.Remove(clear.Device) };
    }

    /// <summary>Adds the check that each device answers as before, for all that a reset or a dead guest may have wedged.</summary>
    internal static void Check(Draft draft, IEnumerable<PciAddress> devices)
    {
        ImmutableArray<CheckedDevice> checks =
        [
            .. devices.Where(draft.World.Host.Devices.ContainsKey).Select(address => draft.World.Host.Devices[address])
                .Select(device => new CheckedDevice(device.Address, device.VendorId, device.CapabilityFingerprint)),
        ];
        if (!checks.IsEmpty)
        {
            draft.Do(new CheckDevices(checks, "a device that does not answer is quarantined"));
        }
    }

    /// <summary>Holds devices, by their groups where they have one, until the plan ends.</summary>
    internal static void Hold(Draft draft, ImmutableArray<PciAddress> hit)
    {
        foreach (PciAddress address in hit)
        {
            draft.Touch(draft.World.GroupOf(address) is { } group ? Names.Group(group.Number) : address.ToString());
        }
    }

    // The kernel takes a bus reset for a function only where nothing else is on the bus, so it alone is hit, with what it makes up.
    private static ImmutableArray<PciAddress> HitBy(HostState host, ResetDevice reset) =>
        [reset.Device, .. VirtualFunctions.Of(host, reset.Device).Select(function => function.Address)];

    private static ImmutableArray<Refusal> Blockers(World world, string subject, ImmutableArray<PciAddress> hit, bool evict)
    {
        var refusals = ImmutableArray.CreateBuilder<Refusal>();
        foreach (PciDevice device in hit.Where(world.Host.Devices.ContainsKey).Select(address => world.Host.Devices[address]))
        {
            if (world.ActiveGuestWith(device.Address) is { } guest)
            {
                // Only a guest whose CPUs run can be asked to let go.
                if (evict && guest.State == GuestState.Running)
                {
                    // It would have to come back after, and nothing is plugged from a group that changed.
                    if (world.Inventory.ContainerOf(device.Address) is { } owner && Identity.DifferenceFrom(world, owner) is { } difference)
                    {
                        refusals.Add(Refusals.GroupChanged(owner, difference));
                    }

                    continue;
                }

                refusals.Add(Refusals.ResetHitsGuest(subject, device.Address, device.Group, guest));
            }
            else if (device.Group is { } number && world.Host.Holders.TryGetValue(number, out GroupHolder? holder))
            {
                refusals.Add(Refusals.ResetHitsForeign(subject, device.Address, holder));
            }
            else if (!device.HostUses.IsEmpty || Ownership.Blocks(device.Driver))
            {
                refusals.Add(Refusals.ResetHitsHost(subject, device));
            }
        }

        return refusals.ToImmutable();
    }
}
