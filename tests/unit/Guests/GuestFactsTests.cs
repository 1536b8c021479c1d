// The small pure parts: memory lock, uids, paths, ids, and what is read of /proc.

using AssignHub.Engine;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Pci;

namespace AssignHub.Tests.Unit.Guests;

public sealed class GuestFactsTests
{
    [Theory] // The first and third are libvirt's own cases for a guest of 1 GiB.
    [InlineData(1L << 30, 1, false, 2147483648)]
    [InlineData(1L << 30, 3, false, 2147483648)]
    [InlineData(1L << 30, 2, true, 3221225472)]
    [InlineData(1L << 30, 0, true, 2147483648)]
    [InlineData(1L << 30, 0, false, 2147483648)]
    [InlineData(1L << 40, 4, true, (4L << 40) + (1L << 30))]
    public void Limit_MemoryAndContainers_FactorTimesMemoryPlusReserve(long memory, int containers, bool each, long limit) =>
        Assert.Equal(limit, MemoryLock.Limit(memory, containers, each));

    [Fact]
    public void Allocate_Taken_LowestFree()
    {
        Assert.Equal(GuestUids.DefaultBase, GuestUids.Allocate([]));
        Assert.Equal(70001u, GuestUids.Allocate([70000, 70002]));
        Assert.Null(GuestUids.Allocate([7, 8], lowest: 7, count: 2));
    }

    [Fact]
    public void For_PathTooLongForASocket_Fault()
    {
        Assert.Equal("/var/lib/assignhub/guests/a/run/qmp.sock", GuestPaths.For("/var/lib/assignhub/guests", "a").QmpSocket);
        Assert.Equal(63, GuestPaths.For("/var/lib/assignhub/guests", new string('n', 63)).Directory.Split('/')[^1].Length);
        Assert.Throws<HostFault>(() => GuestPaths.For("/" + new string('d', 90), "guest"));
    }

    [Fact]
    public void DeviceId_RoundTrip_Same()
    {
        var address = PciAddress.Parse("10000:e1:1f.7");
        Assert.Equal("dev-10000-e1-1f-7", RunningGuest.DeviceId(address));
        Assert.True(RunningGuest.TryParseDeviceId("dev-10000-e1-1f-7", out PciAddress back));
        Assert.Equal(address, back);
        Assert.False(RunningGuest.TryParseDeviceId("port0", out _));
        Assert.False(RunningGuest.TryParseDeviceId("dev-0000-03-1-0", out _));
    }

    [Theory]
    [InlineData("1 (init) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 42 1000 2000", 1, "init", 'S', 42)]
    [InlineData("77 (a (b) c) d) R 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 18446744073709551615 1000", 77, "a (b) c) d", 'R', ulong.MaxValue)]
    [InlineData("9 () Z 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 5\n", 9, "", 'Z', 5)]
    public void Parse_StatLine_CommandEndsAtTheLastParenthesis(string line, int pid, string command, char state, ulong start)
    {
        var stat = ProcStat.Parse(line);
        Assert.Equal(new ProcStat(pid, command, state, start), stat);
        Assert.Equal(state != 'Z', stat!.IsAlive);
    }

    [Theory]
    [InlineData("")]
    [InlineData("x (a) S 1")]
    [InlineData("1 (a) S 1 2 3")]
    [InlineData("1 a) (S 1 2 3")]
    public void Parse_NotAStatLine_Null(string line) => Assert.Null(ProcStat.Parse(line));

    [Fact]
    public void ParseUid_StatusFile_EffectiveUid()
    {
        Assert.Equal(64001u, ProcStat.ParseUid("Name:\tqemu\nUid:\t0\t64001\t0\t0\nGid:\t1\t1\t1\t1\n"));
        Assert.Null(ProcStat.ParseUid("Name:\tqemu\n"));
    }

