// The event log as a stream: nothing missed and nothing twice over cuts, honest about what is gone, bounded, and ended with the service.

using System.Globalization;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;
using AssignHub.Db;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Operations;

namespace AssignHub.Tests.Api;

public sealed class EventStreamTests : IAsyncLifetime
{
    private const int Before = 9_500;
    private const int After = 10_000;
    // A cut is a cut: by itself the client would read on for a while to use the connection again.
    private static readonly HttpClient Reader = new(new SocketsHttpHandler { ResponseDrainTimeout = TimeSpan.Zero });
    private readonly Hub _hub = new();

    public Task InitializeAsync() => _hub.InitializeAsync();

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public async Task Stream_CutAtRandomOver10000Events_MissesNoneAndSeesNoneTwice()
    {
        await RestartWithAsync(Before, "");
        var random = new Random(6);
        Task telling = Task.Run(async () =>
        {
            using var store = new Store(_hub.Database, "synthetic");
            for (int i = 0; store.EventSpan().Newest < After; i++)
            {
                await _hub.SendAsync("POST", "/v1/guests", $$"""{ "name": "g{{i}}" }""");
                await _hub.SendAsync("DELETE", $"/v1/guests/g{i}");
            }
        });
        List<long> seen = [];
        string last = "0";
        int cuts = 0;
        while (seen.Count < After)
        {
            cuts++;
            int until = seen.Count < Before ? random.Next(1, 600) : random.Next(1, 60);
            await foreach ((string id, JsonNode? data) in ReadAsync(last, TimeSpan.FromMinutes(1)))
            {
                last = id;
                if (data is not null)
                {
                    Assert.Equal(id, (string?)data["id"]);
                    seen.Add(long.Parse(id, CultureInfo.InvariantCulture));
                    Assert.Equal(seen.Count, seen[^1]);
                    if (--until == 0 || seen.Count == After)
                    {
                        break;
                    }
                }
            }
        }

        await telling;
        Assert.InRange(cuts, 20, int.MaxValue);
        Assert.Equal(Enumerable.Range(1, seen.Count).Select(id => (long)id), seen);
    }

    [Fact]
    public async Task Stream_WithoutAnId_BeginsNow()
    {
        await _hub.SendAsync("POST", "/v1/guests", """{ "name": "early" }""");
        using var store = new Store(_hub.Database, "synthetic");
        long before = store.EventSpan().Newest;
        await using IAsyncEnumerator<(string Id, JsonNode? Data)> stream = ReadAsync(null, TimeSpan.FromSeconds(30)).GetAsyncEnumerator();

        Assert.True(await stream.MoveNextAsync());
        Assert.Equal((before.ToString(CultureInfo.InvariantCulture), null), stream.Current);
        await _hub.SendAsync("POST", "/v1/guests", """{ "name": "late" }""");
        Assert.True(await stream.MoveNextAsync());
        Assert.Equal(("operationStarted", "guest late"), ((string?)stream.Current.Data!["kind"], (string?)stream.Current.Data["subject"]));
    }

    [Fact]
    public async Task Events_OlderThanKept_AreToldToBeGone()
    {
        await RestartWithAsync(Store.EventsKept + 2000, "");

        foreach ((string accept, string cursor, int wanted) in ((string, string, int)[])
            [("text/event-stream", "5", 410), ("application/json", "5", 410), ("application/json", "2000", 200), ("text/event-stream", "999999", 410), ("text/event-stream", "x", 400)])
        {
            (int status, string body) = await AskAsync(accept, cursor);

            Assert.Equal((accept, cursor, wanted), (accept, cursor, status));
            Assert.Equal(wanted == 410, body.Contains("events_gone", StringComparison.Ordinal));
        }

        Assert.Equal("2001", (string?)(await _hub.SendAsync("GET", "/v1/events?limit=1")).Body!["items"]![0]!["id"]);
    }

