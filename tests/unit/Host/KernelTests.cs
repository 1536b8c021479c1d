// The verbs on a modelled kernel, which answers with the real one's errors.

using System.Diagnostics;
using AssignHub.Engine;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Unit.Host;

public sealed class KernelTests : IDisposable
{
    private const string Vfio = "vfio-pci";
    private static readonly PciAddress Nic = PciAddress.Parse("0000:01:00.0");
    private static readonly PciAddress Bridge = PciAddress.Parse("0000:03:00.0");
    private static readonly PciAddress E1000 = PciAddress.Parse("0000:04:02.0");
    private readonly SyntheticHost _host = SyntheticHost.Sample();

    public void Dispose() => _host.Dispose();

    [Fact]
    public async Task Bind_HostDriver_MovesToVfioAndTheGroupFileAppears()
    {
        await Kernel().BindAsync(Nic, Vfio, default);

        Assert.Equal((Vfio, Vfio), State(Nic));
        Assert.True(File.Exists(Path.Combine(_host.DevRoot, "vfio/11")));
        Assert.False(Path.Exists(Path.Combine(_host.SysfsRoot, "bus/pci/drivers/e1000e/0000:01:00.0")));
    }

    [Fact]
    public async Task Bind_Twice_IsDoneOnce()
    {
        await Kernel().BindAsync(Nic, Vfio, default);
        await Kernel().BindAsync(Nic, Vfio, default);

        Assert.Equal((Vfio, Vfio), State(Nic));
    }

    [Fact]
    public async Task Bind_Bridge_IsRefusedWithTheKernelsError()
    {
        HostFault fault = await Assert.ThrowsAsync<HostFault>(() => Kernel().BindAsync(Bridge, Vfio, default));

        Assert.Equal(("bind", Bridge.ToString(), Errno.EINVAL), (fault.Operation, fault.Subject, fault.Errno));
    }

    [Fact]
    public async Task Bind_DriverNotLoaded_SaysSo()
    {
        HostFault fault = await Assert.ThrowsAsync<HostFault>(() => Kernel().BindAsync(Nic, "mlx5_vfio_pci", default));

        Assert.Equal(Errno.ENOENT, fault.Errno);
        Assert.Contains("mlx5_vfio_pci is not loaded", fault.Message, StringComparison.Ordinal);
        Assert.Equal(("e1000e", null), State(Nic));
    }

    [Fact]
    public async Task Bind_MissingDevice_IsGone()
    {
        HostFault fault = await Assert.ThrowsAsync<HostFault>(() => Kernel().BindAsync(PciAddress.Parse("0000:7f:00.0"), Vfio, default));

        Assert.Equal(Errno.ENODEV, fault.Errno);
    }

    [Fact]
    public async Task Restore_AfterBind_GoesBackToTheDriverItCameFrom()
    {
        await Kernel().BindAsync(Nic, Vfio, default);
        await Kernel().RestoreAsync(Nic, "e1000e", default);

        Assert.Equal(("e1000e", null), State(Nic));
        Assert.False(File.Exists(Path.Combine(_host.DevRoot, "vfio/11")));
    }

    [Fact]
    public async Task Restore_NoDriverBefore_LeavesItUnbound()
    {
        PciAddress edu = PciAddress.Parse("0000:04:01.0");
        await Kernel().BindAsync(edu, Vfio, default);
        await Kernel().RestoreAsync(edu, null, default);

        Assert.Equal((null, null), State(edu));
    }

    [Fact]
    public async Task Restore_AnotherDriverIsFirst_StillEndsOnTheOneAskedFor()
    {
        _host.AddDriver("aaa-nic", 0x8086, 0x10D3);
        await Kernel().BindAsync(Nic, Vfio, default);
        await Kernel().RestoreAsync(Nic, "e1000e", default);

        Assert.Equal(("e1000e", null), State(Nic));
    }

    [Fact]
    public async Task Restore_DriverThatNeedsAnOverride_GetsIt()
    {
        _host.AddDriver("pci-stub");
        await Kernel().BindAsync(Nic, Vfio, default);
        await Kernel().RestoreAsync(Nic, "pci-stub", default);

        Assert.Equal(("pci-stub", "pci-stub"), State(Nic));
    }

