// The iommufd backend: an open /dev/iommu with one I/O address space, and devices opened by files of their own. No group file is needed.

using AssignHub.Engine.Desired;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>
/// A container as an iommufd context. The kernel claims a group's DMA when the first of its devices is opened, not before; until then nothing
/// is known of the IOMMU behind it either.
/// </summary>
internal sealed class IommufdContainer : VfioContainer
{
    private readonly VfioHost host;
    private readonly IommufdHandle iommufd;
    private readonly uint space;
    private bool hasDevice;

    /// <summary>Opens a context and makes its address space.</summary>
    /// <param name="host">The host.</param>
    /// <param name="group">The group's number.</param>
    /// <exception cref="HostFault">One of the steps failed.</exception>
    public IommufdContainer(VfioHost host, int group)
        : base(Container.Iommufd, group)
    {
        this.host = host;
        iommufd = VfioFiles.OpenIommufd(host.DevRoot, $"the container of group {group}");
        try
        {
            space = iommufd.AllocateSpace();
        }
        catch
        {
            Close();
            throw;
        }
    }

    /// <inheritdoc/>
    public override IommuReport ReadIommu()
    {
        if (!hasDevice)
        {
            // An empty space says that everything can be mapped, which is not true of any IOMMU.
            return new IommuReport { Backend = Backend };
        }

        (iommu_iova_range[] ranges, ulong alignment) = iommufd.GetIovaRanges(space);
        return new IommuReport
        {
            Backend = Backend,
            PageSizesBytes = [alignment],
            IovaRanges = [.. ranges.Select(range => new IovaRange(range.start, range.last))],
        };
    }

    /// <inheritdoc/>
    public override void HotReset(VfioDevice device, params IReadOnlyCollection<VfioContainer> others)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(others);
        if (others.Count > 0)
        {
            // Ownership is shown by the context that every device hit belongs to, and here each group has one of its own.
            throw new HostFault(nameof(VFIO_DEVICE_PCI_HOT_RESET), device.Address.ToString(), Errno.EINVAL, "it would hit other groups, which have contexts of their own");
        }

        device.Handle.PciHotReset();
    }

    /// <inheritdoc/>
    private protected override DeviceHandle OpenDeviceHandle(PciAddress address, Guid? vfToken)
    {
        DeviceHandle device = VfioFiles.OpenDevice(host, address);
        try
        {
            device.BindIommufd(iommufd, vfToken);
            device.AttachSpace(space);
            hasDevice = true;
            return device;
        }
        catch
        {
            device.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    private protected override void MapMemory(ulong address, ulong lengthBytes, ulong iova, DmaAccess access) => iommufd.Map(
        space, address, iova, lengthBytes,
        (access.HasFlag(DmaAccess.Read) ? IOMMU_IOAS_MAP_READABLE : 0) | (access.HasFlag(DmaAccess.Write) ? IOMMU_IOAS_MAP_WRITEABLE : 0));

    /// <inheritdoc/>
    private protected override ulong UnmapMemory(ulong iova, ulong lengthBytes) => iommufd.Unmap(space, iova, lengthBytes);

    /// <inheritdoc/>
    private protected override void Close() => iommufd.Dispose();
}
