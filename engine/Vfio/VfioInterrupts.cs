// One interrupt type of a device, enabled with an eventfd a vector.

using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>The interrupt types of a PCI device, with the kernel's indexes.</summary>
public enum PciIrq
{
    /// <summary>The interrupt line; masks itself when it fires.</summary>
    Intx = (int)VFIO_PCI_INTX_IRQ_INDEX,
    /// <summary>MSI.</summary>
    Msi = (int)VFIO_PCI_MSI_IRQ_INDEX,
    /// <summary>MSI-X.</summary>
    Msix = (int)VFIO_PCI_MSIX_IRQ_INDEX,
    /// <summary>An uncorrectable PCIe error.</summary>
    Err = (int)VFIO_PCI_ERR_IRQ_INDEX,
    /// <summary>The kernel wants the device back.</summary>
    Req = (int)VFIO_PCI_REQ_IRQ_INDEX,
}

/// <summary>Enabled vectors of one interrupt type. Disabled when disposed, at the latest when the device is closed.</summary>
public sealed class VfioInterrupts : IDisposable
{
    private readonly DeviceHandle device;
    private readonly EventSet events;
    private readonly Action<IDisposable> released;
    private int closed;

    internal VfioInterrupts(DeviceHandle device, PciIrq type, int vectors, Action<IDisposable> released)
    {
        this.device = device;
        this.released = released;
        Type = type;
        Vectors = vectors;
        events = new EventSet(vectors, $"{device.Subject} {type} interrupts");
        try
        {
            using var lent = new LentDescriptors([.. events.Handles]);
            device.SetIrqs(VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, (uint)type, 0, (uint)vectors, lent.Values);
        }
        catch
        {
            events.Dispose();
            throw;
        }
    }

    /// <summary>Which type.</summary>
    public PciIrq Type { get; }

    /// <summary>How many vectors are enabled.</summary>
    public int Vectors { get; }

    /// <summary>Waits for a vector to fire. A self-masking type (<see cref="PciIrq.Intx"/>) fires again only after <see cref="Unmask"/>.</summary>
    /// <param name="vector">Which, from 0.</param>
    /// <param name="cancellation">Ends the wait; an interrupt that comes later is kept for the next.</param>
    /// <returns>How often it fired since the last wait, at least 1.</returns>
    /// <exception cref="InvalidOperationException">Somebody waits for it already.</exception>
    /// <exception cref="ObjectDisposedException">The interrupts are disabled, before or during the wait.</exception>
    public Task<ulong> WaitAsync(int vector, CancellationToken cancellation)
    {
        CheckVector(vector);
        return events.WaitAsync(vector, cancellation);
    }

    /// <summary>Masks a vector: the device's interrupts wait.</summary>
    /// <exception cref="HostFault">The type cannot (<see cref="IrqReport.Maskable"/>).</exception>
    public void Mask(int vector) => Act(VFIO_IRQ_SET_ACTION_MASK, vector);

    /// <summary>Unmasks a vector.</summary>
    /// <exception cref="HostFault">The type cannot (<see cref="IrqReport.Maskable"/>).</exception>
    public void Unmask(int vector) => Act(VFIO_IRQ_SET_ACTION_UNMASK, vector);

    /// <summary>Lets the kernel fire a vector as if the device had: a test of everything on this side of the device.</summary>
    /// <exception cref="HostFault">The kernel refused.</exception>
    public void Trigger(int vector) => Act(VFIO_IRQ_SET_ACTION_TRIGGER, vector);

    /// <summary>Disables the type, ends every wait, and closes the eventfds.</summary>
    /// <exception cref="HostFault">The kernel refused to disable it; the eventfds are closed all the same.</exception>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref closed, 1) != 0)
        {
            return;
        }

        released(this);
        try
        {
            device.SetIrqs(VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, (uint)Type, 0, 0);
        }
        finally
        {
            events.Dispose();
        }
    }

    /// <summary>Ends every wait and closes the eventfds because the device, and its interrupts with it, is closed.</summary>
    internal void Forget()
    {
        if (Interlocked.Exchange(ref closed, 1) == 0)
        {
            events.Dispose();
        }
    }

    private void Act(uint action, int vector)
    {
        CheckVector(vector);
        device.SetIrqs(VFIO_IRQ_SET_DATA_NONE | action, (uint)Type, (uint)vector, 1);
    }

    private void CheckVector(int vector)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(vector);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(vector, Vectors);
    }
}
