// The VFIO ABI, part 1: the container fd (/dev/vfio/vfio) and the group fd (/dev/vfio/N). include/uapi/linux/vfio.h.
// Constants and structures only, under the kernel's own names; a test compiles them against the system's headers.

using System.Runtime.InteropServices;

namespace AssignHub.Engine.Vfio.Abi;

/// <summary>The constants of <c>include/uapi/linux/vfio.h</c>.</summary>
internal static partial class Uapi
{
    /// <summary>The version of the VFIO API; the kernel has known no other since 3.6.</summary>
    public const uint VFIO_API_VERSION = 0;

    /// <summary>Extension and IOMMU type: type 1, whose unmap may split a mapping. x86, Arm and others with a page-table IOMMU.</summary>
    public const uint VFIO_TYPE1_IOMMU = 1;
    /// <summary>Extension and IOMMU type: POWER's translation control entries.</summary>
    public const uint VFIO_SPAPR_TCE_IOMMU = 2;
    /// <summary>Extension and IOMMU type: type 1, unmapping whole mappings only. Availability: Linux 3.16.</summary>
    public const uint VFIO_TYPE1v2_IOMMU = 3;
    /// <summary>Extension: the IOMMU enforces cache-coherent DMA. Answers 0 before <see cref="VFIO_SET_IOMMU"/>.</summary>
    public const uint VFIO_DMA_CC_IOMMU = 4;
    /// <summary>Extension and IOMMU type: POWER with memory registered before. Availability: Linux 4.2.</summary>
    public const uint VFIO_SPAPR_TCE_v2_IOMMU = 7;
    /// <summary>Extension and IOMMU type: no IOMMU and no isolation. Availability: Linux 4.5, if enabled by a module parameter.</summary>
    public const uint VFIO_NOIOMMU_IOMMU = 8;
    /// <summary>Extension: <see cref="VFIO_DMA_UNMAP_FLAG_ALL"/> is known. Availability: Linux 5.12.</summary>
    public const uint VFIO_UNMAP_ALL = 9;

    /// <summary>Container: asks for the API version. Returns <see cref="VFIO_API_VERSION"/>. Availability: always.</summary>
    public const uint VFIO_GET_API_VERSION = 0x3B64;
    /// <summary>
    /// Container: asks whether an extension is there; the argument is its number, by value. Returns 0 if not, a positive
    /// number if so. Availability: always, but only <see cref="VFIO_SET_IOMMU"/> makes the answer final.
    /// </summary>
    public const uint VFIO_CHECK_EXTENSION = 0x3B65;
    /// <summary>
    /// Container: chooses the IOMMU type; the argument is an extension's number, by value. Returns 0. Errors: EINVAL (no group,
    /// or already set), ENODEV (no driver of the type), EPERM (no isolated MSI; before 6.5 also firmware's 1:1 regions), EBUSY.
    /// Availability: once a group is attached.
    /// </summary>
    public const uint VFIO_SET_IOMMU = 0x3B66;
    /// <summary>Group: reads <see cref="vfio_group_status"/>. Returns 0. Advisory: only the claim itself decides.</summary>
    public const uint VFIO_GROUP_GET_STATUS = 0x3B67;
    /// <summary>
    /// Group: attaches it to a container; the argument points to the container's descriptor (s32). It claims the group's DMA.
    /// Returns 0. Errors: EPERM (a member has a driver that does DMA: not viable), EBUSY (another user of its IOMMU domain),
    /// EINVAL (firmware wants a 1:1 region; or already attached). Availability: always.
    /// </summary>
    public const uint VFIO_GROUP_SET_CONTAINER = 0x3B68;
    /// <summary>
    /// Group: detaches it from its container. Returns 0. Errors: EINVAL (not attached), EBUSY (a device is open).
    /// The last group's going resets the container to its initial state.
    /// </summary>
    public const uint VFIO_GROUP_UNSET_CONTAINER = 0x3B69;
    /// <summary>
    /// Group: opens a device, named by a string: the address, for a VF of a VFIO-held PF followed by <c> vf_token=UUID</c>.
    /// Resets the device. Returns a descriptor with O_CLOEXEC. Errors: EINVAL (before SET_IOMMU), ENODEV (no such device here, or
    /// not bound to VFIO), EACCES (VF token wrong or missing), EIO, EBUSY. Availability: once the IOMMU is set.
    /// </summary>
    public const uint VFIO_GROUP_GET_DEVICE_FD = 0x3B6A;

    /// <summary><see cref="vfio_group_status"/>: every member is off the drivers that do DMA.</summary>
    public const uint VFIO_GROUP_FLAGS_VIABLE = 1 << 0;
    /// <summary><see cref="vfio_group_status"/>: the group is attached to a container.</summary>
    public const uint VFIO_GROUP_FLAGS_CONTAINER_SET = 1 << 1;
}

/// <summary>A group's status, of <see cref="Uapi.VFIO_GROUP_GET_STATUS"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_group_status
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary><c>VFIO_GROUP_FLAGS_…</c></summary>
    public uint flags;
}

/// <summary>
/// The head of one capability in a chain behind an INFO structure. Offsets count from the start of the INFO buffer. A buffer that
/// is too small gets the flag CAPS, a cap_offset of 0 and the size needed in argsz, and no error.
/// </summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_info_cap_header
{
    /// <summary>Which capability; the numbers are the INFO ioctl's own.</summary>
    public ushort id;
    /// <summary>The version of its layout.</summary>
    public ushort version;
    /// <summary>Offset of the next one in bytes, 0 at the end.</summary>
    public uint next;
}
