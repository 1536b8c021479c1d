// The sPAPR backends: the IOMMU of POWER, whose devices see memory through a window. The first accounts the window as a whole before anything
// is mapped; the second accounts memory as it is registered. No POWER machine was at hand: it is tested against a model of the kernel's rules.

using System.Runtime.CompilerServices;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>A container with an sPAPR IOMMU.</summary>
internal sealed class SpaprContainer : GroupContainer
{
    private const ulong WindowPageBytes = 4096;
    private readonly bool registers;
    private readonly Dictionary<ulong, vfio_iommu_spapr_register_memory> registered = [];

    /// <summary>Attaches the group, sets the IOMMU and, with the first version, accounts its window; nothing stays open if that fails.</summary>
    /// <param name="backend">The backend's name.</param>
    /// <param name="iommuType">The extension number: <see cref="VFIO_SPAPR_TCE_IOMMU"/> or <see cref="VFIO_SPAPR_TCE_v2_IOMMU"/>.</param>
    /// <param name="container">The container, taken over.</param>
    /// <param name="group">Its group, taken over.</param>
    /// <param name="number">The group's number.</param>
    public SpaprContainer(string backend, uint iommuType, ContainerHandle container, GroupHandle group, int number)
        : base(backend, iommuType, container, group, number)
    {
        registers = iommuType == VFIO_SPAPR_TCE_v2_IOMMU;
        if (registers)
        {
            return;
        }

        try
        {
            VfioFault.Check(Container.IoctlValue(VFIO_IOMMU_ENABLE), nameof(VFIO_IOMMU_ENABLE), Container.Subject);
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
        var info = new vfio_iommu_spapr_tce_info { argsz = (uint)Unsafe.SizeOf<vfio_iommu_spapr_tce_info>() };
        VfioFault.Check(Container.Ioctl(VFIO_IOMMU_SPAPR_TCE_GET_INFO, ref info), nameof(VFIO_IOMMU_SPAPR_TCE_GET_INFO), Container.Subject);
        return new IommuReport
        {
            Backend = Backend,
            PageSizesBytes = [WindowPageBytes],
            IovaRanges = info.dma32_window_size == 0 ? [] : [new IovaRange(info.dma32_window_start, (ulong)info.dma32_window_start + info.dma32_window_size - 1)],
        };
    }

    /// <inheritdoc/>
    private protected override void MapMemory(ulong address, ulong lengthBytes, ulong iova, DmaAccess access)
    {
        if (!registers)
        {
            Container.MapDma(address, iova, lengthBytes, access.ToFlags());
            return;
        }

        var part = new vfio_iommu_spapr_register_memory { argsz = (uint)Unsafe.SizeOf<vfio_iommu_spapr_register_memory>(), vaddr = address, size = lengthBytes };
        VfioFault.Check(Container.Ioctl(VFIO_IOMMU_SPAPR_REGISTER_MEMORY, ref part), nameof(VFIO_IOMMU_SPAPR_REGISTER_MEMORY), Container.Subject);
        try
        {
            Container.MapDma(address, iova, lengthBytes, access.ToFlags());
        }
        catch
        {
            Unregister(part);
            throw;
        }

        registered[iova] = part;
    }

    /// <inheritdoc/>
    private protected override ulong UnmapMemory(ulong iova, ulong lengthBytes)
    {
        ulong unmapped = base.UnmapMemory(iova, lengthBytes);
        if (registered.Remove(iova, out vfio_iommu_spapr_register_memory part))
        {
            Unregister(part);
        }

        return unmapped;
    }

    private void Unregister(vfio_iommu_spapr_register_memory part) =>
        VfioFault.Check(Container.Ioctl(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY, ref part), nameof(VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY), Container.Subject);
}
