// A guest whose QEMU runs: what can be asked of it and done to it. Its devices are in RunningGuest.Devices.cs.

using System.Text.Json;
using AssignHub.Engine.Desired;

namespace AssignHub.Engine.Guests;

/// <summary>What QEMU says of the guest (<c>query-status</c>).</summary>
/// <param name="Status">QEMU's RunState: <c>prelaunch</c>, <c>running</c>, <c>paused</c>, <c>internal-error</c>, …</param>
/// <param name="Running">Whether the CPUs run.</param>
public sealed record QemuStatus(string Status, bool Running)
{
    /// <summary>The same in AssignHub's words.</summary>
    public GuestState State => Status switch
    {
        _ when Running => GuestState.Running,
        "prelaunch" => GuestState.Starting,
        "shutdown" => GuestState.Stopping,
        "internal-error" or "io-error" or "guest-panicked" or "watchdog" => GuestState.Failed,
        _ => GuestState.Paused,
    };
}

/// <summary>How a guest ended.</summary>
/// <param name="ProcessGone">False if the monitor's connection broke off and the process still lives: connect again.</param>
/// <param name="Reason">QEMU's own reason (ShutdownCause: <c>guest-shutdown</c>, <c>host-qmp-quit</c>, …), or null if it told none.</param>
/// <param name="LastWords">The end of what it wrote to standard error.</param>
public sealed record GuestEnd(bool ProcessGone, string? Reason, string LastWords);

/// <summary>What it took to stop a guest.</summary>
public enum GuestStop
{
    /// <summary>The guest shut down by itself when it was asked to.</summary>
    PoweredDown,
    /// <summary>The guest did not, or could not be asked; QEMU ended when it was told to.</summary>
    Quit,
    /// <summary>QEMU did not answer and was killed.</summary>
    Killed,
}

/// <summary>
/// A running guest and the connection to it. Disposing closes the connection; the guest goes on. All that it refuses comes as
/// <see cref="QemuException"/>.
/// </summary>
public sealed partial class RunningGuest : IAsyncDisposable
{
    /// <summary>How long QEMU may take to end after it was told to: unpinning hundreds of GiB takes seconds.</summary>
    private static readonly TimeSpan EndDeadline = TimeSpan.FromSeconds(30);

    /// <summary>How long a process may outlive its monitor's connection before that counts as a connection lost.</summary>
    private static readonly TimeSpan LingerDeadline = TimeSpan.FromSeconds(5);

    private readonly GuestProcesses _processes;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _disposed = new();
    private readonly QmpSubscription _shutdown;
    private int _isDisposed;

    internal RunningGuest(string name, GuestProcess process, QmpClient qmp, GuestProcesses processes, TimeProvider time)
    {
        Name = name;
        Process = process;
        Qmp = qmp;
        _processes = processes;
        _time = time;
        _shutdown = qmp.Subscribe(message => message.Name == "SHUTDOWN");
        Ended = WatchAsync();
    }

    /// <summary>Its name.</summary>
    public string Name { get; }

    /// <summary>Its process.</summary>
    public GuestProcess Process { get; }

    /// <summary>The monitor.</summary>
    public QmpClient Qmp { get; }

    /// <summary>Ends when the guest does, at once and whatever ended it; it never faults.</summary>
    public Task<GuestEnd> Ended { get; }

    /// <summary>Whether its CPUs run, and if not, why.</summary>
    public async Task<QemuStatus> StatusAsync(CancellationToken cancellation = default)
    {
        JsonElement status = await Qmp.ExecuteAsync("query-status", cancellation: cancellation).ConfigureAwait(false);
        return new QemuStatus(status.GetProperty("status").GetString() ?? "", status.GetProperty("running").GetBoolean());
    }

    /// <summary>Lets the CPUs run: the last step of a start, and the end of a pause.</summary>
    public Task ContinueAsync(CancellationToken cancellation = default) => Qmp.ExecuteAsync("cont", cancellation: cancellation);

    /// <summary>Holds the CPUs.</summary>
    public Task PauseAsync(CancellationToken cancellation = default) => Qmp.ExecuteAsync("stop", cancellation: cancellation);

    /// <summary>Restarts the guest without a new process; its devices stay.</summary>
    public Task ResetAsync(CancellationToken cancellation = default) => Qmp.ExecuteAsync("system_reset", cancellation: cancellation);

    /// <summary>
    /// Ends the guest: asks it to shut down, then tells QEMU to quit, then kills it. A guest whose CPUs do not run cannot be asked.
    /// </summary>
    /// <param name="graceful">How long the guest has to shut down; zero does not ask it.</param>
    /// <param name="cancellation">Gives up where it is; the guest may have been asked already.</param>
    /// <exception cref="HostFault">The process survived SIGKILL: the kernel holds it.</exception>
    public async Task<GuestStop> StopAsync(TimeSpan graceful, CancellationToken cancellation = default)
    {
        if (graceful > TimeSpan.Zero && await TryAsync("system_powerdown", cancellation).ConfigureAwait(false)
            && await EndsWithinAsync(graceful, cancellation).ConfigureAwait(false))
        {
            return GuestStop.PoweredDown;
        }

        if (await TryAsync("quit", cancellation).ConfigureAwait(false) && await EndsWithinAsync(EndDeadline, cancellation).ConfigureAwait(false))
        {
            return GuestStop.Quit;
        }

        await _processes.KillAsync(Process, EndDeadline, cancellation).ConfigureAwait(false);
        return GuestStop.Killed;
    }

    /// <summary>Closes the connection; the guest goes on.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
        {
            return;
        }

        await _disposed.CancelAsync().ConfigureAwait(false);
        await Qmp.DisposeAsync().ConfigureAwait(false);
        await Ended.ConfigureAwait(false);
        _shutdown.Dispose();
        _disposed.Dispose();
    }

    private async Task<GuestEnd> WatchAsync()
    {
        string? reason = null;
        await foreach (QmpEvent message in _shutdown.ReadAllAsync().ConfigureAwait(false))
        {
            reason = message.Text("reason");
        }

        // The stream of events ends with the connection. QEMU closes it while it ends; the process itself is gone moments later.
        bool gone = await _processes.WaitGoneAsync(Process, LingerDeadline, _disposed.Token).ConfigureAwait(false);
        return new GuestEnd(gone, reason, _processes.LastWords(Name));
    }

    /// <summary>Sends a command that ends the guest: that QEMU is gone before it answers is as good as an answer.</summary>
    /// <returns>False if there is no use in waiting for what it should bring about.</returns>
    private async Task<bool> TryAsync(string command, CancellationToken cancellation)
    {
        try
        {
            if (command == "system_powerdown" && !(await StatusAsync(cancellation).ConfigureAwait(false)).Running)
            {
                return false;
            }

            await Qmp.ExecuteAsync(command, timeout: TimeSpan.FromSeconds(5), cancellation: cancellation).ConfigureAwait(false);
            return true;
        }
        catch (QemuException e) when (e.Fault.Class is QemuFault.Closed)
        {
            return !_processes.IsAlive(Process) || command == "quit";
        }
        catch (QemuException)
        {
            return false;
        }
    }

    private async Task<bool> EndsWithinAsync(TimeSpan deadline, CancellationToken cancellation)
    {
        long start = _time.GetTimestamp();
        try
        {
            await Qmp.Closed.WaitAsync(deadline, _time, cancellation).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            return false;
        }

        TimeSpan rest = deadline - _time.GetElapsedTime(start);
        return await _processes.WaitGoneAsync(Process, rest < LingerDeadline ? LingerDeadline : rest, cancellation).ConfigureAwait(false);
    }
}