    [Fact]
    public async Task Restore_WasOnVfioBefore_StaysThere()
    {
        await Kernel().BindAsync(Nic, Vfio, default);
        await Kernel().RestoreAsync(Nic, Vfio, default);

        Assert.Equal((Vfio, Vfio), State(Nic));
    }

    [Fact]
    public async Task Restore_SiblingWhileGroupIsClaimed_IsBusy()
    {
        ModelledKernel kernel = Kernel();
        foreach (string member in (string[])["0000:04:01.0", "0000:04:03.0"])
        {
            await kernel.BindAsync(PciAddress.Parse(member), Vfio, default);
        }

        await kernel.UnbindAsync(E1000, default);
        using IDisposable claim = kernel.ClaimGroup(13);
        HostFault fault = await Assert.ThrowsAsync<HostFault>(() => kernel.RestoreAsync(E1000, "e1000", default));

        Assert.Equal(Errno.EBUSY, fault.Errno);
    }

    [Fact]
    public async Task ClaimGroup_MemberOnHostDriver_IsNotViable()
    {
        ModelledKernel kernel = Kernel();
        await kernel.BindAsync(PciAddress.Parse("0000:04:01.0"), Vfio, default);

        Assert.Equal(Errno.EPERM, Assert.Throws<HostFault>(() => kernel.ClaimGroup(13)).Errno);
    }

