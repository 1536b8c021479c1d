// The containers that go through a group's file: /dev/vfio/vfio with /dev/vfio/N attached. A backend adds its IOMMU type and what that can do.

using AssignHub.Engine.Pci;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>A container over the group interface of VFIO, whatever its IOMMU type.</summary>
internal abstract class GroupContainer : VfioContainer
{
    private readonly GroupHandle groupHandle;

    /// <summary>Attaches the group and sets the IOMMU; nothing stays open if that fails.</summary>
    /// <param name="backend">The backend's name.</param>
    /// <param name="iommuType">The extension number of its IOMMU.</param>
    /// <param name="container">The container, taken over.</param>
    /// <param name="group">Its group, taken over.</param>
    /// <param name="number">The group's number.</param>
    /// <exception cref="HostFault">One of the steps failed.</exception>
    protected GroupContainer(string backend, uint iommuType, ContainerHandle container, GroupHandle group, int number)
        : base(backend, number)
    {
        Container = container;
        groupHandle = group;
        try
        {
            if (!Container.CheckExtension(iommuType))
            {
                throw new HostFault(nameof(VFIO_CHECK_EXTENSION), Container.Subject, Errno.None, $"the kernel offers no {backend} IOMMU");
            }

            groupHandle.SetContainer(Container);

            // Kernels before 5.19 attach a group that is not viable, and refuse its devices only.
            if ((groupHandle.GetStatus() & VFIO_GROUP_FLAGS_VIABLE) == 0)
            {
                throw new HostFault(
                    nameof(VFIO_GROUP_GET_STATUS), groupHandle.Subject, Errno.EPERM, VfioFault.Explain(nameof(VFIO_GROUP_SET_CONTAINER), Errno.EPERM));
            }

            Container.SetIommu(iommuType);
        }
        catch
        {
            Close();
            throw;
        }
    }

    /// <summary>The container's descriptor.</summary>
    protected ContainerHandle Container { get; }

    /// <inheritdoc/>
    public override void HotReset(VfioDevice device, params IReadOnlyCollection<VfioContainer> others)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(others);
        GroupHandle[] groups = [groupHandle, .. others.Select(other => other is GroupContainer container
            ? container.groupHandle
            : throw new ArgumentException($"the container of group {other.Group} has no group file: {other.Backend}", nameof(others)))];
        device.Handle.PciHotReset(groups);
    }

    /// <inheritdoc/>
    private protected override DeviceHandle OpenDeviceHandle(PciAddress address, Guid? vfToken) =>
        groupHandle.GetDeviceFd(vfToken is { } token ? $"{address} vf_token={token:d}" : address.ToString());

    /// <inheritdoc/>
    private protected override ulong UnmapMemory(ulong iova, ulong lengthBytes) => Container.UnmapDma(iova, lengthBytes);

    /// <inheritdoc/>
    private protected override void Close()
    {
        // Closing the group's last descriptor takes it out of the container, and gives its DMA back.
        groupHandle.Dispose();
        Container.Dispose();
    }
}
