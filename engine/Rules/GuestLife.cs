// A guest's life: created with its devices reserved, launched empty and hot-added to, ended with its devices kept.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The rules and plans of creating, starting, stopping and deleting guests.</summary>
internal static class GuestLife
{
    public static void Plan(Draft draft, CreateGuest create)
    {
        GuestSpec spec = create.Spec;
        Guest? existing = draft.World.Inventory.Guests.GetValueOrDefault(spec.Name);
        draft.Touch(Names.Guest(spec.Name));
        if (existing is not null && !spec.IsSameAs(existing.Spec))
        {
            draft.Refuse(Refusals.GuestExists(existing));
            return;
        }

        if (existing is not null && existing.CreatedAt != create.At)
        {
            return;
        }

        if (GuestUids.Allocate(draft.World.Inventory.Guests.Values.Select(other => other.Uid)) is not { } uid)
        {
            draft.Refuse(Refusals.NoUserLeft(spec.Name));
            return;
        }

        Guest guest = existing ?? new Guest { Spec = spec, State = GuestState.Stopped, Uid = uid, CreatedAt = create.At };
        // Containers name their guest, so it has to be there first.
        draft.Inventory = draft.Inventory.With(guest);
        guest = Reserve(draft, guest, openDevices: true);
        draft.Inventory = draft.Inventory.With(guest);
    }

    public static void Plan(Draft draft, StartGuest start)
    {
        if (Find(draft, start.Guest) is not { } guest)
        {
            return;
        }

        GuestView? view = draft.World.Guests.GetValueOrDefault(guest.Name);
        if (view is not null && guest.State == GuestState.Running)
        {
            return;
        }

        if (view is not null && guest.State == GuestState.Paused)
        {
            draft.Do(new RunGuest(guest.Name, "it was paused"));
            return;
        }

        guest = Reserve(draft, guest, openDevices: false) with { State = GuestState.Starting, Error = null };
        if (draft.IsRefused)
        {
            return;
        }

        if (view is null)
        {
            draft.Do(new LaunchGuest(guest.Name, HasIommu(draft.World, guest), guest.Devices.IsEmpty
                ? "paused, so that nothing runs before everything is there"
                : "paused and without devices: launching is hot-adding"));
        }

        // Placed one after the other, each sees where those before it went.
        Guest placed = guest with { Devices = ImmutableSortedDictionary<PciAddress, GuestDevice>.Empty };
        foreach (IGrouping<string, GuestDevice> group in guest.Devices.Values.GroupBy(device => device.Container))
        {
            foreach (GuestDevice device in group)
            {
                placed = DevicePlugging.Plug(draft, placed, device, firstOfGroup: device == group.First());
            }
        }

        draft.Do(new RunGuest(guest.Name, "it has what it needs"));
        draft.Inventory = draft.Inventory.With(placed);
    }

    public static void Plan(Draft draft, StopGuest stop)
    {
        if (Find(draft, stop.Guest) is not { } guest)
        {
            return;
        }

        if (guest.IsActive)
        {
            End(draft, guest, stop.Force, error: null, stop.Force ? "by force" : "asked by its power button, then made to");
            return;
        }

        Revoke(draft, guest);
        if (guest.State == GuestState.Failed)
        {
            draft.Inventory = draft.Inventory.With(guest with { State = GuestState.Stopped, Error = null });
        }
    }

    public static void Plan(Draft draft, PauseGuest pause)
    {
        if (FindActive(draft, pause.Guest) is { State: not GuestState.Paused } guest)
        {
            draft.Do(new HoldGuest(guest.Name, "asked for"));
        }
    }

    public static void Plan(Draft draft, ResumeGuest resume)
    {
        if (FindActive(draft, resume.Guest) is { State: not GuestState.Running } guest)
        {
            draft.Do(new RunGuest(guest.Name, "asked for"));
        }
    }

