// The VFIO ABI, part 6: the IOMMU of POWER (sPAPR) on the container fd, whose devices reach memory through windows of translation control
// entries (TCE). include/uapi/linux/vfio.h, Documentation/driver-api/vfio.rst.

using System.Runtime.InteropServices;

namespace AssignHub.Engine.Vfio.Abi;

internal static partial class Uapi
{
    /// <summary>Container: reads <see cref="vfio_iommu_spapr_tce_info"/>. Returns 0. Errors: EINVAL (argsz), ENXIO (no group). Availability: an sPAPR type set.</summary>
    public const uint VFIO_IOMMU_SPAPR_TCE_GET_INFO = 0x3B70;
    /// <summary>
    /// Container: accounts the whole 32-bit window as locked memory; before it nothing can be mapped. Returns 0. Errors: ENOMEM
    /// (RLIMIT_MEMLOCK), EBUSY (is so already), EPERM. Availability: type <see cref="VFIO_SPAPR_TCE_IOMMU"/> only.
    /// </summary>
    public const uint VFIO_IOMMU_ENABLE = 0x3B73;
    /// <summary>
    /// Container: pins memory and accounts it, <see cref="vfio_iommu_spapr_register_memory"/>; only such memory can be mapped. Returns 0.
    /// Errors: ENOMEM (RLIMIT_MEMLOCK), EINVAL (alignment; overlap). Availability: type <see cref="VFIO_SPAPR_TCE_v2_IOMMU"/> only.
    /// </summary>
    public const uint VFIO_IOMMU_SPAPR_REGISTER_MEMORY = 0x3B75;
    /// <summary>Container: lets go of registered memory. Returns 0. Errors: ENOENT (not registered), EBUSY (mapped still). Availability: as registering.</summary>
    public const uint VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY = 0x3B76;

    /// <summary><see cref="vfio_iommu_spapr_tce_info"/>: <c>ddw</c> is filled.</summary>
    public const uint VFIO_IOMMU_SPAPR_INFO_DDW = 1 << 0;
}

/// <summary>What windows beyond the 32-bit one can be made.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_iommu_spapr_tce_ddw_info
{
    /// <summary>Page sizes as a bitmap: bit <c>n</c> is 2^n bytes.</summary>
    public ulong pgsizes;
    /// <summary>How many windows.</summary>
    public uint max_dynamic_windows_supported;
    /// <summary>How many levels their tables may have.</summary>
    public uint levels;
}

/// <summary>A container's window, of <see cref="Uapi.VFIO_IOMMU_SPAPR_TCE_GET_INFO"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_iommu_spapr_tce_info
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary>0, or <see cref="Uapi.VFIO_IOMMU_SPAPR_INFO_DDW"/>.</summary>
    public uint flags;
    /// <summary>The first bus address of the 32-bit window.</summary>
    public uint dma32_window_start;
    /// <summary>Its length in bytes.</summary>
    public uint dma32_window_size;
    /// <summary>What else there could be.</summary>
    public vfio_iommu_spapr_tce_ddw_info ddw;
}

/// <summary>Memory to register, of <see cref="Uapi.VFIO_IOMMU_SPAPR_REGISTER_MEMORY"/> and its opposite.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_iommu_spapr_register_memory
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary>0.</summary>
    public uint flags;
    /// <summary>Address in this process.</summary>
    public ulong vaddr;
    /// <summary>Length in bytes.</summary>
    public ulong size;
}
