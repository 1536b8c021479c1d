// One open device: what the kernel says of it, its reset, and its end. Regions and interrupts are in VfioDevice.Regions.cs.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>
/// A device that this process holds through VFIO. It works the same however its descriptor was got. Opening reset it and turned bus
/// mastering off; closing it resets it again. Close it with <see cref="Dispose"/>, or with its container.
/// </summary>
public sealed partial class VfioDevice : IDisposable
{
    private readonly Lock gate = new();
    private readonly List<IDisposable> parts = [];
    private readonly Action<IDisposable> released;
    private bool closed;

    internal VfioDevice(PciAddress address, DeviceHandle handle, Action<IDisposable> released)
    {
        Address = address;
        Handle = handle;
        this.released = released;
        vfio_device_info info = handle.GetInfo();
        if ((info.flags & VFIO_DEVICE_FLAGS_PCI) == 0)
        {
            throw VfioFault.Malformed(nameof(VFIO_DEVICE_GET_INFO), handle.Subject, "it is not a PCI device");
        }

        CanReset = (info.flags & VFIO_DEVICE_FLAGS_RESET) != 0;
        Regions = ReadRegions(info.num_regions);
        Irqs = ReadIrqs(info.num_irqs);
    }

    /// <summary>The device.</summary>
    public PciAddress Address { get; }

    /// <summary>Whether <see cref="Reset"/> works.</summary>
    public bool CanReset { get; }

    /// <summary>Its regions that have a size, in the order of their indexes.</summary>
    public ImmutableArray<VfioRegion> Regions { get; }

    /// <summary>Its interrupt types that have a vector, in the order of their indexes.</summary>
    public ImmutableArray<IrqReport> Irqs { get; }

    /// <summary>The device's descriptor.</summary>
    internal DeviceHandle Handle { get; }

    /// <summary>Resets this function by the best method that it has (<c>VFIO_DEVICE_RESET</c>). It can take a second.</summary>
    /// <exception cref="HostFault">It has none, or the reset failed.</exception>
    public void Reset() => Handle.Reset();

    /// <summary>The devices that a reset of its slot or bus hits, itself among them; null if neither can be reset.</summary>
    /// <exception cref="HostFault">The kernel does not tell: EPERM if one of them has no IOMMU group.</exception>
    public ImmutableArray<PciAddress>? ReadHotResetInfo() => Handle.GetPciHotResetInfo() is { } hit
        ? [.. hit.Select(device => PciAddress.FromDevFn(device.segment, device.bus, device.devfn))]
        : null;

    /// <summary>
    /// Sets the secret that whoever opens a virtual function of this physical function has to know
    /// (<c>VFIO_DEVICE_FEATURE_PCI_VF_TOKEN</c>).
    /// </summary>
    /// <exception cref="HostFault">ENOTTY if it is no physical function with SR-IOV.</exception>
    public void SetVfToken(Guid token) => Handle.SetFeature(VFIO_DEVICE_FEATURE_PCI_VF_TOKEN, token.ToByteArray(bigEndian: true));

    /// <summary>All of it as a record.</summary>
    /// <param name="readAt">The time to write into it.</param>
    /// <exception cref="HostFault">The kernel does not tell the devices that depend on it.</exception>
    public DeviceReport Report(DateTimeOffset readAt) => new()
    {
        Address = Address,
        ReadAt = readAt,
        CanReset = CanReset,
        Regions = [.. Regions.Select(region =>
            new RegionReport(region.Name, region.SizeBytes, region.Readable, region.Writable, region.Mappable, region.MapPlan))],
        Irqs = Irqs,
        DependentDevices = ReadHotResetInfo() is { } hit ? [.. hit.Order()] : null,
    };

    /// <summary>Unmaps its regions, disables its interrupts and closes it.</summary>
    public void Dispose()
    {
        IDisposable[] open;
        lock (gate)
        {
            if (closed)
            {
                return;
            }

            closed = true;
            open = [.. parts];
            parts.Clear();
        }

        // A mapping holds the device's file open, so mappings go first. Closing the file disables interrupts; their eventfds go last.
        foreach (MappedRegion region in open.OfType<MappedRegion>())
        {
            region.Dispose();
        }

        Handle.Dispose();
        foreach (VfioInterrupts interrupts in open.OfType<VfioInterrupts>())
        {
            interrupts.Forget();
        }

        released(this);
    }

    // Adds a part that must not outlive the device.
    private T Keep<T>(Func<Action<IDisposable>, T> open)
        where T : IDisposable
    {
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(closed, this);
            T part = open(Release);
            parts.Add(part);
            return part;
        }
    }

    private void Release(IDisposable part)
    {
        lock (gate)
        {
            parts.Remove(part);
        }
    }
}
