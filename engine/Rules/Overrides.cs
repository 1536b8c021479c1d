// What the host uses is not taken. An override lifts that for one device and for a while; never for what the host itself, or this service,
// stands on.

using System.Globalization;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The rules of host use and its overrides.</summary>
public static class Overrides
{
    /// <summary>The longest that an override may be asked for.</summary>
    public static readonly TimeSpan Longest = TimeSpan.FromDays(7);

    /// <summary>The override of a device that is in force; null if there is none, or its time is over.</summary>
    public static Override? Of(World world, PciAddress device) =>
        world.Inventory.Overrides.TryGetValue(device, out Override? found) && found.Until > world.Host.ReadAt ? found : null;

    /// <summary>The uses by the host that keep a device from being taken.</summary>
    public static IEnumerable<Refusal> RefusalsFor(World world, PciDevice device) =>
        device.HostUses.Where(use => use.Essential is not null || Of(world, device.Address) is null).Select(use => Refusals.InUseByHost(device, use));

    /// <summary>What taking a device does to the uses that its override lifts, in words.</summary>
    public static IEnumerable<string> WarningsFor(World world, PciDevice device) => Of(world, device.Address) is { } lifted
        ? device.HostUses.Select(use => $"The host uses {device.Address}: {use.Detail}. {lifted.Actor} overrode that until {Time(lifted.Until)} ({lifted.Reason}). {Outcome(use)}")
        : [];

    internal static void Plan(Draft draft, SetOverride set)
    {
        if (!draft.World.Host.Devices.TryGetValue(set.Device, out PciDevice? device))
        {
            draft.Refuse(Refusals.DeviceNotFound(set.Device));
            return;
        }

        if (Ownership.Stays(device))
        {
            draft.Refuse(Refusals.IsBridge(device.Address));
        }

        draft.Refuse(device.HostUses.Where(use => use.Essential is not null).Select(use => Refusals.InUseByHost(device, use)));
        draft.Touch(set.Subject);
        var given = new Override(set.Device, set.Reason, set.Actor, set.At, set.At + set.For);
        draft.Do(new RecordOverride(given, $"{set.Reason} (until {Time(given.Until)})"));
        if (device.HostUses.IsEmpty)
        {
            draft.Warn($"The host does not use {device.Address} now. A use that it begins before {Time(given.Until)} will not keep the device from being taken.");
        }

        foreach (string warning in WarningsFor(draft.World with { Inventory = draft.Inventory with { Overrides = draft.Inventory.Overrides.SetItem(set.Device, given) } }, device))
        {
            draft.Warn(warning);
        }
    }

    internal static void Plan(Draft draft, ClearOverride clear)
    {
        if (draft.World.Inventory.Overrides.TryGetValue(clear.Device, out Override? given))
        {
            draft.Touch(clear.Subject);
            draft.Do(new DropOverride(clear.Device, given.Until <= clear.At ? "its time is over" : "asked for"));
        }
        else if (!draft.World.Host.Devices.ContainsKey(clear.Device))
        {
            draft.Refuse(Refusals.DeviceNotFound(clear.Device));
        }
    }

    /// <summary>What becomes of a use when its device is unbound. The kernel asks none of them.</summary>
    private static string Outcome(HostUse use) => use.Kind switch
    {
        // del_gendisk writes back what it can and shuts the file system down (fs_bdev_mark_dead); the mount, mapping or array stays on a dead disk.
        HostUseKind.Storage => $"It is not ended but broken: it stays on a disk that is gone, everything that reads or writes there fails, and what was "
            + $"not on the disk yet is lost. Clear it away ({use.Remedy}); after the release it has to be set up anew.",
        HostUseKind.Network => "The interface disappears with its addresses, routes and memberships; the release does not bring them back.",
        HostUseKind.Display => "The console goes dark.",
        HostUseKind.Process => "The process keeps the file and fails on it, or through a mapping may go on reaching the device beside its new owner.",
        _ => "",
    };

    private static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
}