    public static void Plan(Draft draft, DeleteGuest delete)
    {
        if (Find(draft, delete.Guest) is not { } guest)
        {
            return;
        }

        if (guest.IsActive && guest.State != GuestState.Stopping && !delete.Force)
        {
            draft.Refuse(Refusals.GuestRunning(guest,
                $"Stop it first: POST /v1/guests/{guest.Name}/stop; or DELETE /v1/guests/{guest.Name}?force=true."));
            return;
        }

        if (guest.IsActive)
        {
            End(draft, guest, delete.Force, error: null, "it is deleted");
        }
        else
        {
            Revoke(draft, guest);
        }

        foreach (Container container in Containers(draft, guest.Name).Where(container => !container.Keep))
        {
            Claims.Release(draft, container);
        }

        draft.Do(new DropGuest(guest.Name, "its devices are back, or kept in containers of their own"));
    }

    /// <summary>
    /// A guest whose process ended by itself: its devices stay reserved, and have to answer. Or one that lives and gave a device up by
    /// itself, because the kernel wanted it back: it waits for the device.
    /// </summary>
    public static void Plan(Draft draft, SettleGuest settle)
    {
        if (Find(draft, settle.Guest) is not { } guest)
        {
            return;
        }

        if (draft.World.Guests.TryGetValue(guest.Name, out GuestView? view))
        {
            Drift.Follow(draft, guest, view);
        }
        else if (guest.IsActive)
        {
            End(draft, guest, force: true, settle.LastWords, "its process is gone");
        }
        else
        {
            Revoke(draft, guest);
        }
    }

    /// <summary>Adds the end of a guest's process and what follows for its groups.</summary>
    public static void End(Draft draft, Guest guest, bool force, string? error, string reason)
    {
        draft.Touch(Names.Guest(guest.Name));
        draft.Inventory = draft.Inventory.With(guest with { State = GuestState.Stopping });
        draft.Do(new EndGuest(guest.Name, force, error, reason));
        Revoke(draft, guest);
        Resets.Check(draft, guest.Devices.Keys);
    }

    /// <summary>Adds what takes back a guest's right to its groups, once its process is gone.</summary>
    private static void Revoke(Draft draft, Guest guest)
    {
        foreach (Container container in Containers(draft, guest.Name))
        {
            if (container.State == ContainerState.Attached)
            {
                DevicePlugging.Revoke(draft, container, free: false, $"guest {guest.Name} has ended");
            }
        }
    }

    /// <summary>
    /// Whether a guest has an emulated IOMMU, or gets one at its launch. Without iommufd it is what gives each group a container of its own in QEMU.
    /// </summary>
    public static bool HasIommu(World world, Guest guest) => world.Guests.GetValueOrDefault(guest.Name)?.HasIommu
        ?? (guest.Spec.GuestIommu == GuestIommu.On || (guest.Spec.GuestIommu == GuestIommu.Auto && world.Host.Vfio.Backend != Container.Iommufd));

    public static Guest? Find(Draft draft, string name)
    {
        draft.Touch(Names.Guest(name));
        if (draft.World.Inventory.Guests.TryGetValue(name, out Guest? guest))
        {
            return guest;
        }

        draft.Refuse(Refusals.GuestNotFound(name));
        return null;
    }

    private static Guest? FindActive(Draft draft, string name)
    {
        Guest? guest = Find(draft, name);
        if (guest is null || guest.State is GuestState.Running or GuestState.Paused)
        {
            return guest;
        }

        draft.Refuse(Refusals.GuestNotRunning(guest));
        return null;
    }

    /// <summary>Takes the groups of all devices in the spec, each as a whole.</summary>
    private static Guest Reserve(Draft draft, Guest guest, bool openDevices)
    {
        foreach (PciAddress address in guest.Spec.Devices)
        {
            guest = DevicePlugging.Reserve(draft, guest, address, openDevices);
        }

        return guest;
    }

    private static ImmutableArray<Container> Containers(Draft draft, string guest) =>
        [.. draft.Inventory.Containers.Values.Where(container => container.Guest == guest)];
}
