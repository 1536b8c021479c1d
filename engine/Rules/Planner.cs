// Decides: from what is and what is asked for to an ordered plan, or to every refusal. Pure: the same world gives the same plan.

using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;

namespace AssignHub.Engine.Rules;

/// <summary>Plans changes, and the way back from those that failed.</summary>
public static class Planner
{
    /// <summary>Decides a change. Where parts of it are done already, the plan has what remains.</summary>
    public static Decision Decide(World world, Change change)
    {
        var draft = new Draft(world, change);
        switch (change)
        {
            case ClaimGroup claim:
                Claims.Plan(draft, claim);
                break;
            case ReleaseContainer release:
                Claims.Plan(draft, release);
                break;
            case ResetBridge reset:
                Resets.Plan(draft, reset);
                break;
            case ResetDevice reset:
                Resets.Plan(draft, reset);
                break;
            case ClearQuarantine clear:
                Resets.Plan(draft, clear);
                break;
            case CreateGuest create:
                GuestLife.Plan(draft, create);
                break;
            case DeleteGuest delete:
                GuestLife.Plan(draft, delete);
                break;
            case StartGuest start:
                GuestLife.Plan(draft, start);
                break;
            case StopGuest stop:
                GuestLife.Plan(draft, stop);
                break;
            case PauseGuest pause:
                GuestLife.Plan(draft, pause);
                break;
            case ResumeGuest resume:
                GuestLife.Plan(draft, resume);
                break;
            case AttachDevice attach:
                DevicePlugging.Plan(draft, attach);
                break;
            case DetachDevice detach:
                DevicePlugging.Plan(draft, detach);
                break;
            case SettleGuest settle:
                GuestLife.Plan(draft, settle);
                break;
            case SetOverride set:
                Overrides.Plan(draft, set);
                break;
            case ClearOverride clear:
                Overrides.Plan(draft, clear);
                break;
            case SetVirtualFunctions set:
                VirtualFunctions.Plan(draft, set);
                break;
            case AlignContainer align:
                Drift.Plan(draft, align);
                break;
            case AcceptContainer accept:
                Drift.Plan(draft, accept);
                break;
            default:
                throw new ArgumentOutOfRangeException(nameof(change), change, "a change that the planner does not know");
        }

        return draft.Conclude();
    }

    /// <summary>
    /// Plans the way back from a change that failed: what it took is given back, what it moved is where it was, and what
    /// could not be undone is recorded as failed with the error. Never refused.
    /// </summary>
    public static Plan Undo(World world, Change change, string error)
    {
        var draft = new Draft(world, change);
        switch (change)
        {
            case ClaimGroup or CreateGuest or StartGuest or AttachDevice:
                GiveBack(draft, change, error);
                break;
            case DetachDevice detach:
                KeepPlugged(draft, detach);
                break;
            case ResetBridge reset:
                Resets.Undo(draft, reset);
                break;
            case ResetDevice reset:
                Resets.Undo(draft, reset);
                break;
            case SetVirtualFunctions set:
                VirtualFunctions.Undo(draft, set);
                break;
            case StopGuest stop:
                KeepRunning(draft, stop.Guest, error);
                break;
            case DeleteGuest delete:
                KeepRunning(draft, delete.Guest, error);
                break;
            case AlignContainer align:
                Drift.Undo(draft, align.Container, error);
                break;
            case AcceptContainer accept:
                Drift.Undo(draft, accept.Container, error);
                break;
        }

        if (change is not (ClaimGroup or CreateGuest or StartGuest or AttachDevice))
        {
            // Not all of it went back: it is not tried for ever, but said, and another DELETE takes it up.
            foreach (Container container in draft.Inventory.Containers.Values.Where(container => IsHalfWay(draft, container)))
            {
                draft.Inventory = draft.Inventory.With(container with { State = ContainerState.Failed, Error = error });
            }
        }

        return draft.Conclude().Plan!;
    }

    /// <summary>What forbids a planned step since an earlier one found it out: a device that did not survive its reset goes into no guest.</summary>
    public static Refusal? RefusalOf(Inventory inventory, Step step) =>
        step is PlugDevice plug && inventory.Quarantined.TryGetValue(plug.Device, out Quarantine? quarantine) ? Refusals.Quarantined(quarantine) : null;

    private static bool IsHalfWay(Draft draft, Container container) => container.State == ContainerState.Releasing && draft.Change switch
    {
        ReleaseContainer release => release.Container == container.Id,
        DeleteGuest delete => container.Guest == delete.Guest,
        DetachDevice detach => container.Guest == detach.Guest,
        _ => false,
    };

