// The backend for devices without an IOMMU, whose group the kernel made up. Nothing can be mapped and nothing is isolated: whoever holds the
// device reaches all memory with it. The kernel wants CAP_SYS_RAWIO for it and taints itself.

using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>A container without an IOMMU: devices can be opened, reset and driven, and nothing can be mapped for them.</summary>
internal sealed class NoIommuContainer(string backend, uint iommuType, ContainerHandle container, GroupHandle group, int number)
    : GroupContainer(backend, iommuType, container, group, number)
{
    /// <inheritdoc/>
    public override IommuReport ReadIommu() => new() { Backend = Backend };

    /// <inheritdoc/>
    private protected override void MapMemory(ulong address, ulong lengthBytes, ulong iova, DmaAccess access) => throw new HostFault(
        nameof(VFIO_IOMMU_MAP_DMA), Container.Subject, Errno.ENOTTY, "there is no IOMMU behind the group: a device reaches memory by its own addresses");
}
