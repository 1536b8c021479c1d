// The iommufd ABI (include/uapi/linux/iommufd.h): I/O address spaces of /dev/iommu, and how a VFIO device gets into one (vfio.h, device cdev).

using System.Runtime.InteropServices;

namespace AssignHub.Engine.Vfio.Abi;

internal static partial class Uapi
{
    /// <summary>
    /// iommufd: makes an I/O address space, <see cref="iommu_ioas_alloc"/>. Returns 0 and its id. Errors: ENOMEM. Availability: Linux 6.2 with CONFIG_IOMMUFD.
    /// </summary>
    public const uint IOMMU_IOAS_ALLOC = 0x3B81;
    /// <summary>
    /// iommufd: the addresses that may be mapped, <see cref="iommu_ioas_iova_ranges"/>. Every attached device may narrow them. Returns 0.
    /// Errors: EMSGSIZE (the array is too small; the count is filled), ENOENT (no such space).
    /// </summary>
    public const uint IOMMU_IOAS_IOVA_RANGES = 0x3B84;
    /// <summary>
    /// iommufd: maps memory and pins it, <see cref="iommu_ioas_map"/>. Returns 0. Errors: ENOMEM (locked-memory limit), EEXIST (overlaps a
    /// mapping), EINVAL (alignment; a reserved address), EFAULT, EADDRINUSE.
    /// </summary>
    public const uint IOMMU_IOAS_MAP = 0x3B85;
    /// <summary>iommufd: takes whole mappings away, <see cref="iommu_ioas_unmap"/>. Returns 0 and the length. Errors: ENOENT (nothing there, or a part of a mapping).</summary>
    public const uint IOMMU_IOAS_UNMAP = 0x3B86;

    /// <summary><see cref="iommu_ioas_map"/>: at the address given, not one of the kernel's choice.</summary>
    public const uint IOMMU_IOAS_MAP_FIXED_IOVA = 1 << 0;
    /// <summary><see cref="iommu_ioas_map"/>: the device may write the memory.</summary>
    public const uint IOMMU_IOAS_MAP_WRITEABLE = 1 << 1;
    /// <summary><see cref="iommu_ioas_map"/>: the device may read the memory.</summary>
    public const uint IOMMU_IOAS_MAP_READABLE = 1 << 2;

    /// <summary>
    /// Device: puts a device that was opened by its own file under an iommufd, <see cref="vfio_device_bind_iommufd"/>, claims its group's DMA and resets
    /// it. Returns 0. Errors: EPERM (the group is not viable), EBUSY (its group is open through the group interface), EINVAL (bound already; firmware's
    /// 1:1 region), EACCES (VF token). Availability: Linux 6.6 with CONFIG_VFIO_DEVICE_CDEV.
    /// </summary>
    public const uint VFIO_DEVICE_BIND_IOMMUFD = 0x3B76;
    /// <summary>
    /// Device: attaches a bound device to an address space, <see cref="vfio_device_attach_iommufd_pt"/>. Returns 0. Errors: EPERM (no isolated
    /// MSI), EINVAL (firmware's 1:1 region; not bound). Availability: as <see cref="VFIO_DEVICE_BIND_IOMMUFD"/>. Closing the device detaches it.
    /// </summary>
    public const uint VFIO_DEVICE_ATTACH_IOMMUFD_PT = 0x3B77;
    /// <summary><see cref="vfio_device_bind_iommufd"/>: <c>token_uuid_ptr</c> is set. Availability: Linux 6.17.</summary>
    public const uint VFIO_DEVICE_BIND_FLAG_TOKEN = 1 << 0;
}

/// <summary>An address space to make, of <see cref="Uapi.IOMMU_IOAS_ALLOC"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct iommu_ioas_alloc
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint size;
    /// <summary>0.</summary>
    public uint flags;
    /// <summary>Out: its id.</summary>
    public uint out_ioas_id;
}

/// <summary>A range of I/O addresses.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct iommu_iova_range
{
    /// <summary>First address.</summary>
    public ulong start;
    /// <summary>Last address, inclusive.</summary>
    public ulong last;
}

/// <summary>The addresses of a space, of <see cref="Uapi.IOMMU_IOAS_IOVA_RANGES"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct iommu_ioas_iova_ranges
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint size;
    /// <summary>The space.</summary>
    public uint ioas_id;
    /// <summary>In: room in the array. Out: how many there are.</summary>
    public uint num_iovas;
    /// <summary>0.</summary>
    public uint __reserved;
    /// <summary>Points to an array of <see cref="iommu_iova_range"/>.</summary>
    public ulong allowed_iovas;
    /// <summary>Out: what addresses and lengths have to be multiples of, in bytes.</summary>
    public ulong out_iova_alignment;
}

/// <summary>A mapping to make, of <see cref="Uapi.IOMMU_IOAS_MAP"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct iommu_ioas_map
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint size;
    /// <summary><c>IOMMU_IOAS_MAP_…</c></summary>
    public uint flags;
    /// <summary>The space.</summary>
    public uint ioas_id;
    /// <summary>0.</summary>
    public uint __reserved;
    /// <summary>Address in this process.</summary>
    public ulong user_va;
    /// <summary>Length in bytes.</summary>
    public ulong length;
    /// <summary>Address that the device uses.</summary>
    public ulong iova;
}

/// <summary>A mapping to take away, of <see cref="Uapi.IOMMU_IOAS_UNMAP"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct iommu_ioas_unmap
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint size;
    /// <summary>The space.</summary>
    public uint ioas_id;
    /// <summary>Address that the device used.</summary>
    public ulong iova;
    /// <summary>Length in bytes; the kernel returns what it unmapped.</summary>
    public ulong length;
}

/// <summary>A device to put under an iommufd, of <see cref="Uapi.VFIO_DEVICE_BIND_IOMMUFD"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_device_bind_iommufd
{
    /// <summary>
    /// How much of this structure is meant, in bytes: <see cref="BytesWithoutToken"/>, or all of it with a token. Older kernels refuse what they do not know.
    /// </summary>
    public uint argsz;
    /// <summary>0, or <see cref="Uapi.VFIO_DEVICE_BIND_FLAG_TOKEN"/>.</summary>
    public uint flags;
    /// <summary>The descriptor of the iommufd.</summary>
    public int iommufd;
    /// <summary>Out: the device's id in it.</summary>
    public uint out_devid;
    /// <summary>Points to 16 bytes: the token of the physical function. Availability: Linux 6.17.</summary>
    public ulong token_uuid_ptr;

    /// <summary>The structure's size before it had a token.</summary>
    public const uint BytesWithoutToken = 16;
}

/// <summary>Where a bound device goes, of <see cref="Uapi.VFIO_DEVICE_ATTACH_IOMMUFD_PT"/>, without its newer end (a PASID).</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_device_attach_iommufd_pt
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary>0.</summary>
    public uint flags;
    /// <summary>In: the address space. Out: the page table that the kernel chose.</summary>
    public uint pt_id;
}
