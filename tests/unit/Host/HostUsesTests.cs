// What the host does with its devices.

using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Unit.Host;

public sealed class HostUsesTests : IDisposable
{
    private static readonly PciAddress Disk = PciAddress.Parse("0000:01:00.0");
    private static readonly PciAddress Other = PciAddress.Parse("0000:02:00.0");
    private readonly SyntheticHost _host = new();

    public void Dispose() => _host.Dispose();

    [Fact]
    public void Uses_MountedPartition_NamesItAndTheWayOut()
    {
        AddNvme(Disk, "nvme0n1", 2);
        _host.Mount("nvme0n1p2", "/var/lib/my data");

        Assert.Equal(
            new HostUse(HostUseKind.Storage, "nvme0n1p2 is mounted at /var/lib/my data", "umount '/var/lib/my data'"), Assert.Single(Uses(Disk)));
    }

    [Fact]
    public void Uses_RootFileSystem_IsEssential()
    {
        AddNvme(Disk, "nvme0n1", 1);
        _host.Mount("nvme0n1p1", "/");

        HostUse use = Assert.Single(Uses(Disk));

        Assert.Equal("the root file system", use.Essential);
        Assert.Equal("Boot the host from another device.", use.Remedy);
    }

    [Theory]
    [InlineData("/srv", true)]
    [InlineData("/srv/hub", true)]
    [InlineData("/srv/hu", false)]
    [InlineData("/var", false)]
    public void Uses_MountThatHoldsTheDataDirectory_IsEssential(string mountPoint, bool essential)
    {
        AddNvme(Disk, "nvme0n1", 1);
        AddNvme(Other, "nvme1n1", 0);
        _host.Mount("nvme1n1", "/").Mount("nvme0n1p1", mountPoint);

        HostUse use = Assert.Single(Scanner("/srv/hub").Scan().Devices[Disk].HostUses);

        Assert.Equal(essential ? "AssignHub's data directory" : null, use.Essential);
        Assert.Equal(essential ? "Stop AssignHub, move /srv/hub to another file system, and start it there with --data." : $"umount {mountPoint}", use.Remedy);
    }

    [Fact]
    public void Uses_DataDirectoryOnBtrfsOverTwoDisks_IsEssentialOnBoth()
    {
        AddNvme(Disk, "nvme0n1", 0);
        AddNvme(Other, "nvme1n1", 0);
        _host.AddBtrfs("11111111-2222-3333-4444-555555555555", "nvme0n1", "nvme1n1").Mount("nvme0n1", "/srv", "btrfs");

        HostState state = Scanner("/srv/hub").Scan();

        Assert.All(state.Devices[Disk].HostUses, static use => Assert.Equal("AssignHub's data directory", use.Essential));
        Assert.Equal("AssignHub's data directory", Assert.Single(state.Devices[Other].HostUses).Essential);
    }

    [Fact]
    public void Uses_Swap_IsOne()
    {
        AddNvme(Disk, "nvme0n1", 1);
        _host.Swap("nvme0n1p1");

        Assert.Equal(new HostUse(HostUseKind.Storage, "nvme0n1p1 is swapped on", "swapoff /dev/nvme0n1p1"), Assert.Single(Uses(Disk)));
    }

    [Fact]
    public void Uses_LogicalVolumeOnEncryptedPartition_NamesTheWholeStackFromTheTop()
    {
        AddNvme(Disk, "nvme0n1", 2);
        _host.AddHolder("dm-0", "crypt", "CRYPT-LUKS2-1", "nvme0n1p2").AddHolder("dm-1", "my--vg-root", "LVM-1", "dm-0").Mount("dm-1", "/srv");

        List<HostUse> uses = Uses(Disk);

        Assert.Equal(
            [
                "the logical volume my-vg/root on the encrypted device crypt on nvme0n1p2 is mounted at /srv",
                "the encrypted device crypt on nvme0n1p2 is part of the logical volume my-vg/root",
                "nvme0n1p2 is part of the encrypted device crypt",
            ],
            uses.Select(static use => use.Detail));
        Assert.Equal(["umount /srv", "lvchange -an my-vg/root", "cryptsetup close crypt"], uses.Select(static use => use.Remedy));
    }