    [Fact]
    public async Task Stream_ThatIsNotRead_IsDroppedAndItsPlaceIsFree()
    {
        await RestartWithAsync(12_000, new string('x', 2000));
        List<Socket> sleepers = [];
        for (int i = 0; i < AssignHub.Api.Events.EventStreams.MostPerClient; i++)
        {
            sleepers.Add(await SleepAsync());
        }

        (int refused, string body) = await AskAsync("text/event-stream", "12000");
        Assert.Equal(429, refused);
        Assert.Contains("rate_limited", body, StringComparison.Ordinal);

        int status = 429;
        for (int i = 0; i < 60 && status == 429; i++)
        {
            await Task.Delay(500);
            (status, _) = await AskAsync("text/event-stream", "12000");
        }

        sleepers.ForEach(sleeper => sleeper.Dispose());
        Assert.Equal(200, status);
    }

    [Fact]
    public async Task Stop_WithStreamsOpen_IsPrompt()
    {
        await using IAsyncEnumerator<(string Id, JsonNode? Data)> stream = ReadAsync(null, TimeSpan.FromSeconds(30)).GetAsyncEnumerator();
        await stream.MoveNextAsync();
        ValueTask<bool> next = stream.MoveNextAsync();
        DateTimeOffset begun = DateTimeOffset.UtcNow;

        await _hub.StopAsync();

        Assert.False(await next);
        Assert.InRange(DateTimeOffset.UtcNow - begun, TimeSpan.Zero, TimeSpan.FromSeconds(4));
        await _hub.StartAsync();
    }

    /// <summary>Starts the service anew on a log with so many events.</summary>
    private async Task RestartWithAsync(int events, string data)
    {
        await _hub.StopAsync();
        using (var store = new Store(_hub.Database, "synthetic"))
        {
            int there = (int)store.EventSpan().Newest;
            store.Write(Inventory.Empty, Inventory.Empty, null,
                [.. Enumerable.Range(there, events - there).Select(_ => new Event(0, DateTimeOffset.UnixEpoch, "told", "nothing", null, "test", data))]);
        }

        await _hub.StartAsync();
    }

    /// <summary>The status of a request, without waiting for the end of a stream.</summary>
    private async Task<(int Status, string Body)> AskAsync(string accept, string cursor)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"/v1/events?cursor={cursor}");
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(accept));
        using HttpResponseMessage answer = await _hub.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        return ((int)answer.StatusCode, answer.IsSuccessStatusCode ? "" : await answer.Content.ReadAsStringAsync());
    }

    /// <summary>Reads a stream as a browser does; data is null where there is only an id.</summary>
    private async IAsyncEnumerable<(string Id, JsonNode? Data)> ReadAsync(string? last, TimeSpan patience)
    {
        using var timer = new CancellationTokenSource(patience);
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(_hub.Url, "/v1/events"));
        request.Headers.Authorization = _hub.Client.DefaultRequestHeaders.Authorization;
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("text/event-stream"));
        if (last is not null)
        {
            request.Headers.Add("Last-Event-ID", last);
        }

        using HttpResponseMessage answer = await Reader.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, timer.Token);
        Assert.Equal((200, "text/event-stream"), ((int)answer.StatusCode, answer.Content.Headers.ContentType?.MediaType));
        using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync(timer.Token));
        string id = "";
        string kind = "";
        JsonNode? data = null;
        while (await reader.ReadLineAsync(timer.Token) is { } line)
        {
            switch (line.Split(": ", 2))
            {
                case ["id", var text]:
                    id = text;
                    break;
                case ["event", var text]:
                    kind = text;
                    break;
                case ["data", var text]:
                    data = JsonNode.Parse(text);
                    break;
                case [""]:
                    Assert.True(data is null || kind == (string?)data["kind"]);
                    yield return (id, data);
                    data = null;
                    break;
            }
        }
    }

    /// <summary>A client that asks for everything and reads nothing.</summary>
    private async Task<Socket> SleepAsync()
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { ReceiveBufferSize = 4096 };
        await socket.ConnectAsync(_hub.Url.Host, _hub.Url.Port);
        await socket.SendAsync(Encoding.ASCII.GetBytes(
            $"GET /v1/events?cursor=0 HTTP/1.1\r\nHost: hub\r\nAccept: text/event-stream\r\nAuthorization: {_hub.Client.DefaultRequestHeaders.Authorization}\r\n\r\n"));
        byte[] first = new byte[16];
        await socket.ReceiveAsync(first);
        return socket;
    }
}
