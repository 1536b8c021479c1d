// What faults say when VFIO's files are not what they should be. The calls are real; the files are ordinary ones.

using AssignHub.Engine;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Tests.Unit.Vfio;

public sealed class VfioFilesTests : IDisposable
{
    private readonly string root = Directory.CreateTempSubdirectory("assignhub-vfio-").FullName;

    public void Dispose() => Directory.Delete(root, recursive: true);

    [Fact]
    public void Open_NoVfio_SaysWhatToDo()
    {
        HostFault fault = Assert.Throws<HostFault>(() => VfioContainer.Open(7, host: new VfioHost(root)));

        Assert.Equal(("open", Path.Combine(root, "vfio", "vfio"), Errno.ENOENT), (fault.Operation, fault.Subject, fault.Errno));
        Assert.Contains("load the module vfio-pci", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_FileThatIsNoContainer_IsTheIoctlsFault()
    {
        Directory.CreateDirectory(Path.Combine(root, "vfio"));
        File.WriteAllText(Path.Combine(root, "vfio", "vfio"), "");

        HostFault fault = Assert.Throws<HostFault>(() => ContainerProof.Take(7, [new PciAddress(0, 3, 1, 0)], openDevices: true, host: new VfioHost(root)));

        Assert.Equal(("VFIO_GET_API_VERSION", Errno.ENOTTY), (fault.Operation, fault.Errno));
    }

    [Fact]
    public void Open_UnknownBackend_IsRefused() => Assert.Throws<ArgumentException>(() => VfioContainer.Open(7, "type3", new VfioHost(root)));

    [Fact]
    public void ProbeGroup_NoNode_IsAbsent() => Assert.Equal(GroupUse.Absent, VfioContainer.ProbeGroup(7, root));

    [Fact]
    public void VfioProbe_NoVfio_OffersNothingAndSaysWhy()
    {
        VfioProbe probe = VfioProbe.Read(new VfioHost(root));

        Assert.Empty(probe.Offered);
        Assert.Null(probe.Preferred);
        Assert.Contains("load the module vfio-pci", probe.Reason, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("VFIO_GROUP_SET_CONTAINER", Errno.EPERM, "not viable")]
    [InlineData("VFIO_GROUP_SET_CONTAINER", Errno.EINVAL, "1:1")]
    [InlineData("VFIO_SET_IOMMU", Errno.EPERM, "MSI")]
    [InlineData("VFIO_IOMMU_MAP_DMA", Errno.ENOMEM, "RLIMIT_MEMLOCK")]
    public void Explain_KnownErrno_SaysWhatItMeansThere(string operation, Errno errno, string word) =>
        Assert.Contains(word, VfioFault.Explain(operation, errno), StringComparison.Ordinal);

    [Fact]
    public void ExplainOpen_GroupHeld_IsToldFromNotBound()
    {
        Assert.Contains("another process", VfioFault.ExplainOpen(isGroup: true, Errno.EBUSY), StringComparison.Ordinal);
        Assert.Contains("vfio-pci", VfioFault.ExplainOpen(isGroup: true, Errno.ENOENT), StringComparison.Ordinal);
    }
}
