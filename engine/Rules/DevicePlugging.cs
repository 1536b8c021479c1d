// A device's way into a guest and out of it. It goes only with its whole group; members not plugged are parked on vfio-pci.

using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The rules and plans of attach and detach.</summary>
internal static class DevicePlugging
{
    public static void Plan(Draft draft, AttachDevice attach)
    {
        if (GuestLife.Find(draft, attach.Guest) is not { } guest)
        {
            return;
        }

        if (guest.Devices.TryGetValue(attach.Device, out GuestDevice? had) && (had.State == GuestDeviceState.Attached || !guest.IsActive)
            && ContainerOf(draft, guest, had) is { State: ContainerState.Ready or ContainerState.Attached, Fence: null } container
            && Identity.DifferenceFrom(draft.World, container) is null)
        {
            return;
        }

        bool active = guest.IsActive;
        if (had is null)
        {
            guest = guest with { Generation = guest.Generation + 1, Spec = guest.Spec with { Devices = guest.Spec.Devices.Add(attach.Device) } };
        }

        // QEMU opens, and thereby resets, a device that goes into a running guest; AssignHub need not do so before.
        guest = Reserve(draft, guest, attach.Device, openDevices: !active);
        if (draft.IsRefused)
        {
            return;
        }

        draft.Inventory = draft.Inventory.With(guest);
        if (active)
        {
            GuestDevice device = guest.Devices[attach.Device];
            bool first = !guest.Devices.Values.Any(other => other.Container == device.Container && other.Address != device.Address
                && other.State != GuestDeviceState.Pending);
            guest = Plug(draft, guest with { Devices = guest.Devices.Remove(device.Address) }, device, first);
            draft.Inventory = draft.Inventory.With(guest);
        }
    }

    public static void Plan(Draft draft, DetachDevice detach)
    {
        if (GuestLife.Find(draft, detach.Guest) is not { } guest)
        {
            return;
        }

        if (!guest.Devices.TryGetValue(detach.Device, out GuestDevice? device))
        {
            // Seen when an interrupted operation is taken up: the guest let go, and the rest remains to be done. The device may have left the
            // group since, so that the container is known by the guest that it was of.
            if (draft.World.Inventory.Containers.Values.FirstOrDefault(container => container.Guest == guest.Name
                && container.State is ContainerState.Releasing or ContainerState.Attached
                && !guest.Devices.Values.Any(had => had.Container == container.Id)) is { } left)
            {
                LetGo(draft, left);
                return;
            }

            draft.Refuse(Refusals.NotInGuest(detach.Device, guest.Name));
            return;
        }

        Container? container = ContainerOf(draft, guest, device);
        if (container is not null)
        {
            draft.Touch(container);
        }

        bool plugged = draft.World.Guests.GetValueOrDefault(guest.Name)?.Devices.Contains(detach.Device) == true;
        if (plugged)
        {
            draft.Inventory = draft.Inventory.With(guest.With(device with { State = GuestDeviceState.Detaching }));
            draft.Do(new UnplugDevice(guest.Name, detach.Device, detach.Force
                ? $"pulled out if guest {guest.Name} does not let go"
                : $"guest {guest.Name} has to let go; only then it is removed") { Force = detach.Force });
        }
        else
        {
            draft.Inventory = draft.Inventory.With(guest.Without(detach.Device) with { Generation = guest.Generation + 1 });
        }

        if (container is not null && !guest.Devices.Values.Any(other => other.Container == container.Id && other.Address != detach.Device))
        {
            LetGo(draft, container);
        }
    }

    /// <summary>Adds the step that takes a device out of its running guest for a while; it stays the guest's.</summary>
    public static void Evict(Draft draft, string name, PciAddress address, string reason)
    {
        Guest guest = draft.Inventory.Guests[name];
        draft.Touch(Names.Guest(name));
        if (draft.World.Guests.GetValueOrDefault(name)?.Devices.Contains(address) == true)
        {
            draft.Do(new UnplugDevice(name, address, reason) { Returns = true });
        }

        // Its place is free from then on; where it comes back to is decided by Return.
        draft.Inventory = draft.Inventory.With(guest.With(guest.Devices[address] with { Bus = null, Slot = null }));
    }

    /// <summary>
    /// Adds the step that puts an evicted device back into its guest; one that is quarantined, or whose group changed, waits for that to be lifted.
    /// </summary>
    public static void Return(Draft draft, string name, PciAddress address)
    {
        Guest guest = draft.Inventory.Guests[name];
        GuestDevice device = guest.Devices[address] with { Bus = null, Slot = null };
        Container container = draft.Inventory.Containers[device.Container];
        if (draft.Inventory.Quarantined.ContainsKey(address) || Identity.DifferenceFrom(draft.World, container) is not null)
        {
            guest = guest.With(device with { State = GuestDeviceState.Pending });
            draft.Inventory = draft.Inventory.With(guest);
            if (container.State == ContainerState.Attached
                && guest.Devices.Values.All(other => other.Container != container.Id || other.State == GuestDeviceState.Pending))
            {
                Revoke(draft, container, free: false, "none of its devices is in a guest");
            }

            return;
        }

        bool first = container.State != ContainerState.Attached;
        draft.Touch(Names.Guest(name));
        draft.Inventory = draft.Inventory.With(Plug(draft, guest with { Devices = guest.Devices.Remove(address) }, device, first));
    }

