// The VFIO ABI, part 4: the reset of a slot or bus, which hits every device there. include/uapi/linux/vfio.h.

using System.Runtime.InteropServices;

namespace AssignHub.Engine.Vfio.Abi;

internal static partial class Uapi
{
    /// <summary>
    /// Device: lists what a hot reset would hit, <see cref="vfio_pci_hot_reset_info"/>. Returns 0. Errors: ENODEV (neither slot nor
    /// bus can be reset), ENOSPC (the array is too small; count is filled), EPERM (a device that it hits has no group).
    /// </summary>
    public const uint VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = 0x3B70;
    /// <summary>
    /// Device: resets its slot or bus, <see cref="vfio_pci_hot_reset"/>. Every device on and below the bus must be bound to VFIO and
    /// belong to a group whose fd is given. Returns 0. Errors: EINVAL (a group is missing, or a bridge stands below), ENODEV, EBADF.
    /// </summary>
    public const uint VFIO_DEVICE_PCI_HOT_RESET = 0x3B71;
}

/// <summary>One device that a hot reset hits. <c>devid</c> shares the place of <see cref="group_id"/> on a device opened by its own node.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_pci_dependent_device
{
    /// <summary>Its IOMMU group.</summary>
    public uint group_id;
    /// <summary>Its PCI domain.</summary>
    public ushort segment;
    /// <summary>Its bus.</summary>
    public byte bus;
    /// <summary>Slot and function, <c>slot &lt;&lt; 3 | function</c>.</summary>
    public byte devfn;
}

/// <summary>The head of <see cref="Uapi.VFIO_DEVICE_GET_PCI_HOT_RESET_INFO"/>; <see cref="count"/> devices follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_pci_hot_reset_info
{
    /// <summary>Head and array in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary>Out: 0 on a device opened through its group.</summary>
    public uint flags;
    /// <summary>Out: devices hit, also when the array was too small.</summary>
    public uint count;
}

/// <summary>The head of <see cref="Uapi.VFIO_DEVICE_PCI_HOT_RESET"/>; <see cref="count"/> group descriptors (s32) follow.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_pci_hot_reset
{
    /// <summary>Head and array in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary>0.</summary>
    public uint flags;
    /// <summary>How many group descriptors follow.</summary>
    public uint count;
}
