// The sPAPR backends against a model of their kernel: no POWER machine is at hand.

using AssignHub.Engine;
using AssignHub.Engine.Vfio;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Tests.Unit.Vfio;

public sealed class SpaprTests
{
    private const ulong Iova = 0x20000;

    [Fact]
    public void Open_FirstVersion_AccountsTheWindowBeforeAnythingIsMapped()
    {
        var kernel = new ModelledSpapr(VFIO_SPAPR_TCE_IOMMU);
        using (SpaprContainer container = Open("spapr_tce", kernel))
        {
            Assert.True(kernel.IsEnabled);
            IovaRange window = Assert.Single(container.ReadIommu().IovaRanges);
            Assert.Equal(new IovaRange(ModelledSpapr.WindowStart, ModelledSpapr.WindowStart + (ulong)ModelledSpapr.WindowBytes - 1), window);
            using DmaBuffer buffer = DmaBuffer.Allocate(8192);
            using DmaMapping mapping = container.MapDma(buffer, Iova, DmaAccess.Read);
            Assert.Equal((1, 0), (kernel.Mapped, kernel.Registered));
        }

        Assert.False(kernel.HasGroup);
        Assert.True(kernel.IsClosed);
    }

    [Fact]
    public void Open_FirstVersionAboveTheMemoryLock_IsRefusedAndNothingStaysOpen()
    {
        var kernel = new ModelledSpapr(VFIO_SPAPR_TCE_IOMMU) { LockableBytes = 64 << 10 };

        HostFault fault = Assert.Throws<HostFault>(() => Open("spapr_tce", kernel));

        Assert.Equal(("VFIO_IOMMU_ENABLE", Errno.ENOMEM), (fault.Operation, fault.Errno));
        Assert.Contains("RLIMIT_MEMLOCK", fault.Message, StringComparison.Ordinal);
        Assert.False(kernel.HasGroup);
        Assert.True(kernel.IsClosed);
    }

    [Fact]
    public void Map_SecondVersion_RegistersBeforeAndUnregistersAfter()
    {
        var kernel = new ModelledSpapr(VFIO_SPAPR_TCE_v2_IOMMU);
        using SpaprContainer container = Open("spapr_tce_v2", kernel);
        using DmaBuffer buffer = DmaBuffer.Allocate(8192);

        DmaMapping mapping = container.MapDma(buffer, Iova, DmaAccess.Read | DmaAccess.Write);
        Assert.Equal((1, 1), (kernel.Mapped, kernel.Registered));
        mapping.Dispose();

        Assert.Equal((0, 0), (kernel.Mapped, kernel.Registered));
    }

    [Fact]
    public void Map_SecondVersionWhereOneIsAlready_LeavesNothingRegistered()
    {
        var kernel = new ModelledSpapr(VFIO_SPAPR_TCE_v2_IOMMU);
        using SpaprContainer container = Open("spapr_tce_v2", kernel);
        using DmaBuffer first = DmaBuffer.Allocate(4096);
        using DmaBuffer second = DmaBuffer.Allocate(4096);
        using DmaMapping mapping = container.MapDma(first, Iova, DmaAccess.Read);

        HostFault fault = Assert.Throws<HostFault>(() => container.MapDma(second, Iova, DmaAccess.Read));

        Assert.Equal(("VFIO_IOMMU_MAP_DMA", Errno.EBUSY), (fault.Operation, fault.Errno));
        Assert.Equal((1, 1), (kernel.Mapped, kernel.Registered));
    }

    [Fact]
    public void Map_OutsideTheWindow_IsRefusedBeforeTheKernelIsAsked()
    {
        var kernel = new ModelledSpapr(VFIO_SPAPR_TCE_v2_IOMMU);
        using SpaprContainer container = Open("spapr_tce_v2", kernel);
        using DmaBuffer buffer = DmaBuffer.Allocate(4096);

        Assert.Throws<ArgumentException>(() => container.MapDma(buffer, 0, DmaAccess.Read));
        Assert.Equal(0, kernel.Registered);
    }

    private static SpaprContainer Open(string backend, ModelledSpapr kernel) =>
        new(backend, backend == "spapr_tce" ? VFIO_SPAPR_TCE_IOMMU : VFIO_SPAPR_TCE_v2_IOMMU, kernel, new ModelledGroup(kernel), 7);
}