    [Fact]
    public void Uses_RaidOverTwoControllers_HoldsBoth()
    {
        AddNvme(Disk, "nvme0n1", 0);
        AddNvme(Other, "nvme1n1", 0);
        _host.AddHolder("md0", null, null, "nvme0n1", "nvme1n1");

        Assert.Equal("mdadm --stop /dev/md0", Assert.Single(Uses(Disk)).Remedy);
        Assert.Equal("nvme1n1 is part of the RAID array md0", Assert.Single(Uses(Other)).Detail);
    }

    [Fact]
    public void Uses_BtrfsOverTwoDisks_HoldsBothThoughTheMountNamesOne()
    {
        AddNvme(Disk, "nvme0n1", 0);
        AddNvme(Other, "nvme1n1", 0);
        _host.AddBtrfs("11111111-2222-3333-4444-555555555555", "nvme0n1", "nvme1n1").Mount("nvme0n1", "/data", "btrfs");

        Assert.Contains(Uses(Disk), static use => use.Detail == "nvme0n1 is mounted at /data");
        HostUse member = Assert.Single(Uses(Other));
        Assert.EndsWith("which is mounted at /data", member.Detail, StringComparison.Ordinal);
        Assert.Equal("umount /data", member.Remedy);
    }

    [Fact]
    public void Uses_MultipathNamespace_IsEveryControllersOfTheSubsystem()
    {
        AddNvme(Disk, "nvme0c0n1", 0);
        AddNvme(Other, "nvme1c1n1", 0);
        string subsystem = Path.Combine(_host.SysfsRoot, "devices/virtual/nvme-subsystem/nvme-subsys0");
        Directory.CreateDirectory(Path.Combine(subsystem, "nvme0n1"));
        File.CreateSymbolicLink(Path.Combine(subsystem, "nvme0"), "../../../pci0000:00/0000:01:00.0/nvme/nvme0");
        File.CreateSymbolicLink(Path.Combine(subsystem, "nvme1"), "../../../pci0000:00/0000:02:00.0/nvme/nvme1");
        File.CreateSymbolicLink(
            Path.Combine(_host.SysfsRoot, "class/block/nvme0n1"), "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
        File.CreateSymbolicLink(
            Path.Combine(_host.SysfsRoot, "dev/block/259:99"), "../../devices/virtual/nvme-subsystem/nvme-subsys0/nvme0n1");
        _host.MountSource("259:99", "/dev/nvme0n1", "/srv", "xfs");

        Assert.Equal("nvme0n1 is mounted at /srv", Assert.Single(Uses(Disk)).Detail);
        Assert.Equal("nvme0n1 is mounted at /srv", Assert.Single(Uses(Other)).Detail);
    }

    [Fact]
    public void Uses_InterfaceUpWithAddressAndDefaultRoute_AreTwo()
    {
        AddNic();
        _host.AddInterface(Disk, "eth0", true, "192.0.2.2/24", "2001:db8::2/64", "fe80::1/64").DefaultRoute("eth0");

        Assert.Equal(
            [
                new HostUse(HostUseKind.Network, "eth0 carries a default route", "ip route del default dev eth0"),
                new HostUse(HostUseKind.Network, "eth0 is up with 192.0.2.2, 2001:db8::2", "ip link set eth0 down"),
            ],
            Uses(Disk));
    }

    [Fact]
    public void Uses_InterfaceUpWithLinkLocalOnly_IsNone()
    {
        AddNic();
        _host.AddInterface(Disk, "eth0", true, "fe80::1/64");

        Assert.Empty(Uses(Disk));
    }

    [Fact]
    public void Uses_MemberOfABond_IsOneEvenWithoutAddress()
    {
        AddNic();
        _host.AddInterface(Disk, "eth0", true).AddInterface(null, "bond0", true, "192.0.2.2/24").Enslave("eth0", "bond0");

        Assert.Equal(
            new HostUse(HostUseKind.Network, "eth0 is a member of the bond bond0", "ip link set eth0 nomaster"), Assert.Single(Uses(Disk)));
    }

    [Fact]
    public void Uses_VlanWithAddress_IsTheLowerInterfacesToo()
    {
        AddNic();
        _host.AddInterface(Disk, "eth0", true).AddInterface(null, "eth0.100", true, "192.0.2.2/24").StackInterface("eth0", "eth0.100");

        Assert.Equal(
            ["eth0 carries eth0.100, which is up", "eth0.100 on eth0 is up with 192.0.2.2"], Uses(Disk).Select(static use => use.Detail));
    }

    [Fact]
    public void Uses_InterfaceInAnotherNamespace_IsOne()
    {
        AddNic();
        Directory.CreateDirectory(Path.Combine(_host.PathOf(Disk), "net"));

        Assert.Equal("its interface is in another network namespace", Assert.Single(Uses(Disk)).Detail);
    }

    [Fact]
    public void Uses_BootDisplay_IsOneUntilVfioHasIt()
    {
        _host.Add(new SyntheticDevice(Disk) { ClassCode = 0x030000, BootVga = true });
        _host.Add(new SyntheticDevice(Other) { ClassCode = 0x030000, BootVga = true, Driver = "vfio-pci" });

        Assert.Equal(HostUseKind.Display, Assert.Single(Uses(Disk)).Kind);
        Assert.Empty(Uses(Other));
    }

    [Fact]
    public void Uses_RootOver9p_IsTheVirtioDevices()
    {
        _host.Add(new SyntheticDevice(Disk) { VendorId = 0x1AF4, DeviceId = 0x1049, Driver = "virtio-pci" });
        Directory.CreateDirectory(Path.Combine(_host.PathOf(Disk), "virtio0"));
        File.WriteAllText(Path.Combine(_host.PathOf(Disk), "virtio0/mount_tag"), "hostroot\0");
        _host.MountSource("0:40", "hostroot", "/", "9p");

        HostUse use = Assert.Single(Uses(Disk));

        Assert.Equal("the share hostroot is mounted at /", use.Detail);
        Assert.Equal("the root file system", use.Essential);
    }

    [Fact]
    public void Uses_RootIsAnOverlay_AShareThatIsNotMountedMayBeItsLayer()
    {
        _host.Add(new SyntheticDevice(Disk) { VendorId = 0x1AF4, DeviceId = 0x1009, Driver = "virtio-pci" });
        _host.MountSource("0:26", "lab", "/", "overlay");

        Assert.Equal("the root file system", Assert.Single(Uses(Disk)).Essential);
    }

    [Fact]
    public void Uses_LayerOfAnOverlayRoot_IsEssential()
    {
        AddNvme(Disk, "nvme0n1", 2);
        _host.MountSource("0:26", "overlayroot", "/", "overlay", "rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay,workdir=/media/root-rw/work");
        _host.Mount("nvme0n1p1", "/media/root-ro").Mount("nvme0n1p2", "/srv");

        Assert.Equal(["the root file system", null], Uses(Disk).Select(static use => use.Essential));
    }

    [Fact]
    public void Find_ProcessWithThePartitionOpen_IsAUse()
    {
        AddNvme(Disk, "nvme0n1", 1);
        string partition = Path.Combine(_host.PathOf(Disk), "nvme/nvme0/nvme0n1/nvme0n1p1");
        File.WriteAllText(Path.Combine(partition, "uevent"), "MAJOR=259\nMINOR=1\nDEVNAME=nvme0n1p1\nDEVTYPE=partition\n");
        _host.AddProcess(77, "mysqld", "null", "nvme0n1p1");
        OpenDeviceFiles files = new(_host.SysfsRoot, _host.ProcRoot, _host.DevRoot);

        HostUse use = Assert.Single(files.Find(Scanner().Scan().Devices.Values, CancellationToken.None)[Disk]);

        Assert.Equal(
            new HostUse(HostUseKind.Process, $"mysqld (process 77) has {_host.DevRoot}/nvme0n1p1 open", "kill 77"), use);
    }

    [Fact]
    public void Find_ProcessWithAMultipathDiskOpen_UsesItsController()
    {
        AddNvme(Disk, "nvme0n1", 0);
        string controller = Path.Combine(new DirectoryInfo(_host.PathOf(Disk)).ResolveLinkTarget(true)?.FullName ?? _host.PathOf(Disk), "nvme/nvme0");
        Directory.CreateDirectory(controller);
        string subsystem = Path.Combine(_host.SysfsRoot, "devices/virtual/nvme-subsystem/nvme-subsys0");
        Directory.CreateDirectory(Path.Combine(subsystem, "nvme0n9"));
        Directory.CreateSymbolicLink(Path.Combine(subsystem, "nvme0"), controller);
        File.WriteAllText(Path.Combine(subsystem, "nvme0n9/dev"), "259:9\n");
        File.WriteAllText(Path.Combine(subsystem, "nvme0n9/uevent"), "MAJOR=259\nMINOR=9\nDEVNAME=nvme0n9\nDEVTYPE=disk\n");
        _host.AddProcess(79, "fio", "nvme0n9");
        OpenDeviceFiles files = new(_host.SysfsRoot, _host.ProcRoot, _host.DevRoot);

        HostUse use = Assert.Single(files.Find(Scanner().Scan().Devices.Values, CancellationToken.None)[Disk]);

        Assert.Equal(new HostUse(HostUseKind.Process, $"fio (process 79) has {_host.DevRoot}/nvme0n9 open", "kill 79"), use);
    }

    [Fact]
    public void Find_ProcessWithABarOpen_UsesTheDeviceWithoutADriver()
    {
        _host.Add(new SyntheticDevice(Disk) { Driver = null });
        string bar = Path.Combine(new DirectoryInfo(_host.PathOf(Disk)).ResolveLinkTarget(true)?.FullName ?? _host.PathOf(Disk), "resource0");
        File.WriteAllText(bar, "");
        _host.AddProcess(78, "pcimem", bar);
        OpenDeviceFiles files = new(_host.SysfsRoot, _host.ProcRoot, _host.DevRoot);

        HostUse use = Assert.Single(files.Find(Scanner().Scan().Devices.Values, CancellationToken.None)[Disk]);

        Assert.Equal(new HostUse(HostUseKind.Process, $"pcimem (process 78) has {bar} open", "kill 78"), use);
    }

    [Fact]
    public void Uses_DiskAddedAfterTheFirstScan_IsSeen()
    {
        AddNvme(Disk, "nvme0n1", 1);
        HostScanner scanner = Scanner();
        Assert.Empty(scanner.Scan().Devices[Disk].HostUses);
        AddNvme(Other, "nvme1n1", 1);
        _host.Mount("nvme1n1p1", "/srv");

        Assert.Single(scanner.Scan().Devices[Other].HostUses);
    }

    private List<HostUse> Uses(PciAddress device) => [.. Scanner().Scan().Devices[device].HostUses];

    private HostScanner Scanner(string? dataDirectory = null) =>
        new(new VfioHost(_host.DevRoot, _host.SysfsRoot, _host.ProcRoot), TimeProvider.System, dataDirectory: dataDirectory);

    private void AddNvme(PciAddress address, string disk, int partitions)
    {
        _host.Add(new SyntheticDevice(address) { ClassCode = 0x010802, Driver = "nvme" });
        _host.AddDisk(address, disk, partitions);
    }

    private void AddNic() => _host.Add(new SyntheticDevice(Disk) { Driver = "ixgbe" });
}
