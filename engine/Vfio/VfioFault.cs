// What an errno of VFIO means. The kernel answers with numbers that mean something else in each call; here they become words, once.

namespace AssignHub.Engine.Vfio;

/// <summary>Turns VFIO's -errno into <see cref="HostFault"/>s that say what is in the way.</summary>
internal static class VfioFault
{
    /// <summary>Passes a good result on and turns -errno into a fault.</summary>
    /// <exception cref="HostFault"><paramref name="result"/> is -errno.</exception>
    public static nint Check(nint result, string operation, string subject) =>
        Libc.Check(result, operation, subject, result < 0 ? Explain(operation, (Errno)(-result)) : null);

    /// <summary>A fault without an errno: the kernel answered, but not what its ABI promises.</summary>
    public static HostFault Malformed(string operation, string subject, string problem) =>
        new(operation, subject, Errno.None, $"the kernel's answer does not keep to its ABI: {problem}");

    /// <summary>Why a file of VFIO could not be opened, in words; null if the errno says it all.</summary>
    /// <param name="isGroup">Whether it is a group's (<c>/dev/vfio/N</c>), not the container's.</param>
    /// <param name="errno">The error of <c>open</c>.</param>
    public static string? ExplainOpen(bool isGroup, Errno errno) => (isGroup, errno) switch
    {
        (true, Errno.ENOENT or Errno.ENODEV) => "no device of this group is bound to vfio-pci",
        (true, Errno.EBUSY) => "another process holds the group",
        (false, Errno.ENOENT or Errno.ENODEV or Errno.ENXIO) => "VFIO is not there: load the module vfio-pci",
        (_, Errno.EACCES or Errno.EPERM) => "this process may not open it",
        _ => null,
    };

    /// <summary>Why an ioctl failed, in words; null if the errno says it all. From drivers/vfio and drivers/iommu.</summary>
    /// <param name="operation">The ioctl's kernel name.</param>
    /// <param name="errno">Its error.</param>
    public static string? Explain(string operation, Errno errno) => (operation, errno) switch
    {
        ("VFIO_GROUP_SET_CONTAINER", Errno.EPERM) => "the group is not viable: a member is bound to a host driver that does DMA",
        ("VFIO_GROUP_SET_CONTAINER", Errno.EBUSY) => "the group's IOMMU domain is in use",
        ("VFIO_GROUP_SET_CONTAINER", Errno.EINVAL) => "the firmware demands a 1:1 mapped region (RMRR) for a device of the group, or the group already has a container",
        ("VFIO_SET_IOMMU", Errno.EPERM) => "the platform does not isolate MSI interrupts (no interrupt remapping), or the firmware demands a 1:1 mapped region",
        ("VFIO_SET_IOMMU", Errno.ENODEV) => "the kernel has no IOMMU driver of this type",
        ("VFIO_SET_IOMMU", Errno.EBUSY) => "the group's IOMMU domain is in use",
        ("VFIO_GROUP_GET_DEVICE_FD", Errno.ENODEV) => "the device is not in the group, or not bound to vfio-pci",
        ("VFIO_GROUP_GET_DEVICE_FD", Errno.EINVAL) => "the container has no IOMMU yet",
        ("VFIO_GROUP_GET_DEVICE_FD", Errno.EACCES) => "its physical function is held through VFIO, and the VF token is missing or wrong",
        ("VFIO_GROUP_GET_DEVICE_FD", Errno.EBUSY) => "the device, or its virtual functions, are in use",
        ("VFIO_IOMMU_MAP_DMA", Errno.ENOMEM) => "the locked-memory limit (RLIMIT_MEMLOCK) is reached",
        ("VFIO_IOMMU_MAP_DMA", Errno.EEXIST) => "the range overlaps a mapping",
        ("VFIO_IOMMU_MAP_DMA", Errno.ENOSPC) => "the container has no mapping left (dma_entry_limit)",
        ("VFIO_IOMMU_MAP_DMA", Errno.EINVAL) => "the range is not aligned to the IOMMU's pages, or outside its I/O addresses",
        ("VFIO_IOMMU_ENABLE", Errno.ENOMEM) => "the whole DMA window counts as locked memory, and RLIMIT_MEMLOCK is below that",
        ("VFIO_IOMMU_SPAPR_REGISTER_MEMORY", Errno.ENOMEM) => "the locked-memory limit (RLIMIT_MEMLOCK) is reached",
        ("VFIO_IOMMU_MAP_DMA", Errno.ENXIO) => "the range is in no DMA window",
        ("IOMMU_IOAS_MAP", Errno.ENOMEM) => "the locked-memory limit (RLIMIT_MEMLOCK) is reached",
        ("IOMMU_IOAS_MAP", Errno.EEXIST) => "the range overlaps a mapping",
        ("IOMMU_IOAS_MAP", Errno.EINVAL) => "the range is not aligned to the IOMMU's pages, or outside its I/O addresses",
        ("VFIO_DEVICE_BIND_IOMMUFD", Errno.EPERM) => "the group is not viable: a member is bound to a host driver that does DMA",
        ("VFIO_DEVICE_BIND_IOMMUFD", Errno.EBUSY) => "the device, or its group, is in use",
        ("VFIO_DEVICE_BIND_IOMMUFD", Errno.EINVAL) => "the firmware demands a 1:1 mapped region (RMRR) for a device of the group, or the device is bound already",
        ("VFIO_DEVICE_BIND_IOMMUFD", Errno.EACCES) => "its physical function is held through VFIO, and the VF token is missing or wrong",
        ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", Errno.EPERM) => "the platform does not isolate MSI interrupts (no interrupt remapping)",
        ("VFIO_DEVICE_ATTACH_IOMMUFD_PT", Errno.EINVAL) => "the firmware demands a 1:1 mapped region (RMRR) for a device of the group",
        ("VFIO_DEVICE_RESET", Errno.EINVAL or Errno.ENOTTY) => "the device has no reset of its own",
        ("VFIO_DEVICE_RESET", Errno.EAGAIN) or ("VFIO_DEVICE_PCI_HOT_RESET", Errno.EAGAIN) => "another reset is under way",
        ("VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", Errno.EPERM) => "the reset would hit a device without an IOMMU group",
        ("VFIO_DEVICE_PCI_HOT_RESET", Errno.EINVAL) => "it would hit a device whose group was not given, that is not bound to vfio-pci, or a bridge",
        ("VFIO_DEVICE_PCI_HOT_RESET", Errno.ENODEV) => "neither slot nor bus of the device can be reset",
        ("VFIO_DEVICE_PCI_HOT_RESET", Errno.ENOTTY) => "the bus did not come back from its reset: the link below the bridge stayed down",
        ("VFIO_DEVICE_SET_IRQS", Errno.ENOTTY) => "this interrupt type cannot do that",
        ("VFIO_DEVICE_SET_IRQS", Errno.EINVAL) => "no such vectors, or another interrupt type of the device is in use",
        ("VFIO_DEVICE_SET_IRQS", Errno.ENOSPC) => "the host has not so many interrupt vectors left",
        ("VFIO_DEVICE_FEATURE", Errno.ENOTTY) => "the device has no such feature",
        _ => null,
    };
}
