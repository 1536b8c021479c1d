// What VFIO tells of a device of a synthetic host: as much as its tree shows. Configuration space and the reset; BARs are not modelled.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Host;

/// <summary>Reads the report of a device from its directory.</summary>
internal static class ModelledDevice
{
    /// <summary>The report that opening the device gives.</summary>
    /// <param name="path">Its directory in <c>devices/</c>.</param>
    /// <param name="address">Which.</param>
    /// <param name="now">The time to write into it.</param>
    public static DeviceReport Report(string path, PciAddress address, DateTimeOffset now) => new()
    {
        Address = address,
        ReadAt = now,
        CanReset = File.Exists(Path.Combine(path, "reset")),
        Regions = [new RegionReport("config", (ulong)new FileInfo(Path.Combine(path, "config")).Length, Readable: true, Writable: true, Mappable: false, [])],
        Irqs = [new IrqReport("intx", 1, Maskable: true, AutoMasked: true), new IrqReport("req", 1, Maskable: false, AutoMasked: false)],
        DependentDevices = DependentOn(Path.GetDirectoryName(path)!),
    };

    // pci_walk_bus: everything on the bus and below, bridges too. No bus reset on a root bus, or where a device forbids it.
    private static ImmutableArray<PciAddress>? DependentOn(string parent) =>
        !PciAddress.TryParse(Path.GetFileName(parent), out _) || Directory.EnumerateFiles(parent, ".no_bus_reset", ModelledKernel.Below).Any()
            ? null
            : [.. Directory.EnumerateDirectories(parent, "*", ModelledKernel.Below)
                .Select(path => PciAddress.TryParse(Path.GetFileName(path), out PciAddress below) ? below : (PciAddress?)null).OfType<PciAddress>().Order()];
}
