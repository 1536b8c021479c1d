// Reading a synthetic host.

using System.Diagnostics;
using AssignHub.Engine;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Unit.Host;

public sealed class HostScannerTests : IDisposable
{
    private static readonly PciAddress Nic = PciAddress.Parse("0000:01:00.0");
    private static readonly PciAddress Nvme = PciAddress.Parse("0000:02:00.0");
    private readonly SyntheticHost _host = SyntheticHost.Sample();
    private readonly HostScanner _scanner;

    public HostScannerTests() => _scanner = ScannerOf(_host);

    public void Dispose() => _host.Dispose();

    [Fact]
    public void Scan_Sample_ReadsDevicesGroupsAndTree()
    {
        HostState state = _scanner.Scan();

        Assert.Equal("synthetic", state.Host);
        Assert.Equal("6.12.0-synthetic", state.KernelRelease);
        Assert.Equal(12, state.Devices.Count);
        PciDevice nic = state.Devices[Nic];
        Assert.Equal((0x8086, 0x10D3, 0x8086, 0xA01F), (nic.VendorId, nic.DeviceId, nic.SubsystemVendorId, nic.SubsystemId));
        Assert.Equal("e1000e", nic.Driver);
        Assert.Null(nic.DriverOverride);
        Assert.Equal(11, nic.Group);
        Assert.Null(nic.NumaNode);
        Assert.Equal(PciAddress.Parse("0000:00:02.0"), nic.ParentBridge);
        Assert.Equal(["pm", "bus"], nic.ResetMethods.AsEnumerable());
        Assert.Equal("525400ffff123456", nic.Serial);
        Assert.Empty(nic.HostUses);
        PciDevice bridge = state.Devices[PciAddress.Parse("0000:03:00.0")];
        Assert.Equal(new BridgeBuses(4, 4), bridge.Bridge);
        Assert.True(bridge.CanResetSubordinate);
        Assert.Equal(PcieType.PciBridge, bridge.PcieType);
        Assert.Equal(
            ["0000:03:00.0", "0000:04:01.0", "0000:04:02.0", "0000:04:03.0"], state.Groups[13].Devices.Select(static device => device.ToString()));
        Assert.Equal("DMA-FQ", state.Groups[13].Type);
        Assert.Equal([new ReservedRegion(0xFEE00000, 0xFEEFFFFF, "msi")], state.Groups[13].ReservedRegions.AsEnumerable());
        Assert.True(state.Vfio.IommuEnabled && state.Vfio.Available && state.Vfio.ModuleLoaded);
    }

    [Fact]
    public void Scan_GroupOfTheNoIommuMode_IsMarkedAndNotClaimable()
    {
        File.WriteAllText(Path.Combine(_host.SysfsRoot, "kernel/iommu_groups/11/name"), "vfio-noiommu\n");

        HostState state = _scanner.Scan();

        Assert.True(state.Groups[11].NoIommu);
        Assert.False(state.Groups[13].NoIommu);
        Assert.Contains(Claims.RefusalsFor(new World(state, Inventory.Empty), state.Groups[11]), refusal => refusal.Code == ProblemCode.NoiommuRefused);
    }

    [Fact]
    public void Scan_EmptyTree_IsAnEmptyHostWithReasons()
    {
        using SyntheticHost empty = new();

        HostState state = ScannerOf(empty).Scan();

        Assert.Empty(state.Devices);
        Assert.False(state.Vfio.IommuEnabled);
        Assert.Equal(2, state.Vfio.Warnings.Length);
    }

    [Fact]
    public void Scan_OldKernel_ReadsWithoutTheNewerAttributes()
    {
        File.Delete(Path.Combine(_host.PathOf(Nic), "reset_method"));
        _host.WriteAttribute(Nic, "driver_override", "\n");

        PciDevice nic = _scanner.Scan().Devices[Nic];

        Assert.Empty(nic.ResetMethods);
        Assert.Null(nic.DriverOverride);
    }

    [Fact]
    public void Scan_DeviceReplaced_IsReadAnew()
    {
        Assert.Equal(0x10D3, _scanner.Scan().Devices[Nic].DeviceId);
        _host.Remove(Nic);
        Assert.False(_scanner.Scan().Devices.ContainsKey(Nic));
        _host.Add(new SyntheticDevice(Nic) { Parent = PciAddress.Parse("0000:00:02.0"), DeviceId = 0x1572, Group = 40 });

        HostState state = _scanner.Scan();

        Assert.Equal(0x1572, state.Devices[Nic].DeviceId);
        Assert.Equal([Nic], state.Groups[40].Devices.AsEnumerable());
        Assert.False(state.Groups.ContainsKey(11));
    }