    [Fact]
    public void Read_OwnProcess_AliveAndOurs()
    {
        ProcStat? self = ProcStat.Read("/proc", Environment.ProcessId);
        Assert.True(self?.IsAlive);
        Assert.Equal(self, ProcStat.Read("/proc", Environment.ProcessId));
        Assert.Null(ProcStat.Read("/proc", int.MaxValue));
    }

    [Fact]
    public void From_Links_CountsContainers()
    {
        var files = HeldVfioFiles.From(
        [
            "/dev/null", null, "/dev/vfio/vfio", "/dev/vfio/7", "anon_inode:[vfio-device]", "/dev/vfio/vfio", "/dev/vfio/12", "anon_inode:[vfio-device]",
            "anon_inode:kvm-vfio", "/dev/iommu", "/dev/vfio/devices/vfio3", "socket:[1]", "/dev/vfio/noiommu-1",
        ]);
        Assert.Equal(3, files.Containers);
        Assert.Equal(1, files.Iommufds);
        Assert.Equal([7, 12], files.Groups);
        Assert.Equal(["vfio3"], files.DeviceNodes);
        Assert.Equal(2, files.GroupDevices);
    }

    [Fact]
    public void Read_SyntheticProc_ReadsLinksWithoutTargets()
    {
        DirectoryInfo proc = Directory.CreateTempSubdirectory("proc");
        try
        {
            string fd = Path.Combine(proc.FullName, "42", "fd");
            Directory.CreateDirectory(fd);
            File.CreateSymbolicLink(Path.Combine(fd, "9"), "/dev/vfio/vfio");
            File.CreateSymbolicLink(Path.Combine(fd, "10"), "/dev/vfio/3");
            HeldVfioFiles files = HeldVfioFiles.Read(proc.FullName, 42);
            Assert.Equal(1, files.Containers);
            Assert.Equal([3], files.Groups);
            Assert.Equal(0, HeldVfioFiles.Read(proc.FullName, 43).Containers);
        }
        finally
        {
            proc.Delete(recursive: true);
        }
    }

    [Fact]
    public void Probe_KvmNode_SaysWhoMayUseIt()
    {
        string node = Path.GetTempFileName();
        try
        {
            File.SetUnixFileMode(node, (UnixFileMode)0b110_110_110);
            Assert.Equal(new QemuHost("q", HasKvm: true, KvmGroup: null), QemuHost.Probe("q", node));
            File.SetUnixFileMode(node, (UnixFileMode)0b110_000_000);
            Assert.Equal(Errno.EACCES, Assert.Throws<HostFault>(() => QemuHost.Probe("q", node)).Errno);
        }
        finally
        {
            File.Delete(node);
        }

        Assert.Equal(new QemuHost("q", HasKvm: false, KvmGroup: null), QemuHost.Probe("q", node));
    }

    [QemuFact]
    public async Task Give_AndTakeBack_OwnerChangesAndReturns()
    {
        DirectoryInfo dev = Directory.CreateTempSubdirectory("dev");
        try
        {
            Directory.CreateDirectory(Path.Combine(dev.FullName, "vfio"));
            string node = VfioNode.PathOf(dev.FullName, 7);
            await File.WriteAllTextAsync(node, "");
            VfioNode.Give(dev.FullName, 7, 70001);
            VfioNode.Give(dev.FullName, 7, 70001);
            Assert.Equal("70001:0 600", await StatAsync(node));
            VfioNode.TakeBack(dev.FullName, 7);
            Assert.Equal("0:0 600", await StatAsync(node));
            Assert.Equal(Errno.ENOENT, Assert.Throws<HostFault>(() => VfioNode.Give(dev.FullName, 8, 70001)).Errno);
            VfioNode.TakeBack(dev.FullName, 8);
        }
        finally
        {
            dev.Delete(recursive: true);
        }
    }

    private static async Task<string> StatAsync(string path)
    {
        using var stat = System.Diagnostics.Process.Start(
            new System.Diagnostics.ProcessStartInfo("stat", ["-c", "%u:%g %a", path]) { RedirectStandardOutput = true })!;
        return (await stat.StandardOutput.ReadToEndAsync()).Trim();
    }
}
