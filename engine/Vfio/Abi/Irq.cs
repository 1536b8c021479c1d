// The VFIO ABI, part 3: a device's interrupts. include/uapi/linux/vfio.h.

using System.Runtime.InteropServices;

namespace AssignHub.Engine.Vfio.Abi;

internal static partial class Uapi
{
    /// <summary>Device: reads <see cref="vfio_irq_info"/> of the index given. Returns 0. Errors: EINVAL (no such index; ERR on a device that is not PCIe).</summary>
    public const uint VFIO_DEVICE_GET_IRQ_INFO = 0x3B6D;
    /// <summary>
    /// Device: signals, masks, unmasks, <see cref="vfio_irq_set"/>. Returns 0. Errors: EINVAL (range, flags, another index is in
    /// use), ENOTTY (this index cannot do that), EBADF (not an eventfd), ENOSPC (no host vectors left; a positive return says how many are).
    /// </summary>
    public const uint VFIO_DEVICE_SET_IRQS = 0x3B6E;

    /// <summary><see cref="vfio_irq_info"/>: signals through an eventfd.</summary>
    public const uint VFIO_IRQ_INFO_EVENTFD = 1 << 0;
    /// <summary><see cref="vfio_irq_info"/>: can be masked and unmasked.</summary>
    public const uint VFIO_IRQ_INFO_MASKABLE = 1 << 1;
    /// <summary><see cref="vfio_irq_info"/>: masks itself when it fires, until unmasked (a level-triggered line).</summary>
    public const uint VFIO_IRQ_INFO_AUTOMASKED = 1 << 2;
    /// <summary><see cref="vfio_irq_info"/>: the number of vectors is fixed while the index is enabled.</summary>
    public const uint VFIO_IRQ_INFO_NORESIZE = 1 << 3;

    /// <summary><see cref="vfio_irq_set"/>: no data; act on the whole range.</summary>
    public const uint VFIO_IRQ_SET_DATA_NONE = 1 << 0;
    /// <summary><see cref="vfio_irq_set"/>: a byte a vector; act where it is not 0.</summary>
    public const uint VFIO_IRQ_SET_DATA_BOOL = 1 << 1;
    /// <summary><see cref="vfio_irq_set"/>: an s32 a vector, an eventfd; -1 takes it away or skips.</summary>
    public const uint VFIO_IRQ_SET_DATA_EVENTFD = 1 << 2;
    /// <summary><see cref="vfio_irq_set"/>: mask.</summary>
    public const uint VFIO_IRQ_SET_ACTION_MASK = 1 << 3;
    /// <summary><see cref="vfio_irq_set"/>: unmask.</summary>
    public const uint VFIO_IRQ_SET_ACTION_UNMASK = 1 << 4;
    /// <summary>
    /// <see cref="vfio_irq_set"/>: with eventfds, enable; with no data and a count of 0, disable the index; with no data and a
    /// count, fire as if the device had (a loopback test).
    /// </summary>
    public const uint VFIO_IRQ_SET_ACTION_TRIGGER = 1 << 5;

    /// <summary>The interrupt line.</summary>
    public const uint VFIO_PCI_INTX_IRQ_INDEX = 0;
    /// <summary>MSI.</summary>
    public const uint VFIO_PCI_MSI_IRQ_INDEX = 1;
    /// <summary>MSI-X.</summary>
    public const uint VFIO_PCI_MSIX_IRQ_INDEX = 2;
    /// <summary>An uncorrectable error was reported (PCIe AER).</summary>
    public const uint VFIO_PCI_ERR_IRQ_INDEX = 3;
    /// <summary>The kernel asks to have the device back.</summary>
    public const uint VFIO_PCI_REQ_IRQ_INDEX = 4;
    /// <summary>How many indexes a PCI device has.</summary>
    public const uint VFIO_PCI_NUM_IRQS = 5;
}

/// <summary>An interrupt index, of <see cref="Uapi.VFIO_DEVICE_GET_IRQ_INFO"/>.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_irq_info
{
    /// <summary>The size of this structure in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary><c>VFIO_IRQ_INFO_…</c></summary>
    public uint flags;
    /// <summary>Which index, set by the caller.</summary>
    public uint index;
    /// <summary>Its vectors; 0 if the device has none.</summary>
    public uint count;
}

/// <summary>The head of <see cref="Uapi.VFIO_DEVICE_SET_IRQS"/>, 20 bytes; the data follow at once.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct vfio_irq_set
{
    /// <summary>Head and data in bytes, set by the caller.</summary>
    public uint argsz;
    /// <summary>One <c>DATA</c> and one <c>ACTION</c>.</summary>
    public uint flags;
    /// <summary>Which index.</summary>
    public uint index;
    /// <summary>The first vector.</summary>
    public uint start;
    /// <summary>How many vectors.</summary>
    public uint count;
}
