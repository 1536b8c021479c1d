using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace AssignHub.Lab;

/// <summary>Runs commands inside the lab through QEMU's guest agent. Any number may run at once over one connection.</summary>
internal sealed class Agent : IDisposable
{
    private const string FixedPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/lab/bin";

    // .NET maps the code that it compiles twice and flips its protection, to harden itself; each time the emulator throws its translations away.
    private static readonly string[] Environment =
        [$"PATH={FixedPath}", "HOME=/root", "LANG=C.UTF-8", "TERM=dumb", "USER=root", "DOTNET_EnableWriteXorExecute=0"];

    private readonly JsonChannel _channel;
    private readonly FileStream _turn;

    /// <summary>Whether a command was given up to which the agent had no answer any more, not even to being told to end it.</summary>
    public bool IsSilent { get; private set; }

    /// <summary>For how long it owes an answer; each of its calls is answered at once, however long what it runs takes.</summary>
    public TimeSpan Waiting => _channel.Waiting;

    private Agent(JsonChannel channel, FileStream turn)
    {
        _channel = channel;
        _turn = turn;
    }

    /// <summary>Takes a free connection of the lab whose state is in this folder, and waits until the lab answers on it.</summary>
    public static async Task<Agent> ConnectAsync(string state, CancellationToken cancel)
    {
        while (true)
        {
            for (int number = 1; number <= QemuCommand.Channels; number++)
            {
                string socket = Path.Combine(state, $"agent{number}.sock");
                if (!File.Exists(socket) || TryTake(socket + ".lock") is not { } turn)
                {
                    continue;
                }

                JsonChannel? channel = null;
                try
                {
                    channel = await JsonChannel.ConnectAsync(socket, cancel).ConfigureAwait(false);
                    await channel.SynchronizeAsync(Random.Shared.NextInt64(1L << 50), cancel).ConfigureAwait(false);
                    return new Agent(channel, turn);
                }
                catch (Exception exception)
                {
                    channel?.Dispose();
                    await turn.DisposeAsync().ConfigureAwait(false);

                    // QEMU names its sockets a moment before it listens on them.
                    if (exception is not SocketException { SocketErrorCode: SocketError.ConnectionRefused })
                    {
                        throw;
                    }
                }
            }

            await Task.Delay(50, cancel).ConfigureAwait(false);
        }
    }

    public async Task<ExecResult> ExecAsync(IReadOnlyList<string> command, CancellationToken cancel)
    {
        // A session of its own, so that a deadline can end all that it started; a daemon leaves it with setsid.
        var arguments = new JsonObject
        {
            ["path"] = "setsid",
            ["arg"] = new JsonArray([.. command.Select(word => (JsonNode)word)]),
            ["env"] = new JsonArray([.. Environment.Select(pair => (JsonNode)pair)]),
            ["capture-output"] = true,
        };
        JsonElement started = await StartAsync(arguments, cancel).ConfigureAwait(false);
        long pid = started.GetProperty("pid").GetInt64();
        try
        {
            var clock = Stopwatch.StartNew();
            while (true)
            {
                // Each call is its own: it must not be cut off by the deadline, which would leave the channel without use.
                JsonElement status = await _channel.CallAsync("guest-exec-status", new JsonObject { ["pid"] = pid }, CancellationToken.None)
                    .WaitAsync(cancel).ConfigureAwait(false);
                if (status.GetProperty("exited").GetBoolean())
                {
                    return new ExecResult(
                        status.TryGetProperty("exitcode", out JsonElement code) ? code.GetInt32() : 128 + status.GetProperty("signal").GetInt32(),
                        Data(status, "out-data"),
                        Data(status, "err-data"));
                }

                await Task.Delay(clock.ElapsedMilliseconds < 200 ? 10 : 50, cancel).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            IsSilent = !await KillSessionAsync(pid).ConfigureAwait(false);
            throw;
        }
    }

    public void Dispose()
    {
        _channel.Dispose();
        _turn.Dispose();
    }

    private async Task<JsonElement> StartAsync(JsonObject arguments, CancellationToken cancel)
    {
        try
        {
            return await _channel.CallAsync("guest-exec", arguments, cancel).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException)
        {
            // Not even begun: half a conversation is of no use to the next one.
            IsSilent = true;
            throw new OperationCanceledException("the agent does not answer", exception);
        }
    }

    /// <summary>Ends all that a command started; false if the agent does not answer.</summary>
    private async Task<bool> KillSessionAsync(long pid)
    {
        var arguments = new JsonObject { ["path"] = "/run/lab/busybox", ["arg"] = new JsonArray("kill", "-KILL", $"-{pid}") };
        try
        {
            await _channel.CallAsync("guest-exec", arguments, CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(5)).ConfigureAwait(false);
            return true;
        }
        catch (Exception exception) when (exception is TimeoutException or IOException or LabException or ObjectDisposedException)
        {
            // The lab itself does not answer: the caller learns of the deadline all the same.
            Trace.TraceWarning("lab: could not end session {0}: {1}", pid, exception.Message);
            return false;
        }
    }

    private static string Data(JsonElement status, string name) =>
        status.TryGetProperty(name, out JsonElement data) ? Encoding.UTF8.GetString(data.GetBytesFromBase64()) : "";

    private static FileStream? TryTake(string path)
    {
        try
        {
            return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
        }
        catch (IOException)
        {
            return null;
        }
    }
}
