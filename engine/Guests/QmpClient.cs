// A QMP client: QEMU's monitor protocol, one JSON object a line over a Unix socket (docs/interop/qmp-spec.rst of QEMU).

using System.Buffers;
using System.Collections.Concurrent;
using System.Globalization;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace AssignHub.Engine.Guests;

/// <summary>Who listens at the other end of the socket, by the kernel's word (<c>SO_PEERCRED</c>, unix(7)).</summary>
/// <param name="Pid">The process that listens.</param>
/// <param name="Uid">Its user.</param>
/// <param name="Gid">Its group.</param>
[StructLayout(LayoutKind.Sequential)]
public readonly record struct QmpPeer(int Pid, uint Uid, uint Gid);

/// <summary>
/// A connection to one QEMU. Any number of commands may be under way; QEMU answers in any order and the ids tell which is which.
/// A QMP socket serves one client at a time: while another one is connected, a new one gets no greeting.
/// </summary>
public sealed partial class QmpClient : IAsyncDisposable
{
    /// <summary>How long a command may take if its caller names no deadline.</summary>
    public static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(30);

    private readonly Socket _socket;
    private readonly NetworkStream _stream;
    private readonly PipeReader _reader;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _writing = new(1, 1);
    private readonly ConcurrentDictionary<string, Pending> _pending = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<QmpSubscription, bool> _subscriptions = new();
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private Task _receiving = Task.CompletedTask;
    private volatile string? _closeReason;
    private long _lastId;

    private QmpClient(Socket socket, TimeProvider time)
    {
        _socket = socket;
        _stream = new NetworkStream(socket, ownsSocket: true);
        _reader = PipeReader.Create(_stream);
        _time = time;
        Span<byte> credentials = stackalloc byte[Marshal.SizeOf<QmpPeer>()];
        socket.GetRawSocketOption(Libc.SOL_SOCKET, Libc.SO_PEERCRED, credentials);
        Peer = MemoryMarshal.Read<QmpPeer>(credentials);
    }

    /// <summary>The QEMU process itself.</summary>
    public QmpPeer Peer { get; }

    /// <summary>QEMU's version, from its greeting.</summary>
    public Version Version { get; private set; } = new();

    /// <summary>Ends when the connection does, whichever side ended it; it never faults. QEMU's death is noticed here at once.</summary>
    public Task Closed => _closed.Task;

