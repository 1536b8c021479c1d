// QMP's asynchronous messages and the way to wait for one without a race.

using System.Text.Json;
using System.Threading.Channels;

namespace AssignHub.Engine.Guests;

/// <summary>An asynchronous message of QEMU (QMP specification, "Asynchronous events").</summary>
/// <param name="Name"><c>DEVICE_DELETED</c>, <c>SHUTDOWN</c>, <c>STOP</c>, …</param>
/// <param name="Data">Its data; undefined kind if it has none.</param>
public sealed record QmpEvent(string Name, JsonElement Data)
{
    /// <summary>A text member of the data, or null.</summary>
    public string? Text(string member) =>
        Data.ValueKind == JsonValueKind.Object && Data.TryGetProperty(member, out JsonElement value) && value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : null;
}

/// <summary>
/// The events that pass a filter, from the moment of subscription on. Subscribe, then send the command whose event is awaited: the order
/// that cannot miss it. The stream ends when the connection does.
/// </summary>
public sealed class QmpSubscription : IDisposable
{
    private readonly Channel<QmpEvent> _events = Channel.CreateUnbounded<QmpEvent>(new UnboundedChannelOptions { SingleWriter = true });
    private readonly Func<QmpEvent, bool> _filter;
    private readonly Action<QmpSubscription> _remove;

    internal QmpSubscription(Func<QmpEvent, bool> filter, Action<QmpSubscription> remove)
    {
        _filter = filter;
        _remove = remove;
    }

    /// <summary>All events to come, until the connection ends.</summary>
    public IAsyncEnumerable<QmpEvent> ReadAllAsync(CancellationToken cancellation = default) => _events.Reader.ReadAllAsync(cancellation);

    /// <summary>The next event, or null when <paramref name="wait"/> passed without one.</summary>
    /// <exception cref="QemuException">The connection ended.</exception>
    public async Task<QmpEvent?> NextAsync(TimeSpan wait, TimeProvider time, CancellationToken cancellation = default)
    {
        using var timer = new CancellationTokenSource(wait, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellation);
        try
        {
            return await _events.Reader.ReadAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (timer.IsCancellationRequested && !cancellation.IsCancellationRequested)
        {
            return null;
        }
        catch (ChannelClosedException e)
        {
            throw new QemuException(new QemuFault("event", QemuFault.Closed, "the connection to QEMU ended"), e);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _remove(this);
        End();
    }

    internal void Offer(QmpEvent message)
    {
        if (_filter(message))
        {
            _events.Writer.TryWrite(message);
        }
    }

    internal void End() => _events.Writer.TryComplete();
}
