using System.Net.Sockets;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace AssignHub.Lab;

/// <summary>
/// One conversation in lines of JSON over a Unix socket: both QEMU's monitor (QMP) and its guest agent speak
/// <c>{"execute": …}</c> and answer <c>{"return": …}</c> or <c>{"error": …}</c>. Calls are made one at a time.
/// </summary>
internal sealed class JsonChannel : IDisposable
{
    private readonly Socket _socket;
    private readonly StreamReader _reader;
    private readonly NetworkStream _stream;
    private readonly SemaphoreSlim _turn = new(1, 1);
    private bool _broken;
    private long _asked;

    private JsonChannel(Socket socket)
    {
        _socket = socket;
        _stream = new NetworkStream(socket, ownsSocket: true);
        _reader = new StreamReader(_stream, bufferSize: 1 << 16);
    }

    public static async Task<JsonChannel> ConnectAsync(string path, CancellationToken cancel)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancel).ConfigureAwait(false);
            return new JsonChannel(socket);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Calls a command and gives what it returned.</summary>
    public async Task<JsonElement> CallAsync(string command, JsonObject? arguments, CancellationToken cancel)
    {
        var request = new JsonObject { ["execute"] = command };
        if (arguments is not null)
        {
            request["arguments"] = arguments;
        }

        await _turn.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            // An answer that nobody waited for would be taken for the next one's.
            ObjectDisposedException.ThrowIf(_broken, this);
            _broken = true;
            Interlocked.Exchange(ref _asked, Environment.TickCount64);
            await _stream.WriteAsync(JsonSerializer.SerializeToUtf8Bytes(request).Append((byte)'\n').ToArray(), cancel).ConfigureAwait(false);
            while (true)
            {
                JsonElement answer = await ReadAsync(cancel).ConfigureAwait(false);
                if (answer.TryGetProperty("return", out JsonElement result))
                {
                    _broken = false;
                    return result;
                }

                if (answer.TryGetProperty("error", out JsonElement error))
                {
                    _broken = false;
                    throw new LabException($"{command}: {error.GetProperty("desc").GetString()}");
                }
            }
        }
        finally
        {
            Interlocked.Exchange(ref _asked, 0);
            _turn.Release();
        }
    }

    /// <summary>For how long the present call has had no answer; zero if none is under way.</summary>
    public TimeSpan Waiting => Interlocked.Read(ref _asked) is var asked && asked == 0 ? TimeSpan.Zero : TimeSpan.FromMilliseconds(Environment.TickCount64 - asked);

    /// <summary>Reads until an answer to <c>guest-sync</c> with this number: whatever came before was meant for others.</summary>
    public async Task SynchronizeAsync(long number, CancellationToken cancel)
    {
        await _turn.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            // 0xFF makes the agent drop half a request that an earlier client may have left.
            byte[] request = [0xFF, .. JsonSerializer.SerializeToUtf8Bytes(
                new JsonObject { ["execute"] = "guest-sync", ["arguments"] = new JsonObject { ["id"] = number } }), (byte)'\n'];
            await _stream.WriteAsync(request, cancel).ConfigureAwait(false);
            JsonElement answer;
            do
            {
                answer = await ReadAsync(cancel).ConfigureAwait(false);
            }
            while (!answer.TryGetProperty("return", out JsonElement result)
                || result.ValueKind != JsonValueKind.Number || result.GetInt64() != number);
        }
        finally
        {
            _turn.Release();
        }
    }

    /// <summary>Reads the next line, such as QMP's greeting.</summary>
    public async Task<JsonElement> ReadAsync(CancellationToken cancel)
    {
        string line = await _reader.ReadLineAsync(cancel).ConfigureAwait(false) ?? throw new IOException("the lab's QEMU closed the connection");
        return JsonElement.Parse(line);
    }

    public void Dispose()
    {
        _reader.Dispose();
        _socket.Dispose();
        _turn.Dispose();
    }
}
