// A container: an IOMMU context with exactly one group in it. What all backends have in common, and the one place that knows their order.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Vfio;

/// <summary>
/// An open container and its group. Devices are opened from it and memory is mapped in it; both end with it, in the order that the
/// kernel demands: devices, then the group, then the container. Calls are the kernel's and block as long as it does.
/// </summary>
public abstract class VfioContainer : IDisposable
{
    private readonly Lock gate = new();
    private readonly List<IDisposable> parts = [];
    private bool closed;

    private protected VfioContainer(string backend, int group)
    {
        Backend = backend;
        Group = group;
    }

    /// <summary>How it reaches the IOMMU, by the API's name: <c>type1v2</c>, …</summary>
    public string Backend { get; }

    /// <summary>Its group, by the kernel's number.</summary>
    public int Group { get; }

    /// <summary>Opens a container, puts the group into it, and sets its IOMMU. The group's DMA is claimed from here on.</summary>
    /// <param name="group">The group's number. All its members are off the host drivers that do DMA, and one at least is on vfio-pci.</param>
    /// <param name="backend">The backend by its name, or null for the best that the kernel has.</param>
    /// <param name="host">The host; null is this one, with nothing against any backend.</param>
    /// <exception cref="HostFault">The kernel refused, with its reason in words; nothing stays open.</exception>
    /// <exception cref="ArgumentException">There is no backend of this name.</exception>
    public static VfioContainer Open(int group, string? backend = null, VfioHost? host = null) =>
        VfioBackend.Choose(host ??= new VfioHost(), backend, group).Open(host, group);

    /// <summary>Asks whether somebody has a group's VFIO file, by opening it for an instant.</summary>
    /// <exception cref="HostFault">This process may not open it.</exception>
    public static GroupUse ProbeGroup(int group, string devRoot = "/dev") => VfioFiles.ProbeGroup(devRoot, group);

    /// <summary>Asks the kernel about the IOMMU: page sizes, usable addresses, mappings left.</summary>
    /// <exception cref="HostFault">The ioctl failed, or its capabilities are broken.</exception>
    public abstract IommuReport ReadIommu();

    /// <summary>Opens a device of the group. The kernel resets it, which can take a second.</summary>
    /// <param name="address">The device, bound to vfio-pci.</param>
    /// <param name="vfToken">For a virtual function whose physical function is held through VFIO: the secret set there.</param>
    /// <exception cref="HostFault">The kernel refused.</exception>
    public VfioDevice OpenDevice(PciAddress address, Guid? vfToken = null) => Keep(() =>
    {
        DeviceHandle handle = OpenDeviceHandle(address, vfToken);
        try
        {
            return new VfioDevice(address, handle, Release);
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    });

    /// <summary>Lets the container's devices reach a buffer. The kernel pins it, which counts against the locked-memory limit.</summary>
    /// <param name="buffer">The buffer, whole.</param>
    /// <param name="iova">At which I/O virtual address; a multiple of the IOMMU's smallest page.</param>
    /// <param name="access">What they may do with it.</param>
    /// <exception cref="ArgumentException">The IOMMU cannot map that range, or nothing is allowed with it.</exception>
    /// <exception cref="HostFault">The kernel refused: ENOMEM at the limit, EEXIST where a mapping is already.</exception>
    public DmaMapping MapDma(DmaBuffer buffer, ulong iova, DmaAccess access)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        ArgumentOutOfRangeException.ThrowIfEqual((int)access, (int)DmaAccess.None, nameof(access));
        if (DmaMapping.Objection(ReadIommu(), iova, buffer.LengthBytes) is { } objection)
        {
            throw new ArgumentException($"{buffer.LengthBytes} bytes at {iova:x}: {objection}", nameof(iova));
        }

        return Keep(() =>
        {
            using MappedMemory.Loan loan = buffer.Memory.Lend(0, buffer.LengthBytes);

            // SAFETY: only the number is handed to the kernel, which pins these pages and keeps them until the unmap; the mapping that is made
            // next keeps the address ours till then.
            ulong address;
            unsafe
            {
                address = (ulong)loan.Pointer;
            }

            MapMemory(address, buffer.LengthBytes, iova, access);
            return new DmaMapping(buffer.Memory, iova, Unmap);
        });
    }

    /// <summary>
    /// Resets the slot or bus of a device, and with it every device there (<see cref="VfioDevice.ReadHotResetInfo"/>).
    /// </summary>
    /// <param name="device">A device of this container.</param>
    /// <param name="others">The containers of the other groups that it hits, all of this backend.</param>
    /// <exception cref="HostFault">EINVAL if a group is missing, a device is not on vfio-pci, or a bridge stands below.</exception>
    public abstract void HotReset(VfioDevice device, params IReadOnlyCollection<VfioContainer> others);

    /// <summary>Closes its devices, then the group and the container, and lets go of the memory that was mapped.</summary>
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

        foreach (VfioDevice device in open.OfType<VfioDevice>())
        {
            device.Dispose();
        }

        Close();

        // Closing took every mapping away: what was pinned for the devices may go now, and not before.
        foreach (DmaMapping mapping in open.OfType<DmaMapping>())
        {
            mapping.Forget();
        }

        GC.SuppressFinalize(this);
    }

    /// <summary>Opens a device's descriptor.</summary>
    private protected abstract DeviceHandle OpenDeviceHandle(PciAddress address, Guid? vfToken);

    /// <summary>Maps memory of this process for the devices.</summary>
    private protected abstract void MapMemory(ulong address, ulong lengthBytes, ulong iova, DmaAccess access);

    /// <summary>Takes a mapping away.</summary>
    /// <returns>The bytes that the kernel unmapped.</returns>
    private protected abstract ulong UnmapMemory(ulong iova, ulong lengthBytes);

    /// <summary>Closes the backend's descriptors; every device is closed.</summary>
    private protected abstract void Close();

    private void Unmap(DmaMapping mapping)
    {
        ulong unmapped = UnmapMemory(mapping.Iova, mapping.LengthBytes);
        Release(mapping);
        if (unmapped != mapping.LengthBytes)
        {
            throw VfioFault.Malformed("unmap", $"the container of group {Group}", $"{unmapped} of {mapping.LengthBytes} bytes were mapped at {mapping.Iova:x}");
        }
    }

    // Adds a part that must not outlive the container.
    private T Keep<T>(Func<T> open)
        where T : IDisposable
    {
        lock (gate)
        {
            ObjectDisposedException.ThrowIf(closed, this);
            T part = open();
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
