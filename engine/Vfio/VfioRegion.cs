// A device's regions and interrupt types as the kernel described them.

using System.Collections.Immutable;
using System.Runtime.InteropServices;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>The regions of a PCI device, with the kernel's indexes. Numbers above <see cref="Vga"/> are the device's own.</summary>
public enum PciRegion
{
    /// <summary>BAR 0; BAR <c>n</c> is <c>Bar0 + n</c>.</summary>
    Bar0 = (int)VFIO_PCI_BAR0_REGION_INDEX,
    /// <summary>BAR 1.</summary>
    Bar1,
    /// <summary>BAR 2.</summary>
    Bar2,
    /// <summary>BAR 3.</summary>
    Bar3,
    /// <summary>BAR 4.</summary>
    Bar4,
    /// <summary>BAR 5.</summary>
    Bar5 = (int)VFIO_PCI_BAR5_REGION_INDEX,
    /// <summary>The expansion ROM.</summary>
    Rom = (int)VFIO_PCI_ROM_REGION_INDEX,
    /// <summary>Configuration space.</summary>
    Config = (int)VFIO_PCI_CONFIG_REGION_INDEX,
    /// <summary>The legacy VGA ranges.</summary>
    Vga = (int)VFIO_PCI_VGA_REGION_INDEX,
}

/// <summary>One region that has a size.</summary>
/// <param name="Index">Which.</param>
/// <param name="SizeBytes">Its size.</param>
/// <param name="Readable">Whether it can be read.</param>
/// <param name="Writable">Whether it can be written.</param>
/// <param name="Mappable">Whether it can be mapped, perhaps in parts.</param>
/// <param name="MapPlan">The parts to map; see <see cref="RegionMapPlan"/>.</param>
public sealed record VfioRegion(PciRegion Index, ulong SizeBytes, bool Readable, bool Writable, bool Mappable, ImmutableArray<MapArea> MapPlan)
{
    /// <summary>Where it begins in the device fd, in bytes. The kernel's answer, never computed.</summary>
    internal ulong FdOffset { get; init; }

    /// <summary>Its name in reports: <c>bar0</c>, <c>config</c>; <c>region9</c> and up for the device's own.</summary>
    public string Name => Enum.GetName(Index)?.ToLowerInvariant() ?? $"region{(int)Index}";

    /// <summary>Asks the kernel for a region; null if the device has none at this index.</summary>
    /// <exception cref="HostFault">The ioctl failed, or its capabilities are broken.</exception>
    internal static VfioRegion? Read(DeviceHandle device, uint index, MsixLayout? msix)
    {
        byte[] buffer;
        try
        {
            buffer = device.GetRegionInfo(index);
        }
        catch (HostFault fault) when (fault.Errno == Errno.EINVAL && index == VFIO_PCI_VGA_REGION_INDEX)
        {
            // The one index that answers so for "none" and does not say size 0 (vfio_pci_core.c).
            return null;
        }

        vfio_region_info info = MemoryMarshal.Read<vfio_region_info>(buffer);
        if (info.size == 0)
        {
            return null;
        }

        bool mappable = (info.flags & VFIO_REGION_INFO_FLAG_MMAP) != 0;
        ImmutableArray<InfoCapability> capabilities = InfoBuffer.Capabilities<vfio_region_info>(
            device, nameof(VFIO_DEVICE_GET_REGION_INFO), buffer, (info.flags & VFIO_REGION_INFO_FLAG_CAPS) != 0, info.cap_offset);
        return new VfioRegion(
            (PciRegion)index,
            info.size,
            (info.flags & VFIO_REGION_INFO_FLAG_READ) != 0,
            (info.flags & VFIO_REGION_INFO_FLAG_WRITE) != 0,
            mappable,
            RegionMapPlan.Of(
                info.size,
                mappable,
                SparseAreas(device, buffer, capabilities),
                capabilities.Any(capability => capability.Id == VFIO_REGION_INFO_CAP_MSIX_MAPPABLE) ? [] : RegionMapPlan.MsixAreas(msix, index),
                (ulong)Environment.SystemPageSize))
        { FdOffset = info.offset };
    }

    private static List<MapArea>? SparseAreas(DeviceHandle device, byte[] buffer, ImmutableArray<InfoCapability> capabilities)
    {
        List<MapArea>? areas = null;
        foreach (InfoCapability capability in capabilities.Where(capability => capability.Id == VFIO_REGION_INFO_CAP_SPARSE_MMAP))
        {
            if (!capability.TryReadHead(buffer, out vfio_region_info_cap_sparse_mmap head)
                || !capability.TryReadItems<vfio_region_info_cap_sparse_mmap, vfio_region_sparse_mmap_area>(
                    buffer, head.nr_areas, out ReadOnlySpan<vfio_region_sparse_mmap_area> items))
            {
                throw VfioFault.Malformed(nameof(VFIO_DEVICE_GET_REGION_INFO), device.Subject, "its sparse areas end behind its buffer");
            }

            areas ??= [];
            foreach (vfio_region_sparse_mmap_area area in items)
            {
                areas.Add(new MapArea(area.offset, area.size));
            }
        }

        return areas;
    }
}
