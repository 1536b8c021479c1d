// Starts QEMU processes, finds them again, watches and ends them. It decides nothing about what they own.

using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using AssignHub.Engine.Desired;
using Microsoft.Extensions.Logging;

namespace AssignHub.Engine.Guests;

/// <summary>The processes of the guests, known by pid and start time, never by name alone.</summary>
/// <param name="root">The directory of all guests' runtime files.</param>
/// <param name="procRoot">Usually <c>/proc</c>.</param>
/// <param name="time">The clock.</param>
/// <param name="logger">The log.</param>
public sealed partial class GuestProcesses(string root, string procRoot, TimeProvider time, ILogger<GuestProcesses> logger)
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan PidDeadline = TimeSpan.FromSeconds(30);
    private const int LastWordsBytes = 4096;

    /// <summary>The runtime files of a guest.</summary>
    public GuestPaths PathsOf(string name) => GuestPaths.For(root, name);

    /// <summary>Starts a guest's process: paused, with its ports and without devices. Returns when its monitor answers.</summary>
    /// <param name="launch">The start, decided.</param>
    /// <param name="deadline">How long QEMU may take until it answers.</param>
    /// <param name="cancellation">Gives up, and ends what was started.</param>
    /// <exception cref="QemuException">With <see cref="QemuFault.StartFailed"/>: QEMU did not come up; with its own words.</exception>
    /// <exception cref="HostFault">A program or disk is missing, or another process runs as the guest's user.</exception>
    public async Task<RunningGuest> StartAsync(GuestLaunch launch, TimeSpan deadline, CancellationToken cancellation = default)
    {
        if (Leftovers(launch.Uid) is [var leftover, ..])
        {
            throw new HostFault("start", launch.Spec.Name, Errno.EBUSY, $"process {leftover.Pid} runs as user {launch.Uid} already");
        }

        Prepare(launch);
        using var timer = new CancellationTokenSource(deadline, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellation);
        GuestProcess? started = null;
        try
        {
            started = await SpawnAsync(launch, either.Token).ConfigureAwait(false);
            QmpClient qmp = await WaitForMonitorAsync(launch, started, deadline, either.Token).ConfigureAwait(false);
            LogStarted(launch.Spec.Name, started.Pid, started.Uid, qmp.Version);
            return new RunningGuest(launch.Spec.Name, started, qmp, this, time);
        }
        catch (Exception e)
        {
            if (started is not null)
            {
                await KillAsync(started, TimeSpan.FromSeconds(5), CancellationToken.None).ConfigureAwait(false);
            }

            throw e is OperationCanceledException && !cancellation.IsCancellationRequested
                ? Failed(launch, $"QEMU did not answer within {deadline.TotalSeconds:0} s", e)
                : e is OperationCanceledException ? new OperationCanceledException(e.Message, e, cancellation) : e;
        }
    }

    /// <summary>Connects again to a guest that was started earlier, perhaps by a service that was killed since.</summary>
    /// <returns>The guest, or null if its process is gone.</returns>
    /// <exception cref="QemuException">The process lives, but does not answer.</exception>
    public async Task<RunningGuest?> ReconnectAsync(string name, GuestProcess process, TimeSpan deadline, CancellationToken cancellation = default)
    {
        if (!IsAlive(process))
        {
            return null;
        }

        RunningGuest? found = await FindAsync(name, process.Uid, deadline, cancellation).ConfigureAwait(false);
        if (found is not null && found.Process == process)
        {
            return found;
        }

        if (found is not null)
        {
            await found.DisposeAsync().ConfigureAwait(false);
        }

        return !IsAlive(process)
            ? null
            : throw new QemuException(new QemuFault("connect", QemuFault.Closed, $"process {process.Pid} lives, but does not listen on its monitor"));
    }

    /// <summary>
    /// Finds a guest of which only the name and the user are known: one that was started by a service that was killed before it could write
    /// down the process. Nobody but that user and root can listen in its directory, and the kernel says who does.
    /// </summary>
    /// <returns>The guest, or null if nobody listens or it is another user's process.</returns>
    public async Task<RunningGuest?> FindAsync(string name, uint uid, TimeSpan deadline, CancellationToken cancellation = default)
    {
        QmpClient qmp;
        try
        {
            qmp = await QmpClient.ConnectAsync(PathsOf(name).QmpSocket, deadline, time, cancellation).ConfigureAwait(false);
        }
        catch (SocketException)
        {
            return null;
        }

        if (qmp.Peer.Uid == uid && Identify(qmp.Peer.Pid, uid) is { } process)
        {
            LogFound(name, process.Pid, process.Uid);
            return new RunningGuest(name, process, qmp, this, time);
        }

        await qmp.DisposeAsync().ConfigureAwait(false);
        return null;
    }

    /// <summary>Whether a process still is the one that it was.</summary>
    public bool IsAlive(GuestProcess process) =>
        ProcStat.Read(procRoot, process.Pid) is { IsAlive: true } stat && stat.StartTime == process.StartTime;

    /// <summary>Processes that run as a guest's user, whatever they are: there is at most one, the guest.</summary>
    public IReadOnlyList<GuestProcess> Leftovers(uint uid) =>
        [.. ProcStat.OfUser(procRoot, uid).Select(stat => new GuestProcess(stat.Pid, stat.StartTime, uid))];

    /// <summary>The VFIO files that a process holds; none if it is gone.</summary>
    public HeldVfioFiles FilesOf(GuestProcess process) => IsAlive(process) ? HeldVfioFiles.Read(procRoot, process.Pid) : new HeldVfioFiles();

    /// <summary>Kills a process and waits until it is gone. One that is gone needs nothing.</summary>
    /// <exception cref="HostFault">It could not be killed, or the kernel holds it.</exception>
    public async Task KillAsync(GuestProcess process, TimeSpan deadline, CancellationToken cancellation = default)
    {
        using (PidFile? file = PidFile.Open(process.Pid))
        {
            // The pid file names the process for good; only then is it certain that the start time is that same process's.
            if (file is null || !IsAlive(process))
            {
                return;
            }

            file.Kill();
            LogKilled(process.Pid);
        }

        if (!await WaitGoneAsync(process, deadline, cancellation).ConfigureAwait(false))
        {
            throw new HostFault("kill", $"process {process.Pid}", Errno.ETIMEDOUT, "it did not end: the kernel holds it");
        }
    }

    /// <summary>
    /// Sets how much memory a running guest may lock (<see cref="MemoryLock"/>). Before a device is plugged the limit is raised to what will
    /// be pinned then: the exact figure at each time, rather than a generous one from the start.
    /// </summary>
    /// <exception cref="HostFault">The process is gone, or the kernel refused (raising takes CAP_SYS_RESOURCE).</exception>
    public void LimitMemoryLock(GuestProcess process, long bytes)
    {
        using PidFile? file = PidFile.Open(process.Pid);
        if (file is null || !IsAlive(process))
        {
            throw new HostFault("prlimit", $"process {process.Pid}", Errno.ENOENT, "it is gone");
        }

        // prlimit(2) takes a pid only: should the process be reaped and its pid used anew in these microseconds, a stranger gets the limit.
        var limit = new Libc.RLimit { rlim_cur = (ulong)bytes, rlim_max = (ulong)bytes };
        if (Libc.prlimit(process.Pid, Libc.RLIMIT_MEMLOCK, in limit, IntPtr.Zero) != 0)
        {
            throw new HostFault("prlimit RLIMIT_MEMLOCK", $"process {process.Pid}", (Errno)Marshal.GetLastPInvokeError());
        }
    }

    /// <summary>Waits until a process is gone.</summary>
    /// <returns>False if it still lives at the deadline, or the wait was given up.</returns>
    internal async Task<bool> WaitGoneAsync(GuestProcess process, TimeSpan deadline, CancellationToken cancellation)
    {
        long start = time.GetTimestamp();
        while (IsAlive(process))
        {
            if (cancellation.IsCancellationRequested || time.GetElapsedTime(start) >= deadline)
            {
                return false;
            }

            await Task.Delay(PollInterval, time, CancellationToken.None).ConfigureAwait(false);
        }

        return true;
    }

    /// <summary>The end of what QEMU wrote to standard error at its last start; empty if nothing.</summary>
    public string LastWords(string name)
    {
        try
        {
            using FileStream file = File.Open(PathsOf(name).QemuLog, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            file.Seek(-Math.Min(LastWordsBytes, file.Length), SeekOrigin.End);
            using var reader = new StreamReader(file);
            return reader.ReadToEnd().Trim();
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return "";
        }
    }

    /// <summary>
    /// Cuts a guest's logs to their ends: what a guest prints must not fill the host's disk. QEMU appends to them, so that what is cut away
    /// leaves no hole; a line that it writes at this very moment may be lost.
    /// </summary>
    /// <param name="name">The guest.</param>
    /// <param name="longestBytes">A file that is longer is cut to half of this.</param>
    public void TrimLogs(string name, long longestBytes)
    {
        GuestPaths paths = PathsOf(name);
        foreach (string path in (string[])[paths.ConsoleLog, paths.QemuLog])
        {
            if (!File.Exists(path) || new FileInfo(path).Length <= longestBytes)
            {
                continue;
            }

            using var file = new FileStream(path, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            byte[] end = new byte[longestBytes / 2];
            file.Seek(-end.Length, SeekOrigin.End);
            file.ReadExactly(end);
            file.SetLength(0);
            file.Seek(0, SeekOrigin.Begin);
            file.Write(end);
        }
    }

    /// <summary>Removes the runtime files of a guest that is gone.</summary>
    public void Remove(string name)
    {
        string directory = PathsOf(name).Directory;
        if (Directory.Exists(directory))
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    private GuestProcess? Identify(int pid, uint uid) =>
        ProcStat.Read(procRoot, pid) is { IsAlive: true } stat ? new GuestProcess(pid, stat.StartTime, uid) : null;

    private QemuException Failed(GuestLaunch launch, string fallback, Exception? inner = null)
    {
        string words = LastWords(launch.Spec.Name);
        return new QemuException(new QemuFault("start", QemuFault.StartFailed, words.Length > 0 ? words : fallback), inner);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Guest {Guest} started: process {Pid}, user {Uid}, QEMU {Version}")]
    private partial void LogStarted(string guest, int pid, uint uid, Version version);

    [LoggerMessage(Level = LogLevel.Information, Message = "Guest {Guest} found: process {Pid}, user {Uid}")]
    private partial void LogFound(string guest, int pid, uint uid);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Process {Pid} was killed")]
    private partial void LogKilled(int pid);
}
