using System.Diagnostics;
using System.Globalization;

namespace AssignHub.Lab;

/// <summary>A lab's QEMU: started so that it ends with this process or outlives it, and ended by its own id only.</summary>
internal sealed class QemuProcess : IDisposable
{
    // Waits for QEMU and for the end of its own input, which closes when the process that booted the lab ends however it does.
    private const string Watch = """
        log=$1; shift
        exec 3<&0 2>/dev/null
        "$@" </dev/null >"$log" 2>&1 3<&- &
        qemu=$!
        { cat <&3 >/dev/null; kill -KILL "$qemu"; } &
        watcher=$!
        wait "$qemu"
        kill "$watcher"
        """;

    private readonly Process? _watch;
    private readonly string _state;

    private QemuProcess(string state, Process? watch)
    {
        _state = state;
        _watch = watch;
    }

    /// <summary>The QEMU that a state folder tells of; it may have ended.</summary>
    public static QemuProcess Find(string state) => new(state, null);

    public static QemuProcess Start(string state, IEnumerable<string> arguments, bool detached)
    {
        string log = Path.Combine(state, "qemu.log");
        string qemu = Tool.Find("qemu-system-x86_64") ?? throw new LabException("no qemu-system-x86_64 on this machine");
        ProcessStartInfo start = detached
            ? new("setsid", ["sh", "-c", "log=$1; shift; exec \"$@\" </dev/null >\"$log\" 2>&1", "lab", log, qemu, .. arguments])
            : new("setsid", ["bash", "-c", Watch, "lab", log, qemu, .. arguments]) { RedirectStandardInput = true };
        return new QemuProcess(state, Process.Start(start));
    }

    /// <summary>QEMU's process id, or null if it is not running (yet, or any more).</summary>
    public int? Pid
    {
        get
        {
            string file = Path.Combine(_state, "qemu.pid");
            return File.Exists(file) && int.TryParse(File.ReadAllText(file), CultureInfo.InvariantCulture, out int pid) && IsOurs(pid) ? pid : null;
        }
    }

    /// <summary>Whether what was started has ended; then <see cref="Log"/> says why.</summary>
    public bool HasEnded => _watch?.HasExited ?? Pid is null;

    public string Log => File.Exists(Path.Combine(_state, "qemu.log")) ? File.ReadAllText(Path.Combine(_state, "qemu.log")).Trim() : "";

    public void End()
    {
        if (Pid is { } pid)
        {
            try
            {
                using Process qemu = Process.GetProcessById(pid);
                qemu.Kill();
                qemu.WaitForExit(TimeSpan.FromSeconds(10));
            }
            catch (ArgumentException)
            {
                // It ended between the look and the kill.
            }
        }

        if (_watch is { HasExited: false })
        {
            _watch.Kill(entireProcessTree: true);
            _watch.WaitForExit(TimeSpan.FromSeconds(10));
        }
    }

    public void Dispose() => _watch?.Dispose();

    // A pid may have been given to another process since: ours names the state folder in its command line.
    private bool IsOurs(int pid)
    {
        try
        {
            return File.ReadAllText($"/proc/{pid}/cmdline").Contains(Path.Combine(_state, "qemu.pid"), StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false;
        }
    }
}
