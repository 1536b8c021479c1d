// Where in the guest a device is plugged: spare PCIe ports, and conventional bridges for groups of several devices. Pure.

using AssignHub.Engine.Desired;

namespace AssignHub.Engine.Guests;

/// <summary>A place in the guest.</summary>
/// <param name="Bus">The id of the port or bridge.</param>
/// <param name="Slot">The slot on a bridge; null on a port, which has only one.</param>
public readonly record struct GuestSlot(string Bus, int? Slot = null);

/// <summary>
/// Chooses the place for a device. QEMU cannot add ports to a running guest, so they are there from the start.
/// </summary>
/// <remarks>
/// With a guest IOMMU, QEMU gives every PCIe requester an address space, and an address space a container; a group in two address spaces
/// fails. Behind a PCIe-to-PCI bridge all devices appear as one requester, so the devices of one group share a bridge, and, because one
/// container holds one group, no two containers do.
/// </remarks>
public static class GuestPorts
{
    /// <summary>Conventional bridges that each guest has: so many groups of several devices fit.</summary>
    public const int Bridges = 2;

    /// <summary>Slots of a bridge; slot 0 is not for hot-plug (its controller counts from 1, SHPC specification 4.1).</summary>
    private const int FirstSlot = 1;
    private const int LastSlot = 31;

    /// <summary>The id of a spare port.</summary>
    public static string Port(int index) => $"port{index}";

    /// <summary>The id of a conventional bridge.</summary>
    public static string Bridge(int index) => $"bridge{index}";

    /// <summary>Chooses a place.</summary>
    /// <param name="hotplugSlots">Spare ports that the guest was started with.</param>
    /// <param name="placed">The guest's devices; those with a bus are in the way, whatever their state.</param>
    /// <param name="container">The container of the device to place.</param>
    /// <param name="multiDeviceGroup">Whether its group has several devices and the guest an IOMMU, so that they must share a bridge.</param>
    /// <returns>The place, or null if there is none (<c>no_free_slot</c>).</returns>
    public static GuestSlot? Place(int hotplugSlots, IEnumerable<GuestDevice> placed, string container, bool multiDeviceGroup)
    {
        ILookup<string, GuestDevice> taken = placed.Where(device => device.Bus is not null).ToLookup(device => device.Bus!, StringComparer.Ordinal);
        return multiDeviceGroup ? OnBridge(taken, container) : OnPort(taken, hotplugSlots);
    }

    private static GuestSlot? OnPort(ILookup<string, GuestDevice> taken, int hotplugSlots)
    {
        for (int i = 0; i < hotplugSlots; i++)
        {
            if (!taken.Contains(Port(i)))
            {
                return new GuestSlot(Port(i));
            }
        }

        return null;
    }

    private static GuestSlot? OnBridge(ILookup<string, GuestDevice> taken, string container)
    {
        string[] bridges = [.. Enumerable.Range(0, Bridges).Select(Bridge)];
        string? bus = Array.Find(bridges, id => taken[id].Any(device => device.Container == container))
            ?? Array.Find(bridges, id => !taken.Contains(id));
        if (bus is null)
        {
            return null;
        }

        var slots = taken[bus].Select(device => device.Slot).ToHashSet();
        for (int slot = FirstSlot; slot <= LastSlot; slot++)
        {
            if (!slots.Contains(slot))
            {
                return new GuestSlot(bus, slot);
            }
        }

        return null;
    }
}