    private static void GiveBack(Draft draft, Change change, string error)
    {
        string? name = change switch
        {
            StartGuest start => start.Guest,
            CreateGuest create => create.Spec.Name,
            AttachDevice attach => attach.Guest,
            _ => null,
        };
        if (name is not null && draft.Inventory.Guests.TryGetValue(name, out Guest? guest))
        {
            if (change is StartGuest)
            {
                GuestLife.End(draft, guest, force: true, error, "it could not start");
            }
            else if (change is AttachDevice attach && !Unattach(draft, guest, attach))
            {
                return;
            }
        }

        foreach (Container container in draft.Inventory.Containers.Values.Where(container => container.CreatedAt == change.At).ToArray())
        {
            Claims.Release(draft, container);
        }

        if (change is CreateGuest && name is not null)
        {
            draft.Do(new DropGuest(name, "its devices could not be had"));
        }
    }

    /// <summary>Takes a device that did not get into its guest off the record; false if it is in there after all.</summary>
    private static bool Unattach(Draft draft, Guest guest, AttachDevice attach)
    {
        if (!guest.Devices.TryGetValue(attach.Device, out GuestDevice? device))
        {
            return true;
        }

        if (draft.World.Guests.GetValueOrDefault(guest.Name)?.Devices.Contains(attach.Device) == true)
        {
            draft.Inventory = draft.Inventory.With(guest.With(device with { State = GuestDeviceState.Attached }));
            return false;
        }

        draft.Inventory = draft.Inventory.With(guest.Without(attach.Device) with { Generation = guest.Generation + 1 });
        if (draft.Inventory.Containers.TryGetValue(device.Container, out Container? container)
            && !guest.Devices.Values.Any(other => other.Container == container.Id && other.Address != attach.Device))
        {
            if (container.State == ContainerState.Attached)
            {
                DevicePlugging.Revoke(draft, container, free: true, "the device did not get into the guest");
            }
            else
            {
                draft.Inventory = draft.Inventory.With(container with { Guest = null });
            }
        }

        return true;
    }

    /// <summary>A guest that refused to let go still has the device, and the record says so.</summary>
    private static void KeepPlugged(Draft draft, DetachDevice detach)
    {
        if (!draft.Inventory.Guests.TryGetValue(detach.Guest, out Guest? guest)
            || draft.World.Guests.GetValueOrDefault(detach.Guest)?.Devices.Contains(detach.Device) != true)
        {
            // It left the guest, and what failed came after.
            Revoke(draft, container => container.Guest == detach.Guest);
            return;
        }

        GuestDevice device = guest.Devices[detach.Device];
        draft.Inventory = draft.Inventory.With(guest.With(device with { State = GuestDeviceState.Attached }));
        if (draft.Inventory.Containers.TryGetValue(device.Container, out Container? container))
        {
            draft.Inventory = draft.Inventory.With(container with { State = ContainerState.Attached, Guest = guest.Name });
        }
    }

    private static void KeepRunning(Draft draft, string name, string error)
    {
        if (!draft.Inventory.Guests.TryGetValue(name, out Guest? guest))
        {
            return;
        }

        GuestView? view = draft.World.Guests.GetValueOrDefault(name);
        if (view is null)
        {
            draft.Inventory = draft.Inventory.With(Effects.Ended(guest, error));
            Revoke(draft, container => container.Guest == name);
        }
        else
        {
            draft.Inventory = draft.Inventory.With(guest with { State = view.Running ? GuestState.Running : GuestState.Paused, Error = error });
            foreach (Container container in draft.Inventory.Containers.Values.Where(container => container.Guest == name && container.State == ContainerState.Releasing))
            {
                // Its process was to end first and did not, so nothing of its groups has gone back.
                bool held = container.Members.Any(member => view.Devices.Contains(member.Address));
                bool whole = container.Endpoints.All(member =>
                    draft.World.Host.Devices.TryGetValue(member.Address, out PciDevice? device) && VfioDrivers.IsVfio(device.Driver));
                draft.Inventory = draft.Inventory.With(container with
                {
                    State = held ? ContainerState.Attached : whole ? ContainerState.Ready : ContainerState.Failed,
                });
            }
        }
    }

    /// <summary>Takes back the right to groups that no guest has a device of any more.</summary>
    private static void Revoke(Draft draft, Func<Container, bool> which)
    {
        foreach (Container container in draft.Inventory.Containers.Values.Where(container => container.State == ContainerState.Attached && which(container)))
        {
            if (!container.Members.Any(member => draft.World.Guests.Values.Any(view => view.Devices.Contains(member.Address))))
            {
                DevicePlugging.Revoke(draft, container, container.Keep && draft.Change is DetachDevice, "none of its devices is in a guest");
            }
        }
    }
}
