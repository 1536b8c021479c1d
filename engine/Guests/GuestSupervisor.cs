// The guests that run, each with its open monitor: found again after a restart, watched until they end.

using System.Collections.Concurrent;
using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Engine.Guests;

/// <summary>Holds the connections to running guests and tells when one ends.</summary>
public sealed class GuestSupervisor(GuestProcesses processes) : IAsyncDisposable
{
    private const long LongestLogBytes = 4 << 20;
    private static readonly TimeSpan ReconnectDeadline = TimeSpan.FromSeconds(5);
    private readonly ConcurrentDictionary<string, RunningGuest> _running = new(StringComparer.Ordinal);

    /// <summary>Told when a guest's process is gone, or its monitor broke off; from a thread of its own.</summary>
    public event Action<string, GuestEnd>? Ended;

    /// <summary>The processes of the guests in hand.</summary>
    public IEnumerable<int> Pids => _running.Values.Select(guest => guest.Process.Pid);

    /// <summary>Takes a started or found guest in hand.</summary>
    public void Adopt(RunningGuest guest)
    {
        _running[guest.Name] = guest;
        _ = WatchAsync(guest);
    }

    /// <summary>The running guest of this record, connecting again if need be; null if its process is gone.</summary>
    /// <exception cref="QemuException">The process lives, but does not answer.</exception>
    public async Task<RunningGuest?> FindAsync(Guest guest, CancellationToken cancellation)
    {
        if (_running.TryGetValue(guest.Name, out RunningGuest? running) && !running.Qmp.Closed.IsCompleted)
        {
            return running;
        }

        if (!guest.IsActive)
        {
            return null;
        }

        // A service that was killed between starting the process and writing it down knows only whose it is.
        RunningGuest? found = guest.Process is { } process
            ? await processes.ReconnectAsync(guest.Name, process, ReconnectDeadline, cancellation).ConfigureAwait(false)
            : await processes.FindAsync(guest.Name, guest.Uid, ReconnectDeadline, cancellation).ConfigureAwait(false);
        if (found is not null)
        {
            Adopt(found);
        }

        return found;
    }

    /// <summary>Keeps what a guest printed from filling the host's disk (<see cref="GuestProcesses.TrimLogs"/>).</summary>
    public void TrimLogs(string name) => processes.TrimLogs(name, LongestLogBytes);

    /// <summary>What QEMU and the kernel say of a guest now; null if its process is gone.</summary>
    /// <exception cref="QemuException">The process lives, but does not answer.</exception>
    public async Task<GuestView?> ViewAsync(Guest guest, CancellationToken cancellation)
    {
        if (await FindAsync(guest, cancellation).ConfigureAwait(false) is not { } running)
        {
            return null;
        }

        try
        {
            QemuStatus status = await running.StatusAsync(cancellation).ConfigureAwait(false);
            (ImmutableSortedSet<PciAddress> devices, bool hasIommu) = await running.PeripheralsAsync(cancellation).ConfigureAwait(false);
            HeldVfioFiles files = processes.FilesOf(running.Process);
            int empty = files.Iommufds == 0 ? 0 : (await running.IommufdsAsync(cancellation).ConfigureAwait(false)).Count(one => one.Devices.IsEmpty);
            return new GuestView(status.Running, [.. devices], files.Containers - empty) { HasIommu = hasIommu };
        }
        catch (QemuException closed) when (closed.Fault.Class == QemuFault.Closed && !processes.IsAlive(running.Process))
        {
            return null;
        }
    }

    /// <summary>Lets go of a guest that ended.</summary>
    public async Task ForgetAsync(string name)
    {
        if (_running.TryRemove(name, out RunningGuest? running))
        {
            await running.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Closes the connections; the guests go on.</summary>
    public async ValueTask DisposeAsync()
    {
        foreach (string name in _running.Keys)
        {
            await ForgetAsync(name).ConfigureAwait(false);
        }
    }

    private async Task WatchAsync(RunningGuest guest)
    {
        GuestEnd end = await guest.Ended.ConfigureAwait(false);
        if (_running.TryGetValue(guest.Name, out RunningGuest? current) && ReferenceEquals(current, guest))
        {
            Ended?.Invoke(guest.Name, end);
        }
    }
}
