// The VFIO ABI, part 2: the device fd, its regions and its features. include/uapi/linux/vfio.h.

using System.Runtime.InteropServices;

namespace AssignHub.Engine.Vfio.Abi;

internal static partial class Uapi
{
    /// <summary>Device: reads <see cref="vfio_device_info"/>. Returns 0. Errors: EINVAL (argsz below 16).</summary>
    public const uint VFIO_DEVICE_GET_INFO = 0x3B6B;
    /// <summary>Device: reads <see cref="vfio_region_info"/> of the index given. Returns 0. Errors: EINVAL (no such index; a VGA region that is not there).</summary>
    public const uint VFIO_DEVICE_GET_REGION_INFO = 0x3B6C;
    /// <summary>
    /// Device: resets this one function by the best method it has. Returns 0. Errors: EINVAL or ENOTTY (it has none:
    /// <see cref="VFIO_DEVICE_FLAGS_RESET"/> is clear), EAGAIN (another reset has the lock).
    /// </summary>
    public const uint VFIO_DEVICE_RESET = 0x3B6F;
    /// <summary>
    /// Device: gets, sets or probes a feature, <see cref="vfio_device_feature"/>. Returns 0. Errors: ENOTTY (unknown feature),
    /// EINVAL (unknown flags or wrong size). Availability: Linux 5.7.
    /// </summary>
    public const uint VFIO_DEVICE_FEATURE = 0x3B75;

    /// <summary><see cref="vfio_device_info"/>: <see cref="VFIO_DEVICE_RESET"/> works.</summary>
    public const uint VFIO_DEVICE_FLAGS_RESET = 1 << 0;
    /// <summary><see cref="vfio_device_info"/>: a PCI device, with the fixed region and interrupt indexes below.</summary>
    public const uint VFIO_DEVICE_FLAGS_PCI = 1 << 1;
    /// <summary><see cref="vfio_device_info"/>: a capability chain follows. Availability: Linux 5.10.</summary>
    public const uint VFIO_DEVICE_FLAGS_CAPS = 1 << 7;

    /// <summary><see cref="vfio_region_info"/>: can be read.</summary>
    public const uint VFIO_REGION_INFO_FLAG_READ = 1 << 0;
    /// <summary><see cref="vfio_region_info"/>: can be written.</summary>
    public const uint VFIO_REGION_INFO_FLAG_WRITE = 1 << 1;
    /// <summary><see cref="vfio_region_info"/>: can be mapped, perhaps in parts.</summary>
    public const uint VFIO_REGION_INFO_FLAG_MMAP = 1 << 2;
    /// <summary><see cref="vfio_region_info"/>: a capability chain follows.</summary>
    public const uint VFIO_REGION_INFO_FLAG_CAPS = 1 << 3;

    /// <summary>Region capability: only these areas may be mapped, <see cref="vfio_region_info_cap_sparse_mmap"/>. Availability: Linux 4.6.</summary>
    public const ushort VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1;
    /// <summary>Region capability: what a device-specific region is, <see cref="vfio_region_info_cap_type"/>. Availability: Linux 4.6.</summary>
    public const ushort VFIO_REGION_INFO_CAP_TYPE = 2;
    /// <summary>Region capability: the pages of the MSI-X table may be mapped too; a header only. Availability: Linux 4.16.</summary>
    public const ushort VFIO_REGION_INFO_CAP_MSIX_MAPPABLE = 3;

    /// <summary>The first BAR; BAR <c>n</c> has the index <c>n</c>.</summary>
    public const uint VFIO_PCI_BAR0_REGION_INDEX = 0;
    /// <summary>The last BAR.</summary>
    public const uint VFIO_PCI_BAR5_REGION_INDEX = 5;
    /// <summary>The expansion ROM.</summary>
    public const uint VFIO_PCI_ROM_REGION_INDEX = 6;
    /// <summary>Configuration space, partly virtual: the kernel filters writes.</summary>
    public const uint VFIO_PCI_CONFIG_REGION_INDEX = 7;
    /// <summary>Legacy VGA ranges; EINVAL on a device that is not VGA.</summary>
    public const uint VFIO_PCI_VGA_REGION_INDEX = 8;
    /// <summary>Indexes from here on are the device's own, told apart by <see cref="VFIO_REGION_INFO_CAP_TYPE"/>.</summary>
    public const uint VFIO_PCI_NUM_REGIONS = 9;

