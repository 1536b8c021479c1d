// The VFIO ABI, part 5: the type 1 IOMMU on the container fd, its capabilities and DMA mappings. include/uapi/linux/vfio.h.

using System.Runtime.InteropServices;

namespace AssignHub.Engine.Vfio.Abi;

internal static partial class Uapi
{
    /// <summary>Container: reads <see cref="vfio_iommu_type1_info"/>. Returns 0. Errors: EINVAL (argsz below 16). Availability: type 1 set.</summary>
    public const uint VFIO_IOMMU_GET_INFO = 0x3B70;
    /// <summary>
    /// Container: maps memory for the devices, <see cref="vfio_iommu_type1_dma_map"/>, and pins it. Returns 0. Errors: ENOMEM
    /// (RLIMIT_MEMLOCK), EEXIST (overlaps a mapping), EINVAL (alignment; outside the IOVA ranges), ENOSPC (dma_entry_limit), EFAULT.
    /// </summary>
    public const uint VFIO_IOMMU_MAP_DMA = 0x3B71;
    /// <summary>Container: takes mappings away, <see cref="vfio_iommu_type1_dma_unmap"/>. Returns 0 and the size unmapped. Errors: EINVAL (v2: splits a mapping).</summary>
    public const uint VFIO_IOMMU_UNMAP_DMA = 0x3B72;

    /// <summary><see cref="vfio_iommu_type1_info"/>: <c>iova_pgsizes</c> is filled.</summary>
    public const uint VFIO_IOMMU_INFO_PGSIZES = 1 << 0;
    /// <summary><see cref="vfio_iommu_type1_info"/>: a capability chain follows. Availability: Linux 5.4.</summary>
    public const uint VFIO_IOMMU_INFO_CAPS = 1 << 1;

    /// <summary>Capability: usable I/O addresses, <see cref="vfio_iommu_type1_info_cap_iova_range"/>. Availability: Linux 5.4.</summary>
    public const ushort VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
    /// <summary>Capability: mappings left, <see cref="vfio_iommu_type1_info_dma_avail"/>. Availability: Linux 5.10.</summary>
    public const ushort VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3;

    /// <summary><see cref="vfio_iommu_type1_dma_map"/>: the device may read the memory.</summary>
    public const uint VFIO_DMA_MAP_FLAG_READ = 1 << 0;
    /// <summary><see cref="vfio_iommu_type1_dma_map"/>: the device may write the memory.</summary>
    public const uint VFIO_DMA_MAP_FLAG_WRITE = 1 << 1;
    /// <summary><see cref="vfio_iommu_type1_dma_unmap"/>: everything; iova and size are 0. Availability: <see cref="VFIO_UNMAP_ALL"/>.</summary>
    public const uint VFIO_DMA_UNMAP_FLAG_ALL = 1 << 1;
}

/// <summary>A type 1 IOMMU, of <see cref="Uapi.VFIO_IOMMU_GET_INFO"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_iommu_type1_info
{
    /// <summary>The size of the buffer in bytes, set by the caller; the kernel returns what it needs.</summary>
    public uint argsz;
    /// <summary><c>VFIO_IOMMU_INFO_…</c></summary>
    public uint flags;
    /// <summary>Page sizes as a bitmap: bit <c>n</c> is 2^n bytes.</summary>
    public ulong iova_pgsizes;
    /// <summary>Offset of the first capability in bytes.</summary>
    public uint cap_offset;
    /// <summary>Fills to 8 bytes; named since Linux 6.6.</summary>
    public uint pad;
}

/// <summary>The head of the IOVA range capability; <see cref="nr_iovas"/> ranges follow it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_iommu_type1_info_cap_iova_range
{
    /// <summary>Id <see cref="Uapi.VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE"/>, version 1.</summary>
    public vfio_info_cap_header header;
    /// <summary>How many ranges follow.</summary>
    public uint nr_iovas;
    /// <summary>0.</summary>
    public uint reserved;
}

/// <summary>A range of I/O addresses.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_iova_range
{
    /// <summary>First address.</summary>
    public ulong start;
    /// <summary>Last address, inclusive.</summary>
    public ulong end;
}

/// <summary>The mappings left.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_iommu_type1_info_dma_avail
{
    /// <summary>Id <see cref="Uapi.VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL"/>, version 1.</summary>
    public vfio_info_cap_header header;
    /// <summary>How many more mappings the container takes.</summary>
    public uint avail;
}

/// <summary>A mapping to make, of <see cref="Uapi.VFIO_IOMMU_MAP_DMA"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_iommu_type1_dma_map
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary><c>VFIO_DMA_MAP_FLAG_…</c>, at least one of READ and WRITE.</summary>
    public uint flags;
    /// <summary>Address in this process.</summary>
    public ulong vaddr;
    /// <summary>Address that the device uses.</summary>
    public ulong iova;
    /// <summary>Length in bytes.</summary>
    public ulong size;
}

/// <summary>A mapping to take away, of <see cref="Uapi.VFIO_IOMMU_UNMAP_DMA"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_iommu_type1_dma_unmap
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary><c>VFIO_DMA_UNMAP_FLAG_…</c></summary>
    public uint flags;
    /// <summary>Address that the device used.</summary>
    public ulong iova;
    /// <summary>Length in bytes; the kernel returns what it unmapped.</summary>
    public ulong size;
}