    [Fact]
    public void Scan_DeviceReplacedBetweenScans_IsReadAnew()
    {
        _scanner.Scan();
        _host.Remove(Nic);
        _host.Add(new SyntheticDevice(Nic) { Parent = PciAddress.Parse("0000:00:02.0"), DeviceId = 0x1572 });

        Assert.Equal(0x1572, _scanner.Scan().Devices[Nic].DeviceId);
    }

    [Fact]
    public void Scan_NvmeWithoutASerialCapability_HasTheOneThatItToldItsDriver()
    {
        string path = _host.PathOf(Nvme);
        Directory.CreateDirectory(Path.Combine(path, "nvme/nvme0"));
        File.WriteAllText(Path.Combine(path, "nvme/nvme0/serial"), "(efault)\n");
        Assert.Null(_scanner.Scan().Devices[Nvme].Serial);

        File.WriteAllText(Path.Combine(path, "nvme/nvme0/serial"), "S4EVNX0M        \n");
        Assert.Equal("S4EVNX0M", _scanner.Scan().Devices[Nvme].Serial);

        // Off its driver, it is still the same disk.
        File.Delete(Path.Combine(path, "driver"));
        Directory.Delete(Path.Combine(path, "nvme"), recursive: true);
        Assert.Equal("S4EVNX0M", _scanner.Scan().Devices[Nvme].Serial);
    }

    [Fact]
    public void Scan_DeadDevice_IsShownAndReadAgainNextTime()
    {
        byte[] good = File.ReadAllBytes(Path.Combine(_host.PathOf(Nic), "config"));
        byte[] dead = new byte[4096];
        dead.AsSpan().Fill(0xFF);
        File.WriteAllBytes(Path.Combine(_host.PathOf(Nic), "config"), dead);

        PciDevice before = _scanner.Scan().Devices[Nic];
        File.WriteAllBytes(Path.Combine(_host.PathOf(Nic), "config"), good);
        PciDevice after = _scanner.Scan().Devices[Nic];

        Assert.False(before.Answers);
        Assert.Equal(0x8086, before.VendorId);
        Assert.True(after.Answers);
        Assert.NotEqual("", after.CapabilityFingerprint);
    }

    [Fact]
    public async Task Refresh_AfterABind_SeesTheDriverAndNothingElseMoves()
    {
        HostState before = _scanner.Scan();
        await KernelOf(_host).BindAsync(Nvme, "vfio-pci", CancellationToken.None);

        HostState after = _scanner.Refresh(before, [Nvme]);

        Assert.Equal(("vfio-pci", "vfio-pci"), (after.Devices[Nvme].Driver, after.Devices[Nvme].DriverOverride));
        Assert.Same(before.Devices[Nic], after.Devices[Nic]);
        Assert.Equal(before.Groups[12].Devices.AsEnumerable(), after.Groups[12].Devices.AsEnumerable());
        Assert.Equal(before.Devices.Count, after.Devices.Count);
    }

    [Fact]
    public void Refresh_DeviceGone_TakesItAndItsGroupOut()
    {
        HostState before = _scanner.Scan();
        _host.Remove(Nvme);

        HostState after = _scanner.Refresh(before, [Nvme]);

        Assert.False(after.Devices.ContainsKey(Nvme));
        Assert.False(after.Groups.ContainsKey(12));
    }

    [Fact]
    public void Refresh_NewMemberInTheGroup_IsFound()
    {
        HostState before = _scanner.Scan();
        PciAddress added = PciAddress.Parse("0000:02:00.1");
        _host.Add(new SyntheticDevice(added) { Parent = PciAddress.Parse("0000:00:03.0"), Group = 12 });

        HostState after = _scanner.Refresh(before, [Nvme]);

        Assert.Equal([Nvme, added], after.Groups[12].Devices.AsEnumerable());
        Assert.Equal(12, after.Devices[added].Group);
    }

    [Fact]
    public void Refresh_MountedMeanwhile_SeesTheUse()
    {
        HostState before = _scanner.Scan();
        _host.Mount("nvme0n1", "/srv");

        Assert.Equal("nvme0n1 is mounted at /srv", Assert.Single(_scanner.Refresh(before, [Nvme]).Devices[Nvme].HostUses).Detail);
    }