    /// <summary><see cref="vfio_device_feature"/>: the bits of flags that hold the feature's number.</summary>
    public const uint VFIO_DEVICE_FEATURE_MASK = 0xffff;
    /// <summary><see cref="vfio_device_feature"/>: read it.</summary>
    public const uint VFIO_DEVICE_FEATURE_GET = 1 << 16;
    /// <summary><see cref="vfio_device_feature"/>: write it.</summary>
    public const uint VFIO_DEVICE_FEATURE_SET = 1 << 17;
    /// <summary><see cref="vfio_device_feature"/>: only ask whether it, with GET or SET, is known.</summary>
    public const uint VFIO_DEVICE_FEATURE_PROBE = 1 << 18;
    /// <summary>Feature, SET only: the secret (16 bytes, a UUID) that a PF's user shares with its VFs' users. Availability: Linux 5.7.</summary>
    public const ushort VFIO_DEVICE_FEATURE_PCI_VF_TOKEN = 0;
    /// <summary>Feature: migration of the device's state. Availability: Linux 5.18.</summary>
    public const ushort VFIO_DEVICE_FEATURE_MIGRATION = 1;
    /// <summary>Feature, SET only: lets the idle device sleep. Availability: Linux 6.1.</summary>
    public const ushort VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY = 3;
    /// <summary>Feature, SET only: wakes it. Availability: Linux 6.1.</summary>
    public const ushort VFIO_DEVICE_FEATURE_LOW_POWER_EXIT = 5;
}

/// <summary>A device, of <see cref="Uapi.VFIO_DEVICE_GET_INFO"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_device_info
{
    /// <summary>The size of the buffer in bytes, set by the caller; the kernel returns what it needs.</summary>
    public uint argsz;
    /// <summary><c>VFIO_DEVICE_FLAGS_…</c></summary>
    public uint flags;
    /// <summary>Highest region index + 1.</summary>
    public uint num_regions;
    /// <summary>Highest interrupt index + 1.</summary>
    public uint num_irqs;
    /// <summary>Offset of the first capability in bytes. Availability: Linux 5.10.</summary>
    public uint cap_offset;
    /// <summary>Fills to 8 bytes. Availability: Linux 6.6.</summary>
    public uint pad;
}

/// <summary>A region, of <see cref="Uapi.VFIO_DEVICE_GET_REGION_INFO"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_region_info
{
    /// <summary>The size of the buffer in bytes, set by the caller; the kernel returns what it needs.</summary>
    public uint argsz;
    /// <summary><c>VFIO_REGION_INFO_FLAG_…</c></summary>
    public uint flags;
    /// <summary>Which region, set by the caller.</summary>
    public uint index;
    /// <summary>Offset of the first capability in bytes.</summary>
    public uint cap_offset;
    /// <summary>The region's size in bytes; 0 if the device has none at this index.</summary>
    public ulong size;
    /// <summary>Where it begins in the device fd, in bytes, for pread, pwrite and mmap.</summary>
    public ulong offset;
}

/// <summary>The head of the sparse-mmap capability; <see cref="nr_areas"/> areas follow it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_region_info_cap_sparse_mmap
{
    /// <summary>Id <see cref="Uapi.VFIO_REGION_INFO_CAP_SPARSE_MMAP"/>, version 1.</summary>
    public vfio_info_cap_header header;
    /// <summary>How many areas follow.</summary>
    public uint nr_areas;
    /// <summary>0.</summary>
    public uint reserved;
}

/// <summary>One area that may be mapped.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_region_sparse_mmap_area
{
    /// <summary>Offset in the region in bytes.</summary>
    public ulong offset;
    /// <summary>Length in bytes.</summary>
    public ulong size;
}

/// <summary>What a device-specific region is.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_region_info_cap_type
{
    /// <summary>Id <see cref="Uapi.VFIO_REGION_INFO_CAP_TYPE"/>, version 1.</summary>
    public vfio_info_cap_header header;
    /// <summary>The type; with bit 31 set, the low 16 bits are a PCI vendor.</summary>
    public uint type;
    /// <summary>The subtype, of the type's own.</summary>
    public uint subtype;
}

/// <summary>The head of a feature's call, of <see cref="Uapi.VFIO_DEVICE_FEATURE"/>; the feature's data follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_device_feature
{
    /// <summary>Head and data in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary>The feature's number and <c>VFIO_DEVICE_FEATURE_…</c></summary>
    public uint flags;
}
