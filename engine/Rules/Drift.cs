// Hardware that came, went or changed by itself: the record follows, and nothing is started on a group that is not the one that was claimed.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The rules and plans of containers whose hardware is not what it was, and of guests that lost a device.</summary>
internal static class Drift
{
    public static void Plan(Draft draft, AlignContainer align)
    {
        if (!draft.World.Inventory.Containers.TryGetValue(align.Container, out Container? container))
        {
            return;
        }

        draft.Touch(container);
        draft.Inventory = Identity.Renumber(draft.World, container.Id);
        container = draft.Inventory.Containers[container.Id];
        draft.Touch(container);
        // While the kernel is at one of the devices, where it stands is not known: the next look tells.
        if (container.State is ContainerState.Releasing or ContainerState.Failed || container.Members.Any(member => IsBusy(draft.World, member)))
        {
            return;
        }

        bool isPrepared = container is { State: not ContainerState.Preparing, Fence: null } && Claims.ToMove(draft.World, container).IsEmpty;
        if (WhyFenced(draft.World, container, isPrepared) is { } why)
        {
            if (why != container.Fence)
            {
                draft.Do(new FenceContainer(container.Id, why));
            }
        }
        else if (!isPrepared)
        {
            Prepare(draft, Identity.GroupOf(draft.World, container)!, container);
        }
    }

    public static void Plan(Draft draft, AcceptContainer accept)
    {
        if (!draft.World.Inventory.Containers.TryGetValue(accept.Container, out Container? container))
        {
            draft.Refuse(Refusals.ContainerNotFound(accept.Container));
            return;
        }

        draft.Touch(container);
        string? difference = Identity.DifferenceFrom(draft.World, container);
        if (container.State is ContainerState.Releasing or ContainerState.Failed)
        {
            draft.Refuse(Refusals.ContainerNotReady(container));
        }
        else if (Identity.GroupOf(draft.World, container) is not { } group)
        {
            draft.Refuse(Refusals.NothingToAccept(container, difference!));
        }
        else if (difference is not null || container.Fence is not null || container.State == ContainerState.Preparing)
        {
            draft.Touch(Names.Group(group.Number));
            draft.Refuse(Claims.RefusalsFor(draft.World, group, container));
            if (!draft.IsRefused)
            {
                ImmutableArray<ContainerMember> members = [.. Claims.MembersOf(draft.World, group).Select(now => Member(draft.World, container, now))];
                draft.Inventory = Identity.Number(draft.Inventory, container, group.Number);
                Prepare(draft, group, container with { Group = group.Number, Members = members });
            }
        }
    }

    /// <summary>Brings a running guest's record in line with its process: a device that QEMU gave up waits for its return.</summary>
    public static void Follow(Draft draft, Guest guest, GuestView view)
    {
        GuestDevice[] lost = [.. guest.Devices.Values.Where(device => device.State == GuestDeviceState.Attached && !view.Devices.Contains(device.Address))];
        foreach (GuestDevice device in lost)
        {
            draft.Do(new LoseDevice(guest.Name, device.Address, draft.World.Host.Devices.ContainsKey(device.Address)
                ? "QEMU gave it up by itself"
                : "it is missing from the host"));
        }

        // Also one whose last device vanished while it was out for a reset.
        foreach (Container container in draft.Inventory.Containers.Values.Where(container => container.Guest == guest.Name
            && container.State == ContainerState.Attached && !container.Members.Any(member => view.Devices.Contains(member.Address))).ToArray())
        {
            DevicePlugging.Revoke(draft, container, free: false, "its last device left the guest by itself");
        }
    }

    /// <summary>The way back from a container that could not be prepared: fenced while that is the hardware's doing, else failed.</summary>
    public static void Undo(Draft draft, string id, string error)
    {
        if (draft.Inventory.Containers.TryGetValue(id, out Container? container))
        {
            bool isHeld = container.State == ContainerState.Attached;
            string? difference = Identity.DifferenceFrom(draft.World, container);
            draft.Inventory = draft.Inventory.With(difference is not null || isHeld
                ? container with { State = isHeld ? ContainerState.Attached : ContainerState.Ready, Fence = difference ?? error }
                : container with { State = ContainerState.Failed, Error = error, Fence = null });
        }
    }

    /// <summary>A member that stayed keeps the driver that it came from; that of a new one is written down before it is taken off.</summary>
    private static ContainerMember Member(World world, Container container, ContainerMember now)
    {
        PciDevice device = world.Host.Devices[now.Address];
        return container.Members.FirstOrDefault(was => was.Address == now.Address && Identity.IsSame(was, device))
            // Exchanged in the moment in which it was bound: it was put on VFIO as another, and came from no driver.
            ?? (VfioDrivers.IsVfio(device.DriverOverride) ? now with { OriginalDriver = null } : now);
    }

    private static void Prepare(Draft draft, IommuGroup group, Container container)
    {
        container = container with { State = container.State == ContainerState.Attached ? ContainerState.Attached : ContainerState.Preparing };
        draft.Inventory = draft.Inventory.With(container);
        Claims.Prepare(draft, group, container, openDevices: true);
    }

    /// <summary>Why nothing may be started on a container, in words; null if there is no reason.</summary>
    private static string? WhyFenced(World world, Container container, bool isPrepared)
    {
        if (Identity.DifferenceFrom(world, container) is { } difference)
        {
            return difference;
        }

        if (isPrepared)
        {
            return null;
        }

        if (container.State == ContainerState.Attached && Claims.ToMove(world, container) is [{ } back, ..])
        {
            return $"{back.Address} came back while guest {container.Guest} has the group, and is not on VFIO until the guest lets go";
        }

        ImmutableArray<Refusal> refusals = Claims.RefusalsFor(world, Identity.GroupOf(world, container)!, container);
        return refusals.IsEmpty ? null : string.Join(" ", refusals.Select(refusal => refusal.Message));
    }

    private static bool IsBusy(World world, ContainerMember member) => world.Host.Devices.TryGetValue(member.Address, out PciDevice? device) && device.Busy;
}
