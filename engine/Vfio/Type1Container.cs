// The type 1 backends: an IOMMU with page tables, as x86 and Arm have it. type1 and type1v2 differ in their number only, and in what
// unmapping a part of a mapping does, which AssignHub never asks for.

using System.Collections.Immutable;
using System.Runtime.InteropServices;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>A container with the type 1 IOMMU.</summary>
internal sealed class Type1Container(string backend, uint iommuType, ContainerHandle container, GroupHandle group, int number)
    : GroupContainer(backend, iommuType, container, group, number)
{
    /// <inheritdoc/>
    public override IommuReport ReadIommu() => Parse(Backend, Container, Container.GetIommuInfo());

    /// <inheritdoc/>
    private protected override void MapMemory(ulong address, ulong lengthBytes, ulong iova, DmaAccess access) =>
        Container.MapDma(address, iova, lengthBytes, access.ToFlags());

    private static IommuReport Parse(string backend, ContainerHandle container, byte[] buffer)
    {
        vfio_iommu_type1_info info = MemoryMarshal.Read<vfio_iommu_type1_info>(buffer);
        ImmutableArray<InfoCapability> capabilities = InfoBuffer.Capabilities<vfio_iommu_type1_info>(
            container, nameof(VFIO_IOMMU_GET_INFO), buffer, (info.flags & VFIO_IOMMU_INFO_CAPS) != 0, info.cap_offset);
        ulong pageSizes = (info.flags & VFIO_IOMMU_INFO_PGSIZES) != 0 ? info.iova_pgsizes : 0;
        return new IommuReport
        {
            Backend = backend,
            PageSizesBytes = [.. Enumerable.Range(0, 64).Select(bit => 1UL << bit).Where(size => (pageSizes & size) != 0)],
            IovaRanges = [.. capabilities.Where(one => one.Id == VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE).SelectMany(one => Ranges(container, buffer, one))],
            DmaMappingsAvailable = capabilities.Where(one => one.Id == VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL)
                .Select(one => (uint?)Head<vfio_iommu_type1_info_dma_avail>(container, buffer, one).avail).FirstOrDefault(),
        };
    }

    private static List<IovaRange> Ranges(ContainerHandle container, byte[] buffer, InfoCapability capability)
    {
        vfio_iommu_type1_info_cap_iova_range head = Head<vfio_iommu_type1_info_cap_iova_range>(container, buffer, capability);
        if (!capability.TryReadItems<vfio_iommu_type1_info_cap_iova_range, vfio_iova_range>(buffer, head.nr_iovas, out ReadOnlySpan<vfio_iova_range> items))
        {
            throw Broken(container);
        }

        var ranges = new List<IovaRange>(items.Length);
        foreach (vfio_iova_range item in items)
        {
            ranges.Add(new IovaRange(item.start, item.end));
        }

        return ranges;
    }

    private static T Head<T>(ContainerHandle container, byte[] buffer, InfoCapability capability)
        where T : unmanaged => capability.TryReadHead(buffer, out T head) ? head : throw Broken(container);

    private static HostFault Broken(ContainerHandle container) =>
        VfioFault.Malformed(nameof(VFIO_IOMMU_GET_INFO), container.Subject, "a capability ends behind its buffer");
}