    /// <summary>Connects, reads the greeting and leaves the negotiation mode.</summary>
    /// <param name="path">The socket.</param>
    /// <param name="timeout">For all of it.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <exception cref="SocketException">Nobody listens there.</exception>
    /// <exception cref="QemuException">It does not greet as QEMU does, or not in time.</exception>
    public static async Task<QmpClient> ConnectAsync(string path, TimeSpan timeout, TimeProvider time, CancellationToken cancellation = default)
    {
        using var timer = new CancellationTokenSource(timeout, time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellation);
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        QmpClient? client = null;
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), either.Token).ConfigureAwait(false);
            client = new QmpClient(socket, time);
            await client.GreetAsync(either.Token).ConfigureAwait(false);
            client._receiving = client.ReceiveAsync();
            await client.ExecuteAsync("qmp_capabilities", timeout: timeout, cancellation: either.Token).ConfigureAwait(false);
            return client;
        }
        catch (Exception e)
        {
            socket.Dispose();
            if (client is not null)
            {
                await client.DisposeAsync().ConfigureAwait(false);
            }

            QemuFault? fault = e switch
            {
                OperationCanceledException when timer.IsCancellationRequested && !cancellation.IsCancellationRequested =>
                    new QemuFault("qmp_capabilities", QemuFault.Timeout, "no greeting: another client may hold the monitor"),
                IOException => new QemuFault("qmp_capabilities", QemuFault.Closed, $"the connection to QEMU failed: {e.Message}"),
                JsonException or KeyNotFoundException or InvalidOperationException and not ObjectDisposedException =>
                    new QemuFault("qmp_capabilities", QemuFault.Closed, "the socket does not speak QMP"),
                _ => null,
            };
            if (fault is not null)
            {
                throw new QemuException(fault, e);
            }

            throw;
        }
    }

    /// <summary>Sends a command and waits for its answer.</summary>
    /// <param name="command">Its name.</param>
    /// <param name="arguments">Its arguments, or null.</param>
    /// <param name="timeout">How long QEMU may take; null for <see cref="DefaultTimeout"/>. The command is not undone when it passes.</param>
    /// <param name="cancellation">Gives up waiting.</param>
    /// <returns>What QEMU returned.</returns>
    /// <exception cref="QemuException">QEMU refused, is gone, or took too long.</exception>
    public Task<JsonElement> ExecuteAsync(
        string command, JsonObject? arguments = null, TimeSpan? timeout = null, CancellationToken cancellation = default) =>
        ExecuteAsync(command, arguments, file: null, timeout, cancellation);

    /// <summary>
    /// Gives QEMU an open file under a name (<c>getfd</c>; the descriptor travels as SCM_RIGHTS with the command). QEMU has its own copy
    /// afterwards and the caller may close his.
    /// </summary>
    public async Task SendFileAsync(string name, SafeHandle file, CancellationToken cancellation = default) =>
        await ExecuteAsync("getfd", new JsonObject { ["fdname"] = name }, file, timeout: null, cancellation).ConfigureAwait(false);

    /// <summary>Listens from now on to the events that <paramref name="filter"/> lets through. Dispose it to stop.</summary>
    public QmpSubscription Subscribe(Func<QmpEvent, bool> filter)
    {
        var subscription = new QmpSubscription(filter, gone => _subscriptions.TryRemove(gone, out _));
        _subscriptions[subscription] = true;
        if (_closeReason is not null)
        {
            subscription.End();
        }

        return subscription;
    }

    /// <summary>Closes the connection. QEMU goes on and waits for the next client.</summary>
    public async ValueTask DisposeAsync()
    {
        Close("the connection was closed by AssignHub");
        await _receiving.ConfigureAwait(false);
    }

    private async Task<JsonElement> ExecuteAsync(
        string command, JsonObject? arguments, SafeHandle? file, TimeSpan? timeout, CancellationToken cancellation)
    {
        using var timer = new CancellationTokenSource(timeout ?? DefaultTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellation);
        string id = Interlocked.Increment(ref _lastId).ToString(CultureInfo.InvariantCulture);
        var pending = new Pending(command);
        _pending[id] = pending;
        try
        {
            if (_closeReason is { } reason)
            {
                throw new QemuException(new QemuFault(command, QemuFault.Closed, reason));
            }

            await WriteAsync(Encode(command, arguments, id), file, either.Token).ConfigureAwait(false);
            return await pending.Answer.Task.WaitAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException e) when (timer.IsCancellationRequested && !cancellation.IsCancellationRequested)
        {
            throw new QemuException(new QemuFault(command, QemuFault.Timeout, "QEMU did not answer in time"), e);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            Close(e.Message);
            throw new QemuException(new QemuFault(command, QemuFault.Closed, "the connection to QEMU ended"), e);
        }
        finally
        {
            _pending.TryRemove(id, out _);
        }
    }

    private static ReadOnlyMemory<byte> Encode(string command, JsonObject? arguments, string id)
    {
        var buffer = new ArrayBufferWriter<byte>(256);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartObject();
            writer.WriteString("execute", command);
            if (arguments is not null)
            {
                writer.WritePropertyName("arguments");
                arguments.WriteTo(writer);
            }

            writer.WriteString("id", id);
            writer.WriteEndObject();
        }

        buffer.Write("\n"u8);
        return buffer.WrittenMemory;
    }

    private async Task WriteAsync(ReadOnlyMemory<byte> line, SafeHandle? file, CancellationToken cancellation)
    {
        await _writing.WaitAsync(cancellation).ConfigureAwait(false);
        try
        {
            if (file is not null)
            {
                line = line[QmpFile.Send(_socket.SafeHandle, line.Span, file)..];
            }

            await _stream.WriteAsync(line, cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // Half a line may be on its way: nothing that follows it would be understood.
            Close("a command could not be sent in time");
            throw;
        }
        finally
        {
            _writing.Release();
        }
    }

    private sealed record Pending(string Command)
    {
        internal TaskCompletionSource<JsonElement> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
