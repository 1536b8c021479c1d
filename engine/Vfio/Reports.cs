// What the kernel told about a container and its devices when AssignHub opened them: plain records, to be shown and stored.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Vfio;

/// <summary>What the kernel says of a container's IOMMU.</summary>
public sealed record IommuReport
{
    /// <summary>The backend by the name that the API uses: <c>type1v2</c>, <c>iommufd</c>, …</summary>
    public required string Backend { get; init; }
    /// <summary>Page sizes that the IOMMU maps, in bytes.</summary>
    public ImmutableArray<ulong> PageSizesBytes { get; init; } = [];
    /// <summary>Usable I/O virtual addresses.</summary>
    public ImmutableArray<IovaRange> IovaRanges { get; init; } = [];
    /// <summary>DMA mappings left, or null if the kernel does not say.</summary>
    public uint? DmaMappingsAvailable { get; init; }
}

/// <summary>A range of I/O virtual addresses, both ends inclusive.</summary>
/// <param name="Start">First address.</param>
/// <param name="End">Last address.</param>
public sealed record IovaRange(ulong Start, ulong End);

/// <summary>What the kernel says of one opened device.</summary>
public sealed record DeviceReport
{
    /// <summary>The device.</summary>
    public required PciAddress Address { get; init; }
    /// <summary>When it was read.</summary>
    public required DateTimeOffset ReadAt { get; init; }
    /// <summary>Whether <c>VFIO_DEVICE_RESET</c> works (<c>VFIO_DEVICE_FLAGS_RESET</c>).</summary>
    public bool CanReset { get; init; }
    /// <summary>Its regions that have a size.</summary>
    public ImmutableArray<RegionReport> Regions { get; init; } = [];
    /// <summary>Its interrupt types that have a vector.</summary>
    public ImmutableArray<IrqReport> Irqs { get; init; } = [];
    /// <summary>Devices that its bus or slot reset hits (<c>VFIO_DEVICE_GET_PCI_HOT_RESET_INFO</c>); null if no such reset exists.</summary>
    public ImmutableArray<PciAddress>? DependentDevices { get; init; }
}

/// <summary>One region of a device.</summary>
/// <param name="Name"><c>bar0</c> to <c>bar5</c>, <c>rom</c>, <c>config</c>, <c>vga</c>.</param>
/// <param name="SizeBytes">Its size.</param>
/// <param name="Readable">Whether it can be read.</param>
/// <param name="Writable">Whether it can be written.</param>
/// <param name="Mappable">Whether it can be mapped.</param>
/// <param name="MapPlan">The parts of it to map, in order; empty if none.</param>
public sealed record RegionReport(string Name, ulong SizeBytes, bool Readable, bool Writable, bool Mappable, ImmutableArray<MapArea> MapPlan);

/// <summary>A part of a region.</summary>
/// <param name="OffsetBytes">From the region's start.</param>
/// <param name="SizeBytes">Its length.</param>
public sealed record MapArea(ulong OffsetBytes, ulong SizeBytes);

/// <summary>One interrupt type of a device.</summary>
/// <param name="Name"><c>intx</c>, <c>msi</c>, <c>msix</c>, <c>err</c>, <c>req</c>.</param>
/// <param name="Count">Its vectors.</param>
/// <param name="Maskable">Whether single vectors can be masked.</param>
/// <param name="AutoMasked">Whether it masks itself when it fires.</param>
public sealed record IrqReport(string Name, uint Count, bool Maskable, bool AutoMasked);
