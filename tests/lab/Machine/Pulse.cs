using System.Net.Sockets;

namespace AssignHub.Lab;

/// <summary>
/// Stops a lab's machine for an instant when its agent owes an answer. QEMU's emulation under several threads (seen in 10.0) now and then loses
/// what one processor writes to a device's registers while another changes the memory map, as every reset through VFIO does. Lost that way, the
/// notice of a virtio queue leaves its request lying until the next notice. For files and the network the lab's own heartbeat sees to one
/// (host-setup); the agent gives none before it is asked again. A machine that goes on has all its queues looked into. It is not stopped without
/// need: once a second was seen to hang guests inside while they booted.
/// </summary>
internal sealed class Pulse : IAsyncDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(3);
    private readonly CancellationTokenSource _end = new();
    private readonly Func<TimeSpan> _waiting;
    private readonly Task _beating;

    /// <param name="state">The lab's state folder.</param>
    /// <param name="waiting">For how long the agent owes an answer.</param>
    /// <param name="turn">Held while the monitor is in use, which has room for one.</param>
    public Pulse(string state, Func<TimeSpan> waiting, SemaphoreSlim turn)
    {
        _waiting = waiting;
        _beating = BeatAsync(Path.Combine(state, "qmp.sock"), turn);
    }

    public async ValueTask DisposeAsync()
    {
        await _end.CancelAsync().ConfigureAwait(false);
        await _beating.ConfigureAwait(false);
        _end.Dispose();
    }

    private async Task BeatAsync(string socket, SemaphoreSlim turn)
    {
        try
        {
            while (true)
            {
                await Task.Delay(Interval, _end.Token).ConfigureAwait(false);
                if (_waiting() < Interval)
                {
                    continue;
                }

                await turn.WaitAsync(_end.Token).ConfigureAwait(false);
                try
                {
                    using JsonChannel monitor = await JsonChannel.ConnectAsync(socket, _end.Token).ConfigureAwait(false);
                    await monitor.ReadAsync(_end.Token).ConfigureAwait(false);
                    await monitor.CallAsync("qmp_capabilities", null, _end.Token).ConfigureAwait(false);

                    // A machine that was stopped has to go on, whatever ends meanwhile.
                    await monitor.CallAsync("stop", null, CancellationToken.None).ConfigureAwait(false);
                    await monitor.CallAsync("cont", null, CancellationToken.None).ConfigureAwait(false);
                }
                finally
                {
                    turn.Release();
                }
            }
        }
        catch (Exception end) when (end is OperationCanceledException or IOException or SocketException or LabException)
        {
            // Nobody needs the lab any more, or its QEMU has ended: whoever uses it learns that from its own calls.
        }
    }
}