    [Fact]
    public async Task Unbind_WhileOpen_IsGivenUpAndBarsTheDeviceUntilTheKernelLetsGo()
    {
        ModelledKernel kernel = Kernel(TimeSpan.FromMilliseconds(300));
        await kernel.BindAsync(Nic, Vfio, default);
        IDisposable claim = kernel.ClaimGroup(11);

        Stopwatch watch = Stopwatch.StartNew();
        HostFault late = await Assert.ThrowsAsync<HostFault>(() => kernel.RestoreAsync(Nic, "e1000e", default));
        HostFault barred = await Assert.ThrowsAsync<HostFault>(() => kernel.UnbindAsync(Nic, default));

        Assert.Equal(("unbind", Errno.ETIMEDOUT), (late.Operation, late.Errno));
        Assert.Equal(("unbind", Errno.EBUSY), (barred.Operation, barred.Errno));
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10));
        claim.Dispose();
        await WaitUntil(() => State(Nic).Driver is null);
        await WaitUntil(() => kernel.UnbindAsync(Nic, default).ContinueWith(static task => task.IsCompletedSuccessfully, TaskScheduler.Default).Result);

        // What was given up did not go on to its next write.
        Assert.Equal((null, Vfio), State(Nic));
    }

    [Fact]
    public async Task Unbind_CancelledWhileOpen_NamesTheStep()
    {
        ModelledKernel kernel = Kernel();
        await kernel.BindAsync(Nic, Vfio, default);
        using IDisposable claim = kernel.ClaimGroup(11);
        using CancellationTokenSource source = new(TimeSpan.FromSeconds(1));

        HostFault fault = await Assert.ThrowsAsync<HostFault>(() => kernel.UnbindAsync(Nic, source.Token));

        Assert.Equal(("unbind", Errno.ETIMEDOUT), (fault.Operation, fault.Errno));
        await Assert.ThrowsAsync<OperationCanceledException>(() => kernel.UnbindAsync(E1000, source.Token));
    }

    [Fact]
    public async Task ResetSubordinate_BridgeWithResettableDevices_IsDone()
    {
        ModelledKernel kernel = Kernel();
        await kernel.ResetSubordinateAsync(Bridge, default);

        Assert.Equal([(SysfsFile.ResetSubordinate, Bridge)], kernel.Resets.AsEnumerable());
    }

    [Fact]
    public async Task ResetSubordinate_SomethingBelowCannot_IsNotSupported()
    {
        _host.WriteAttribute(E1000, ".no_bus_reset", "");

        Assert.Equal(Errno.ENOTTY, (await Assert.ThrowsAsync<HostFault>(() => Kernel().ResetSubordinateAsync(Bridge, default))).Errno);
    }

    [Fact]
    public async Task Reset_NoMethod_IsNotSupported() =>
        Assert.Equal(Errno.ENOTTY, (await Assert.ThrowsAsync<HostFault>(() => Kernel().ResetAsync(E1000, default))).Errno);

    [Fact]
    public async Task ReadAnswer_SameDevice_HasNoDifference()
    {
        PciDevice before = Scan().Devices[Nic];

        Assert.Null((await Kernel().ReadAnswerAsync(Nic, default)).DifferenceFrom(before.VendorId, before.CapabilityFingerprint));
    }

    [Fact]
    public async Task ReadAnswer_LostCapabilityOrDead_SaysWhat()
    {
        PciDevice before = Scan().Devices[Nic];
        string config = Path.Combine(_host.PathOf(Nic), "config");
        byte[] bytes = File.ReadAllBytes(config);
        bytes[0x41] = 0x70;
        File.WriteAllBytes(config, bytes);
        string? lost = (await Kernel().ReadAnswerAsync(Nic, default)).DifferenceFrom(before.VendorId, before.CapabilityFingerprint);
        bytes.AsSpan().Fill(0xFF);
        File.WriteAllBytes(config, bytes);
        string? dead = (await Kernel().ReadAnswerAsync(Nic, default)).DifferenceFrom(before.VendorId, before.CapabilityFingerprint);

        Assert.StartsWith("its capabilities are '01@40 10@70", lost, StringComparison.Ordinal);
        Assert.Equal("its configuration space does not answer", dead);
    }

    [Fact]
    public async Task LoadModule_Vfio_MakesTheDriverThere()
    {
        using SyntheticHost bare = new();
        ModelledKernel kernel = new(bare.SysfsRoot, bare.DevRoot, TimeSpan.FromSeconds(10), TimeProvider.System);

        await kernel.LoadModuleAsync(Vfio, default);

        Assert.True(new HostScanner(new VfioHost(bare.DevRoot, bare.SysfsRoot, bare.ProcRoot), TimeProvider.System).Scan().Vfio.ModuleLoaded);
    }

    [Fact]
    public async Task LinuxKernel_WriteToAFileTree_WritesWhatTheKernelWouldRead()
    {
        // No kernel stands behind this tree, so the bind cannot come true: what was written and the error are what is looked at.
        foreach (string name in (string[])["drivers/e1000e/unbind", "drivers/vfio-pci/bind"])
        {
            File.WriteAllText(Path.Combine(_host.SysfsRoot, "bus/pci", name), "");
        }

        LinuxKernel kernel = new(new VfioHost(_host.DevRoot, _host.SysfsRoot, _host.ProcRoot), TimeSpan.FromSeconds(10), TimeProvider.System);
        HostFault fault = await Assert.ThrowsAsync<HostFault>(() => kernel.BindAsync(Nic, Vfio, default));

        Assert.Equal("bind", fault.Operation);
        Assert.StartsWith(Vfio, File.ReadAllText(Path.Combine(_host.PathOf(Nic), "driver_override")), StringComparison.Ordinal);
        Assert.Equal(Nic.ToString(), File.ReadAllText(Path.Combine(_host.SysfsRoot, "bus/pci/drivers_probe")));
        Assert.Equal(Nic.ToString(), File.ReadAllText(Path.Combine(_host.SysfsRoot, "bus/pci/drivers/e1000e/unbind")));
    }

    [Fact]
    public async Task LinuxKernel_MissingModprobe_IsAHostFaultWithErrno()
    {
        LinuxKernel kernel = new(new VfioHost(_host.DevRoot, _host.SysfsRoot, _host.ProcRoot), TimeSpan.FromSeconds(10), TimeProvider.System, "/nonexistent/modprobe");

        Assert.Equal(Errno.ENOENT, (await Assert.ThrowsAsync<HostFault>(() => kernel.LoadModuleAsync("vfio-none", default))).Errno);
    }

    private ModelledKernel Kernel(TimeSpan? deadline = null) =>
        new(_host.SysfsRoot, _host.DevRoot, deadline ?? TimeSpan.FromSeconds(20), TimeProvider.System);

    private HostState Scan() => new HostScanner(new VfioHost(_host.DevRoot, _host.SysfsRoot, _host.ProcRoot), TimeProvider.System).Scan();

    private (string? Driver, string? Override) State(PciAddress device) => Scan().Devices[device] is var found ? (found.Driver, found.DriverOverride) : default;

    private static async Task WaitUntil(Func<bool> condition)
    {
        Stopwatch watch = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), "waited too long");
            await Task.Delay(10);
        }
    }
}
