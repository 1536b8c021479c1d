// The receiving half of the QMP client: one loop reads lines and hands each to whom it is for.

using System.Buffers;
using System.IO.Pipelines;
using System.Text.Json;

namespace AssignHub.Engine.Guests;

public sealed partial class QmpClient
{
    private async Task GreetAsync(CancellationToken cancellation)
    {
        JsonElement? line = await ReadLineAsync(cancellation).ConfigureAwait(false);
        JsonElement greeting = line ?? throw new QemuException(new QemuFault("qmp_capabilities", QemuFault.Closed, "QEMU closed the connection"));
        JsonElement version = greeting.GetProperty("QMP").GetProperty("version").GetProperty("qemu");
        Version = new Version(
            version.GetProperty("major").GetInt32(), version.GetProperty("minor").GetInt32(), version.GetProperty("micro").GetInt32());
    }

    private async Task ReceiveAsync()
    {
        string reason = "QEMU closed the connection";
        try
        {
            while (await ReadLineAsync(CancellationToken.None).ConfigureAwait(false) is { } message)
            {
                Dispatch(message);
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            reason = $"the connection to QEMU failed: {e.Message}";
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException)
        {
            reason = $"QEMU sent what is not QMP: {e.Message}";
        }
        finally
        {
            Close(reason);
            await _reader.CompleteAsync().ConfigureAwait(false);
        }
    }

    private async Task<JsonElement?> ReadLineAsync(CancellationToken cancellation)
    {
        while (true)
        {
            ReadResult result = await _reader.ReadAsync(cancellation).ConfigureAwait(false);
            ReadOnlySequence<byte> buffer = result.Buffer;
            if (buffer.PositionOf((byte)'\n') is { } end)
            {
                using JsonDocument document = JsonDocument.Parse(buffer.Slice(0, end));
                JsonElement message = document.RootElement.Clone();
                _reader.AdvanceTo(buffer.GetPosition(1, end));
                return message;
            }

            if (result.IsCompleted)
            {
                return null;
            }

            _reader.AdvanceTo(buffer.Start, buffer.End);
        }
    }

    private void Dispatch(JsonElement message)
    {
        if (message.TryGetProperty("event", out JsonElement name))
        {
            message.TryGetProperty("data", out JsonElement data);
            var received = new QmpEvent(name.GetString() ?? "", data);
            foreach (QmpSubscription subscription in _subscriptions.Keys)
            {
                subscription.Offer(received);
            }

            return;
        }

        // An answer whose caller gave up finds nobody waiting. QEMU answers without an id only to what it could not parse.
        if (!message.TryGetProperty("id", out JsonElement id) || !_pending.TryGetValue(id.GetString() ?? "", out Pending? pending))
        {
            return;
        }

        if (message.TryGetProperty("return", out JsonElement value))
        {
            pending.Answer.TrySetResult(value);
        }
        else
        {
            JsonElement error = message.GetProperty("error");
            pending.Answer.TrySetException(new QemuException(new QemuFault(
                pending.Command,
                error.GetProperty("class").GetString() ?? QemuFault.GenericError,
                error.GetProperty("desc").GetString() ?? "")));
        }
    }

    private void Close(string reason)
    {
        if (Interlocked.CompareExchange(ref _closeReason, reason, null) is not null)
        {
            return;
        }

        _stream.Dispose();
        foreach (Pending pending in _pending.Values)
        {
            pending.Answer.TrySetException(new QemuException(new QemuFault(pending.Command, QemuFault.Closed, reason)));
        }

        foreach (QmpSubscription subscription in _subscriptions.Keys)
        {
            subscription.End();
        }

        _closed.TrySetResult();
    }
}