    [Fact]
    public async Task Scan_VirtualFunctions_KnowTheirPhysicalFunction()
    {
        PciAddress physical = PciAddress.Parse("0000:01:00.1");
        PciAddress virtualFunction = PciAddress.Parse("0000:01:10.0");
        _host.Add(new SyntheticDevice(physical) { Parent = PciAddress.Parse("0000:00:02.0"), Driver = "igb", Group = 30, TotalVfs = 7 });
        ModelledKernel kernel = KernelOf(_host);

        await kernel.SetVirtualFunctionsAsync(physical, 2, CancellationToken.None);
        HostState state = _scanner.Scan();

        Assert.Equal(new SriovState(7, 2, null), state.Devices[physical].Sriov);
        Assert.Equal(new SriovState(0, 0, physical), state.Devices[virtualFunction].Sriov);
        Assert.True(state.Devices[virtualFunction].Answers);
        Assert.NotEqual(30, state.Devices[virtualFunction].Group);
        await kernel.SetVirtualFunctionsAsync(physical, 0, CancellationToken.None);
        Assert.False(_scanner.Scan().Devices.ContainsKey(virtualFunction));
    }

    [Fact]
    public void Scan_LargeHost_FindsEveryDeviceAndGroup()
    {
        using SyntheticHost large = SyntheticHost.Large(400, 280);
        HostScanner scanner = ScannerOf(large);

        HostState state = scanner.Scan();

        Assert.Equal(400, state.Devices.Count);
        Assert.Equal(280, state.Groups.Count);
        Assert.Equal(400, state.Groups.Values.Sum(static group => group.Devices.Length));
        Assert.Contains(state.Devices.Values, static device => device.HostUses.Any(static use => use.Kind == HostUseKind.Storage));
        Assert.Contains(state.Devices.Values, static device => device.HostUses.Any(static use => use.Kind == HostUseKind.Network));
    }

    [Fact]
    public async Task Scan_KernelHoldsADevicesLock_TellsItBusyAndReadsTheOthers()
    {
        // Reading driver_override waits for the lock; a pipe without a writer waits as well.
        await KernelOf(_host).BindAsync(Nic, "vfio-pci", CancellationToken.None);
        HostState before = _scanner.Scan();
        string attribute = Path.Combine(_host.PathOf(Nic), "driver_override");
        File.Delete(attribute);
        using (Process mkfifo = Process.Start("mkfifo", attribute))
        {
            await mkfifo.WaitForExitAsync();
        }

        HostState hanging = _scanner.Scan();
        HostState again = _scanner.Refresh(hanging, [Nic, Nvme]);
        await File.WriteAllTextAsync(attribute, "vfio-pci\n");
        File.Delete(attribute);
        File.WriteAllText(attribute, "(null)\n");

        Assert.True(hanging.Devices[Nic].Busy && again.Devices[Nic].Busy);
        Assert.Equal("vfio-pci", again.Devices[Nic].DriverOverride);
        Assert.False(again.Devices[Nvme].Busy);
        Assert.Equal(before.Devices.Count, hanging.Devices.Count);
        Stopwatch watch = Stopwatch.StartNew();
        HostState after = hanging;
        while (after.Devices[Nic].Busy && watch.Elapsed < TimeSpan.FromSeconds(10))
        {
            after = _scanner.Refresh(after, [Nic]);
        }

        Assert.Equal((false, null), (after.Devices[Nic].Busy, after.Devices[Nic].DriverOverride));
    }

    [Fact]
    public void Find_ProcessWithAGroupFile_IsItsHolder()
    {
        _host.AddProcess(4711, "qemu-system-x86", "null", "vfio/vfio", "vfio/11");
        GroupHolders holders = new(_host.ProcRoot, _host.DevRoot);

        KeyValuePair<int, GroupHolder> holder = Assert.Single(holders.Find(_scanner.Scan(), CancellationToken.None));

        Assert.Equal((11, new GroupHolder(4711, "qemu-system-x86")), (holder.Key, holder.Value));
        Assert.Equal(1, holders.FilesOf(4711)[Path.Combine(_host.DevRoot, "vfio/vfio")]);
    }

    [Fact]
    public async Task Find_ProcessWithADeviceFile_HoldsTheDevicesGroup()
    {
        await KernelOf(_host).BindAsync(Nvme, "vfio-pci", CancellationToken.None);
        Directory.CreateDirectory(Path.Combine(_host.PathOf(Nvme), "vfio-dev/vfio3"));
        _host.AddProcess(4712, "cloud-hyperviso", "vfio/devices/vfio3");

        Assert.Equal(4712, new GroupHolders(_host.ProcRoot, _host.DevRoot).Find(_scanner.Scan(), CancellationToken.None)[12].Pid);
    }

    private static HostScanner ScannerOf(SyntheticHost host) => new(new VfioHost(host.DevRoot, host.SysfsRoot, host.ProcRoot), TimeProvider.System);

    private static ModelledKernel KernelOf(SyntheticHost host) => new(host.SysfsRoot, host.DevRoot, TimeSpan.FromSeconds(20), TimeProvider.System);
}
