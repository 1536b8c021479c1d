// The whole of Guests against a real QEMU under TCG, paused and without VFIO: start, identity, rights, reconnecting, devices, every end.

using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using AssignHub.Engine;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Pci;
using Microsoft.Extensions.Logging.Abstractions;

namespace AssignHub.Tests.Unit.Guests;

public sealed class RunningGuestTests : IAsyncLifetime
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(60);
    private static readonly PciAddress Device = PciAddress.Parse("0000:03:00.0");
    private static uint s_lastUid = 79900;

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("guests");
    private readonly uint _uid = Interlocked.Increment(ref s_lastUid);
    private readonly GuestProcesses _processes;

    public RunningGuestTests()
    {
        File.SetUnixFileMode(_directory.FullName, (UnixFileMode)0b111_001_001);
        _processes = new GuestProcesses(_directory.FullName, "/proc", TimeProvider.System, NullLogger<GuestProcesses>.Instance);
    }

    [QemuFact]
    public async Task Start_Plain_PausedAndWithoutRights()
    {
        await using RunningGuest guest = await StartAsync();
        QemuStatus status = await guest.StatusAsync();
        Assert.Equal(new QemuStatus("prelaunch", false), status);
        Assert.Equal(GuestState.Starting, status.State);
        Assert.True(_processes.IsAlive(guest.Process));
        Assert.False(_processes.IsAlive(guest.Process with { StartTime = guest.Process.StartTime + 1 }));
        Assert.Equal([guest.Process], _processes.Leftovers(_uid));

        Dictionary<string, string> proc = await ProcStatusAsync(guest.Process.Pid);
        Assert.Equal("0000000000000000", proc["CapEff"]);
        Assert.Equal("0000000000000000", proc["CapBnd"]);
        Assert.Equal("1", proc["NoNewPrivs"]);
        Assert.Equal("2", proc["Seccomp"]);
        Assert.Equal("", proc["Groups"]);
        Assert.NotEqual(Environment.ProcessId.ToString(CultureInfo.InvariantCulture), proc["PPid"]);
        Assert.Equal(guest.Process.Pid.ToString(CultureInfo.InvariantCulture), proc["NSsid"]);
    }

    [QemuFact]
    public async Task Start_DiskOfRoot_GuestHasItAndTheOwnerStays()
    {
        string disk = MakeDisk("disk,1.img");
        await using RunningGuest guest = await StartAsync(
            spec => spec with { Disks = [new GuestDisk(disk, "raw"), new GuestDisk(MakeDisk("cd.img"), "raw", ReadOnly: true)] });
        JsonElement disks = await guest.Qmp.ExecuteAsync("query-block");
        Assert.Equal([false, true], disks.EnumerateArray().Select(item => item.GetProperty("inserted").GetProperty("ro").GetBoolean()));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(disk));
    }

    [QemuFact]
    public async Task Start_DiskInUse_QemusLockHolds()
    {
        string disk = MakeDisk("disk.img");
        QemuException e = await Assert.ThrowsAsync<QemuException>(
            () => StartAsync(spec => spec with { Disks = [new GuestDisk(disk, "raw"), new GuestDisk(disk, "raw")] }));
        Assert.Contains("lock", e.Fault.Description, StringComparison.Ordinal);
    }

    [QemuFact]
    public async Task Start_DiskMissing_FaultAndNoEmptyDiskIsMade()
    {
        string disk = Path.Combine(_directory.FullName, "none.img");
        HostFault fault = await Assert.ThrowsAsync<HostFault>(() => StartAsync(spec => spec with { Disks = [new GuestDisk(disk)] }));
        Assert.Equal((disk, Errno.ENOENT), (fault.Subject, fault.Errno));
        Assert.False(File.Exists(disk));
    }

    [QemuFact]
    public async Task Start_QemuRefuses_ItsOwnWordsAtOnce()
    {
        var clock = Stopwatch.StartNew();
        QemuException e = await Assert.ThrowsAsync<QemuException>(() => StartAsync(spec => spec with { Machine = "q36" }));
        Assert.Equal(QemuFault.StartFailed, e.Fault.Class);
        Assert.Contains("unsupported machine type", e.Fault.Description, StringComparison.Ordinal);
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(20));
        Assert.Empty(_processes.Leftovers(_uid));
    }

    [QemuFact]
    public async Task Start_ProgramMissing_WordsOfTheWrapper()
    {
        QemuException e = await Assert.ThrowsAsync<QemuException>(
            () => _processes.StartAsync(Launch() with { Host = new QemuHost("no-such-qemu", false, null) }, Deadline));
        Assert.Contains("no-such-qemu", e.Fault.Description, StringComparison.Ordinal);
    }

    [QemuFact]
    public async Task Start_Twice_SecondIsRefusedAndFirstUnharmed()
    {
        await using RunningGuest guest = await StartAsync();
        HostFault fault = await Assert.ThrowsAsync<HostFault>(() => StartAsync());
        Assert.Equal(Errno.EBUSY, fault.Errno);
        Assert.False((await guest.StatusAsync()).Running);
    }

    [QemuFact]
    public async Task Start_Cancelled_NothingIsLeft()
    {
        foreach (int milliseconds in (int[])[0, 3, 10, 30, 60, 120])
        {
            using var cancellation = new CancellationTokenSource(TimeSpan.FromMilliseconds(milliseconds));
            try
            {
                RunningGuest guest = await _processes.StartAsync(Launch(), Deadline, cancellation.Token);
                await guest.StopAsync(TimeSpan.Zero);
                await guest.DisposeAsync();
            }
            catch (OperationCanceledException)
            {
                Assert.Empty(_processes.Leftovers(_uid));
            }
        }
    }

    [QemuFact]
    public async Task Reconnect_AfterTheServiceWent_SameGuest()
    {
        GuestProcess process;
        await using (RunningGuest first = await StartAsync())
        {
            process = first.Process;
            QemuException busy = await Assert.ThrowsAsync<QemuException>(() => _processes.FindAsync("g", _uid, TimeSpan.FromMilliseconds(200)));
            Assert.Equal(QemuFault.Timeout, busy.Fault.Class);
            await first.DisposeAsync();
            Assert.False((await first.Ended).ProcessGone);
        }

        await using (RunningGuest? again = await _processes.ReconnectAsync("g", process, Deadline))
        {
            Assert.Equal(process, again?.Process);
            Assert.Equal("prelaunch", (await again!.StatusAsync()).Status);
        }

        Assert.Null(await _processes.ReconnectAsync("g", process with { StartTime = 1 }, Deadline));
        Assert.Null(await _processes.FindAsync("g", _uid + 1, Deadline));
        await using RunningGuest? found = await _processes.FindAsync("g", _uid, Deadline);
        Assert.Equal(process, found?.Process);
    }

    [QemuFact]
    public async Task Killed_FromOutside_NoticedAtOnce()
    {
        await using RunningGuest guest = await StartAsync();
        Task<JsonElement> pending = guest.Qmp.ExecuteAsync("query-status");
        await pending;
        var clock = Stopwatch.StartNew();
        await _processes.KillAsync(guest.Process, Deadline);
        GuestEnd end = await guest.Ended.WaitAsync(Deadline);
        Assert.True(end.ProcessGone);
        Assert.Null(end.Reason);
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(5));
        Assert.False(_processes.IsAlive(guest.Process));
        Assert.Null(await _processes.ReconnectAsync("g", guest.Process, Deadline));
        await _processes.KillAsync(guest.Process, Deadline);
        Assert.Equal(0, _processes.FilesOf(guest.Process).Containers);
        Assert.Throws<HostFault>(() => _processes.LimitMemoryLock(guest.Process, 65536));
    }

    [QemuFact]
    public async Task Stop_Paused_QuitsWithoutAsking()
    {
        await using RunningGuest guest = await StartAsync();
        Assert.Equal(GuestStop.Quit, await guest.StopAsync(Deadline));
        GuestEnd end = await guest.Ended.WaitAsync(Deadline);
        Assert.Equal((true, "host-qmp-quit"), (end.ProcessGone, end.Reason));
    }

    [QemuFact]
    public async Task Stop_RunningFirmwareThatDoesNotListen_QuitsAfterTheDeadline()
    {
        await using RunningGuest guest = await StartAsync();
        await guest.ContinueAsync();
        Assert.Equal(GuestState.Running, (await guest.StatusAsync()).State);
        Assert.Equal(GuestStop.Quit, await guest.StopAsync(TimeSpan.FromMilliseconds(300)));
    }

    [QemuFact]
    public async Task Stop_QemuHangs_Killed()
    {
        await using RunningGuest guest = await StartAsync();
        using (Process stop = Process.Start("kill", ["-STOP", guest.Process.Pid.ToString(CultureInfo.InvariantCulture)]))
        {
            await stop.WaitForExitAsync();
        }

        Assert.Equal(GuestStop.Killed, await guest.StopAsync(TimeSpan.Zero));
        Assert.True((await guest.Ended.WaitAsync(Deadline)).ProcessGone);
    }

    [QemuFact]
    public async Task Pause_AndContinue_StatusFollows()
    {
        await using RunningGuest guest = await StartAsync();
        await guest.ContinueAsync();
        await guest.PauseAsync();
        Assert.Equal(GuestState.Paused, (await guest.StatusAsync()).State);
        await guest.ResetAsync();
        await guest.ContinueAsync();
        Assert.True((await guest.StatusAsync()).Running);
    }

    [QemuFact]
    public async Task Unplug_GuestDoesNotAnswer_TimeoutThenForceWorks()
    {
        await using RunningGuest guest = await StartAsync();
        await AddEmulatedAsync(guest, new GuestSlot("port0"));
        Assert.Equal([Device], await guest.DevicesAsync());
        QemuException e = await Assert.ThrowsAsync<QemuException>(() => guest.UnplugAsync(Device, TimeSpan.FromMilliseconds(300)));
        Assert.Equal("unplug_timeout", e.Fault.Code);
        Assert.Equal([Device], await guest.DevicesAsync());
        await guest.ForceUnplugAsync(Device, Deadline);
        Assert.Empty(await guest.DevicesAsync());
        await guest.UnplugAsync(Device, Deadline);
        await guest.ForceUnplugAsync(Device, Deadline);
        Assert.Equal("prelaunch", (await guest.StatusAsync()).Status);
    }

    [QemuFact]
    public async Task ForceUnplug_BehindABridge_NeighbourStays()
    {
        await using RunningGuest guest = await StartAsync();
        var neighbour = PciAddress.Parse("0000:03:01.0");
        await AddEmulatedAsync(guest, new GuestSlot("bridge0", 1));
        await AddEmulatedAsync(guest, new GuestSlot("bridge0", 31), neighbour);
        await guest.ForceUnplugAsync(neighbour, Deadline);
        Assert.Equal([Device], await guest.DevicesAsync());
        await AddEmulatedAsync(guest, new GuestSlot("bridge0", 31), neighbour);
        Assert.Equal([Device, neighbour], await guest.DevicesAsync());
    }

    [QemuFact]
    public async Task Plug_NoSuchDevice_QemusWordsAsACode()
    {
        await using RunningGuest guest = await StartAsync();
        var nowhere = PciAddress.Parse("fffe:ff:1f.7");
        QemuException e = await Assert.ThrowsAsync<QemuException>(() => guest.PlugAsync(nowhere, new GuestSlot("port0"), Deadline));
        Assert.Equal("device_not_found", e.Fault.Code);
        Assert.Equal("device_add", e.Fault.Command);
    }

    [QemuFact]
    public async Task SendFile_TwoFiles_QemuHasThemByName()
    {
        await using RunningGuest guest = await StartAsync();
        for (int i = 0; i < 2; i++)
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle("/dev/zero");
            await guest.Qmp.SendFileAsync($"file{i}", file);
        }

        Assert.Equal(2, new DirectoryInfo($"/proc/{guest.Process.Pid}/fd").EnumerateFileSystemInfos().Count(file => file.LinkTarget == "/dev/zero"));
        await guest.Qmp.ExecuteAsync("closefd", new JsonObject { ["fdname"] = "file0" });
        await guest.Qmp.ExecuteAsync("closefd", new JsonObject { ["fdname"] = "file1" });
    }

    [QemuFact]
    public async Task TrimLogs_LongConsole_EndStaysAndQemuAppends()
    {
        await using RunningGuest guest = await StartAsync();
        string console = _processes.PathsOf("g").ConsoleLog;
        await File.AppendAllTextAsync(console, new string('a', 1000) + new string('b', 50));
        _processes.TrimLogs("g", 2000);
        Assert.Equal(1050, new FileInfo(console).Length);
        _processes.TrimLogs("g", 100);
        Assert.Equal(new string('b', 50), await File.ReadAllTextAsync(console));
        Assert.Equal("append,wronly", await OpenModeAsync(guest.Process.Pid, console));
        Assert.Equal("append,wronly", await OpenModeAsync(guest.Process.Pid, _processes.PathsOf("g").QemuLog));
    }

    [QemuFact]
    public async Task Files_OfTheGuest_RootKeepsWhatItReads()
    {
        await using RunningGuest guest = await StartAsync();
        GuestPaths paths = _processes.PathsOf("g");
        Assert.Equal((UnixFileMode)0b111_001_001, File.GetUnixFileMode(paths.Directory));
        Assert.Equal((UnixFileMode)0b111_000_000, File.GetUnixFileMode(paths.RunDirectory));
        Assert.True(File.Exists(paths.ConsoleLog));
        Assert.Equal(
            ["console.log", "qemu.log", "run"], Directory.EnumerateFileSystemEntries(paths.Directory).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        await guest.StopAsync(TimeSpan.Zero);
        _processes.Remove("g");
        Assert.False(Directory.Exists(paths.Directory));
        Assert.Equal("", _processes.LastWords("g"));
    }

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        foreach (GuestProcess process in _processes.Leftovers(_uid))
        {
            await _processes.KillAsync(process, Deadline);
        }

        _directory.Delete(recursive: true);
    }

    /// <summary>How a process has a file open, by the octal flags in its fdinfo (O_WRONLY is 1, O_APPEND 2000).</summary>
    private static async Task<string> OpenModeAsync(int pid, string path)
    {
        string fd = new DirectoryInfo($"/proc/{pid}/fd").EnumerateFileSystemInfos().First(file => file.LinkTarget == path).Name;
        string line = (await File.ReadAllLinesAsync($"/proc/{pid}/fdinfo/{fd}")).First(text => text.StartsWith("flags:", StringComparison.Ordinal));
        int flags = Convert.ToInt32(line.Split('\t')[1], 8);
        return $"{((flags & 0b100_0000_0000) != 0 ? "append" : "seek")},{((flags & 3) == 1 ? "wronly" : "other")}";
    }

    private string MakeDisk(string name)
    {
        string path = Path.Combine(_directory.FullName, name);
        using var file = new FileStream(path, new FileStreamOptions
        {
            Mode = FileMode.Create,
            Access = FileAccess.Write,
            UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
        });
        file.SetLength(1 << 20);
        return path;
    }

    private static async Task AddEmulatedAsync(RunningGuest guest, GuestSlot slot, PciAddress? address = null)
    {
        var arguments = new JsonObject { ["driver"] = "edu", ["id"] = RunningGuest.DeviceId(address ?? Device), ["bus"] = slot.Bus };
        if (slot.Slot is { } number)
        {
            arguments["addr"] = number.ToString("x", CultureInfo.InvariantCulture);
        }

        await guest.Qmp.ExecuteAsync("device_add", arguments);
    }

    private static async Task<Dictionary<string, string>> ProcStatusAsync(int pid) =>
        (await File.ReadAllLinesAsync($"/proc/{pid}/status")).Select(line => line.Split(':', 2)).ToDictionary(pair => pair[0], pair => pair[1].Trim());

    private Task<RunningGuest> StartAsync(Func<GuestSpec, GuestSpec>? change = null) => _processes.StartAsync(Launch(change), Deadline);

    private GuestLaunch Launch(Func<GuestSpec, GuestSpec>? change = null)
    {
        var spec = new GuestSpec { Name = "g", MemoryBytes = 64 << 20, HotplugSlots = 2 };
        return new GuestLaunch
        {
            Spec = change?.Invoke(spec) ?? spec,
            Paths = _processes.PathsOf("g"),
            Uid = _uid,
            // Lowering the limit needs no right.
            MemoryLockBytes = 65536,
            GuestIommu = true,
            Host = new QemuHost("qemu-system-x86_64", HasKvm: false, KvmGroup: null),
        };
    }
}
