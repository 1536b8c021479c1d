// The QMP client against a peer that speaks QMP's rules over a real Unix socket, and may misbehave as QEMU's end can.

using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using AssignHub.Engine.Guests;

namespace AssignHub.Tests.Unit.Guests;

public sealed class QmpClientTests : IDisposable
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(10);
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("qmp");

    private string SocketPath => Path.Combine(_directory.FullName, "q");

    [Fact]
    public async Task Connect_Greeting_VersionAndPeer()
    {
        await using var peer = new Peer(SocketPath);
        await using QmpClient client = await ConnectAsync(peer);
        Assert.Equal(new Version(10, 0, 2), client.Version);
        Assert.Equal(Environment.ProcessId, client.Peer.Pid);
    }

    [Fact]
    public async Task Execute_ManyInFlightAnsweredInReverse_EachGetsItsOwn()
    {
        await using var peer = new Peer(SocketPath);
        await using QmpClient client = await ConnectAsync(peer);
        Task<JsonElement>[] calls = [.. Enumerable.Range(0, 50).Select(i => client.ExecuteAsync("echo", new JsonObject { ["n"] = i }))];
        JsonNode[] requests = new JsonNode[calls.Length];
        for (int i = 0; i < requests.Length; i++)
        {
            requests[i] = await peer.ReadAsync();
        }

        foreach (JsonNode request in requests.Reverse())
        {
            await peer.SendAsync(new JsonObject { ["return"] = request["arguments"]!["n"]!.DeepClone(), ["id"] = request["id"]!.DeepClone() });
        }

        JsonElement[] answers = await Task.WhenAll(calls);
        Assert.Equal(Enumerable.Range(0, 50), answers.Select(answer => answer.GetInt32()));
    }

    [Fact]
    public async Task Execute_Error_CarriesClassWordsAndCommand()
    {
        await using var peer = new Peer(SocketPath);
        await using QmpClient client = await ConnectAsync(peer);
        Task<JsonElement> call = client.ExecuteAsync("device_del");
        JsonNode request = await peer.ReadAsync();
        var error = new JsonObject { ["class"] = "DeviceNotFound", ["desc"] = "Device 'x' not found" };
        await peer.SendAsync(new JsonObject { ["error"] = error, ["id"] = request["id"]!.DeepClone() });
        QemuException e = await Assert.ThrowsAsync<QemuException>(() => call);
        Assert.Equal(new QemuFault("device_del", "DeviceNotFound", "Device 'x' not found"), e.Fault);
    }

    [Fact]
    public async Task Execute_NoAnswer_TimesOutAndALateOneHurtsNobody()
    {
        await using var peer = new Peer(SocketPath);
        await using QmpClient client = await ConnectAsync(peer);
        Task<JsonElement> call = client.ExecuteAsync("slow", timeout: TimeSpan.FromMilliseconds(50));
        JsonNode slow = await peer.ReadAsync();
        QemuException e = await Assert.ThrowsAsync<QemuException>(() => call);
        Assert.Equal(QemuFault.Timeout, e.Fault.Class);
        await peer.SendAsync(new JsonObject { ["return"] = 1, ["id"] = slow["id"]!.DeepClone() });
        Task<JsonElement> next = client.ExecuteAsync("next");
        JsonNode request = await peer.ReadAsync();
        await peer.SendAsync(new JsonObject { ["return"] = 2, ["id"] = request["id"]!.DeepClone() });
        Assert.Equal(2, (await next).GetInt32());
    }

    [Fact]
    public async Task Execute_Cancelled_IsCancelled()
    {
        await using var peer = new Peer(SocketPath);
        await using QmpClient client = await ConnectAsync(peer);
        using var cancellation = new CancellationTokenSource();
        Task<JsonElement> call = client.ExecuteAsync("slow", cancellation: cancellation.Token);
        await peer.ReadAsync();
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call);
        Assert.False(client.Closed.IsCompleted);
    }

    [Fact]
    public async Task PeerGoes_CommandsAndEventsEndAtOnce()
    {
        await using var peer = new Peer(SocketPath);
        await using QmpClient client = await ConnectAsync(peer);
        using QmpSubscription events = client.Subscribe(_ => true);
        Task<JsonElement> call = client.ExecuteAsync("slow");
        await peer.ReadAsync();
        peer.HangUp();
        Assert.Equal(QemuFault.Closed, (await Assert.ThrowsAsync<QemuException>(() => call)).Fault.Class);
        await client.Closed.WaitAsync(Deadline);
        await Assert.ThrowsAsync<QemuException>(() => events.NextAsync(Deadline, TimeProvider.System));
        Assert.Equal(QemuFault.Closed, (await Assert.ThrowsAsync<QemuException>(() => client.ExecuteAsync("more"))).Fault.Class);
        using QmpSubscription late = client.Subscribe(_ => true);
        await Assert.ThrowsAsync<QemuException>(() => late.NextAsync(Deadline, TimeProvider.System));
    }

    [Theory]
    [InlineData("}{ not json")]
    [InlineData("[1]")]
    public async Task PeerTalksNonsense_ConnectionEndsAndCallersAreTold(string line)
    {
        await using var peer = new Peer(SocketPath);
        await using QmpClient client = await ConnectAsync(peer);
        Task<JsonElement> call = client.ExecuteAsync("x");
        await peer.ReadAsync();
        await peer.SendAsync(line);
        await client.Closed.WaitAsync(Deadline);
        Assert.Equal(QemuFault.Closed, (await Assert.ThrowsAsync<QemuException>(() => call)).Fault.Class);
    }

    [Theory]
    [InlineData("SSH-2.0-OpenSSH_9.2")]
    [InlineData("{}")]
    [InlineData("{\"QMP\": 1}")]
    [InlineData(null)]
    public async Task Connect_SomethingElseListens_QemuException(string? greeting)
    {
        await using var peer = new Peer(SocketPath);
        Task<QmpClient> connecting = QmpClient.ConnectAsync(SocketPath, Deadline, TimeProvider.System);
        await peer.AcceptAsync(greeting);
        Assert.Equal(QemuFault.Closed, (await Assert.ThrowsAsync<QemuException>(() => connecting)).Fault.Class);
    }

    [Fact]
    public async Task Subscribe_EventBeforeTheAnswer_IsNotMissed()
    {
        await using var peer = new Peer(SocketPath);
        await using QmpClient client = await ConnectAsync(peer);
        using QmpSubscription events = client.Subscribe(message => message.Text("device") == "a");
        Task<JsonElement> call = client.ExecuteAsync("device_del");
        JsonNode request = await peer.ReadAsync();
        await peer.SendEventAsync("DEVICE_DELETED", "b");
        await peer.SendEventAsync("DEVICE_DELETED", "a");
        await peer.SendAsync(new JsonObject { ["return"] = new JsonObject(), ["id"] = request["id"]!.DeepClone() });
        await call;
        QmpEvent? message = await events.NextAsync(Deadline, TimeProvider.System);
        Assert.Equal("DEVICE_DELETED", message?.Name);
        Assert.Null(await events.NextAsync(TimeSpan.FromMilliseconds(20), TimeProvider.System));
    }

    [Fact]
    public async Task Receive_LargeAnswerInPieces_IsPutTogether()
    {
        await using var peer = new Peer(SocketPath);
        await using QmpClient client = await ConnectAsync(peer);
        Task<JsonElement> call = client.ExecuteAsync("big");
        JsonNode request = await peer.ReadAsync();
        string big = new('x', 1 << 20);
        await peer.SendAsync(new JsonObject { ["return"] = big, ["id"] = request["id"]!.DeepClone() });
        Assert.Equal(big, (await call).GetString());
    }

    [Fact]
    public async Task Connect_NoGreeting_TimesOut()
    {
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(SocketPath));
        listener.Listen();
        QemuException e = await Assert.ThrowsAsync<QemuException>(
            () => QmpClient.ConnectAsync(SocketPath, TimeSpan.FromMilliseconds(100), TimeProvider.System));
        Assert.Equal(QemuFault.Timeout, e.Fault.Class);
    }

    [Fact]
    public async Task Connect_NobodyListens_SocketException() =>
        await Assert.ThrowsAsync<SocketException>(() => QmpClient.ConnectAsync(SocketPath, Deadline, TimeProvider.System));

    public void Dispose() => _directory.Delete(recursive: true);

    private async Task<QmpClient> ConnectAsync(Peer peer)
    {
        Task<QmpClient> connecting = QmpClient.ConnectAsync(SocketPath, Deadline, TimeProvider.System);
        await peer.AcceptAsync();
        return await connecting;
    }

    private sealed class Peer : IAsyncDisposable
    {
        private readonly Socket _listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        private NetworkStream? _stream;
        private StreamReader? _reader;

        internal Peer(string path)
        {
            _listener.Bind(new UnixDomainSocketEndPoint(path));
            _listener.Listen();
        }

        /// <summary>Greets with something that is not a greeting, or hangs up.</summary>
        internal async Task AcceptAsync(string? greeting)
        {
            _stream = new NetworkStream(await _listener.AcceptAsync(), ownsSocket: true);
            if (greeting is not null)
            {
                await SendAsync(greeting);
            }
            else
            {
                HangUp();
            }
        }

        internal async Task AcceptAsync()
        {
            _stream = new NetworkStream(await _listener.AcceptAsync(), ownsSocket: true);
            _reader = new StreamReader(_stream);
            await SendAsync("""{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": ["oob"]}}""");
            JsonNode request = await ReadAsync();
            Assert.Equal("qmp_capabilities", request["execute"]!.GetValue<string>());
            await SendAsync(new JsonObject { ["return"] = new JsonObject(), ["id"] = request["id"]!.DeepClone() });
        }

        internal async Task<JsonNode> ReadAsync() => JsonNode.Parse((await _reader!.ReadLineAsync().WaitAsync(Deadline))!)!;

        internal Task SendAsync(JsonNode message) => SendAsync(message.ToJsonString());

        internal Task SendEventAsync(string name, string device) => SendAsync(new JsonObject
        {
            ["event"] = name,
            ["data"] = new JsonObject { ["device"] = device },
            ["timestamp"] = new JsonObject { ["seconds"] = 1, ["microseconds"] = 2 },
        });

        internal async Task SendAsync(string line) => await _stream!.WriteAsync(Encoding.UTF8.GetBytes(line + "\r\n"));

        internal void HangUp() => _stream!.Dispose();

        public ValueTask DisposeAsync()
        {
            _stream?.Dispose();
            _listener.Dispose();
            return ValueTask.CompletedTask;
        }
    }
}