    /// <summary>The container of a guest's device; null if the guest lost it, and it may be another's since.</summary>
    private static Container? ContainerOf(Draft draft, Guest guest, GuestDevice device) =>
        draft.World.Inventory.Containers.GetValueOrDefault(device.Container) is { } container && container.Guest == guest.Name ? container : null;

    /// <summary>What happens to a container when its guest has none of its devices any more.</summary>
    public static void LetGo(Draft draft, Container container)
    {
        if (container.State == ContainerState.Attached)
        {
            Revoke(draft, container, container.Keep, "its last device left the guest");
        }
        else if (container.Keep)
        {
            draft.Inventory = draft.Inventory.With(container with { Guest = null });
        }

        if (!container.Keep)
        {
            Claims.Release(draft, container);
        }
    }

    /// <summary>Adds the step that takes a guest's right to a group back.</summary>
    public static void Revoke(Draft draft, Container container, bool free, string reason)
    {
        draft.Touch(container);
        draft.Do(new RevokeGroup(container.Id, Identity.NumberOf(draft.World with { Inventory = draft.Inventory }, container), free, reason));
    }

    /// <summary>Takes the device's group for the guest and records the device as pending.</summary>
    public static Guest Reserve(Draft draft, Guest guest, PciAddress address, bool openDevices)
    {
        if (Claims.FindDevice(draft, address) is not { } device)
        {
            return guest;
        }

        if (draft.Inventory.Quarantined.TryGetValue(address, out Quarantine? quarantine))
        {
            draft.Refuse(Refusals.Quarantined(quarantine));
        }

        if (draft.World.GroupOf(address) is { NoIommu: true } open)
        {
            // QEMU knows no container without an IOMMU; the claim of it is for programs of the host's own.
            draft.Refuse(Refusals.NoIommu(open.Number));
            return guest;
        }

        if (Claims.GroupOf(draft, device) is not { } group || Claims.Take(draft, group, guest.Name, keep: false, openDevices) is not { } container)
        {
            return guest;
        }

        // QEMU puts the groups of one address space into one container, unless each is an iommufd context of its own.
        if (!GuestLife.HasIommu(draft.World, guest) && !IsIommufd(draft, container)
            && guest.Devices.Values.Any(other => other.Container != container.Id && !IsIommufd(draft, draft.Inventory.Containers.GetValueOrDefault(other.Container))))
        {
            draft.Refuse(Refusals.GuestIommuRequired(guest.Name));
        }

        return guest.With(guest.Devices.TryGetValue(address, out GuestDevice? had)
            ? had with { Container = container.Id }
            : new GuestDevice(address, container.Id, GuestDeviceState.Pending));
    }

    /// <summary>Adds the steps that put a reserved device into the running guest, and returns the guest with its place in it.</summary>
    public static Guest Plug(Draft draft, Guest guest, GuestDevice device, bool firstOfGroup)
    {
        Container container = draft.Inventory.Containers[device.Container];
        bool shared = container.Endpoints.Skip(1).Any() && GuestLife.HasIommu(draft.World, guest);
        if (GuestPorts.Place(guest.Spec.HotplugSlots, guest.Devices.Values, device.Container, shared) is not { } place)
        {
            draft.Refuse(Refusals.NoFreeSlot(guest.Name, device.Address));
            return guest.With(device);
        }

        GuestView? view = draft.World.Guests.GetValueOrDefault(guest.Name);
        bool plugged = view?.Devices.Contains(device.Address) == true;
        if (plugged && device.Bus is not null)
        {
            // Seen when an interrupted operation is taken up: QEMU has it, where the journal says.
            return guest.With(device with { State = GuestDeviceState.Attached });
        }

        if (firstOfGroup)
        {
            draft.Do(new GrantGroup(container.Id, container.Group!.Value, guest.Name, IsIommufd(draft, container)
                ? $"guest {guest.Name} gets its devices as open files and no right on any"
                : $"guest {guest.Name} opens it as its own user"));
        }

        draft.Do(new PlugDevice(guest.Name, device.Address, place.Bus, place.Slot, shared
            ? "its group has several devices, which share one address space behind one bridge"
            : "a port of its own"));
        return guest.With(device with { State = GuestDeviceState.Attaching, Bus = place.Bus, Slot = place.Slot });
    }

    /// <summary>Whether a container is, or where it is not open yet will be, an iommufd context.</summary>
    private static bool IsIommufd(Draft draft, Container? container) => (container?.Backend ?? draft.World.Host.Vfio.Backend) == Container.Iommufd;
}
