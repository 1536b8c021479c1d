// The first seconds of a guest: its files, its process, the wait for its monitor.

using System.ComponentModel;
using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using AssignHub.Engine.Desired;

namespace AssignHub.Engine.Guests;

public sealed partial class GuestProcesses
{
    private static readonly TimeSpan LingerDeadline = TimeSpan.FromSeconds(5);

    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;
    private const UnixFileMode OwnerDirectory = OwnerOnly | UnixFileMode.UserExecute;
    private const UnixFileMode Passage = OwnerDirectory | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    private static void Prepare(GuestLaunch launch)
    {
        GuestPaths paths = launch.Paths;
        foreach (GuestDisk disk in launch.Spec.Disks.Where(disk => !File.Exists(disk.Path)))
        {
            // The shell that opens a disk for writing would make an empty one.
            throw new HostFault("open", disk.Path, Errno.ENOENT, "the guest's disk is missing");
        }

        // The guest's user needs to pass through, and no more, the directories above its own.
        Directory.CreateDirectory(paths.Directory, Passage);
        File.SetUnixFileMode(paths.Directory, Passage);
        if (Directory.Exists(paths.RunDirectory))
        {
            Directory.Delete(paths.RunDirectory, recursive: true);
        }

        Directory.CreateDirectory(paths.RunDirectory, OwnerDirectory);
        Own(paths.RunDirectory, launch.Uid);
        Create(paths.QemuLog, FileMode.Create);
        Create(paths.ConsoleLog, FileMode.OpenOrCreate);
        Own(paths.ConsoleLog, launch.Uid);
    }

    private static void Create(string path, FileMode mode) =>
        new FileStream(path, new FileStreamOptions { Mode = mode, Access = FileAccess.Write, UnixCreateMode = OwnerOnly }).Dispose();

    private static void Own(string path, uint uid)
    {
        if (Libc.chown(path, uid, uid) != 0)
        {
            throw new HostFault("chown", path, (Errno)Marshal.GetLastPInvokeError());
        }
    }

    private async Task<GuestProcess> SpawnAsync(GuestLaunch launch, CancellationToken cancellation)
    {
        CommandLine command = QemuCommandLine.Build(launch);
        var start = new ProcessStartInfo(command.Program, command.Arguments)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = "/",
        };

        // The service's environment may hold secrets, and the guest's user can read its process's.
        start.Environment.Clear();
        start.Environment["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        start.Environment["LC_ALL"] = "C";

        // Not the guest: setsid, which forks and is done.
        Process wrapper;
        try
        {
            wrapper = Process.Start(start) ?? throw new HostFault("exec", command.Program, Errno.None, "no process came of it");
        }
        catch (Win32Exception e)
        {
            throw new HostFault("exec", command.Program, (Errno)e.NativeErrorCode, inner: e);
        }

        using (wrapper)
        {
            // Whoever gives up before the pid is known leaves a process that nobody can end. The shell says it first of all.
            using var patience = new CancellationTokenSource(PidDeadline, time);
            string? line = await wrapper.StandardOutput.ReadLineAsync(patience.Token).ConfigureAwait(false);
            if (!int.TryParse(line, NumberStyles.None, CultureInfo.InvariantCulture, out int pid))
            {
                throw Failed(launch, await wrapper.StandardError.ReadToEndAsync(cancellation).ConfigureAwait(false));
            }

            GuestProcess process = Identify(pid, launch.Uid) ?? throw Failed(launch, "QEMU ended without a word");
            try
            {
                // Standard error ends where QEMU's log takes its place, or with the shell's last words.
                string words = await wrapper.StandardError.ReadToEndAsync(cancellation).ConfigureAwait(false);
                return words.Length == 0 ? process : throw Failed(launch, words.Trim());
            }
            catch
            {
                await KillAsync(process, TimeSpan.FromSeconds(5), CancellationToken.None).ConfigureAwait(false);
                throw;
            }
        }
    }

    private async Task<QmpClient> WaitForMonitorAsync(
        GuestLaunch launch, GuestProcess process, TimeSpan deadline, CancellationToken cancellation)
    {
        while (true)
        {
            cancellation.ThrowIfCancellationRequested();
            try
            {
                QmpClient qmp = await QmpClient.ConnectAsync(launch.Paths.QmpSocket, deadline, time, cancellation).ConfigureAwait(false);
                if (qmp.Peer.Pid == process.Pid && qmp.Peer.Uid == process.Uid)
                {
                    return qmp;
                }

                await qmp.DisposeAsync().ConfigureAwait(false);
                throw new HostFault("connect", launch.Paths.QmpSocket, Errno.EPERM, $"process {qmp.Peer.Pid} of user {qmp.Peer.Uid} listens, not the guest's");
            }
            catch (SocketException) when (IsAlive(process))
            {
                await Task.Delay(PollInterval, time, cancellation).ConfigureAwait(false);
            }
            catch (Exception e) when (e is SocketException or QemuException { Fault.Class: QemuFault.Closed })
            {
                // QEMU listens before it has read all of its command line; what it then ends on is in its log a moment later.
                await WaitGoneAsync(process, LingerDeadline, cancellation).ConfigureAwait(false);
                throw Failed(launch, "QEMU ended without a word", e);
            }
        }
    }
}
