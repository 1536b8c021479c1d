// Every operation of openapi.yaml is brought to every status that it documents, and each answer is held to its schema (ContractHandler).

using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using AssignHub.Engine.Pci;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Api;

public sealed class ContractTests : IAsyncLifetime
{
    private static readonly OpenApiFile Document = OpenApiFile.Committed;
    private static readonly HttpClient Client = new(new ContractHandler(new SocketsHttpHandler { Expect100ContinueTimeout = TimeSpan.FromSeconds(10) }));
    // Starting a guest fails here in the same way on every machine.
    private readonly Hub _hub = new() { Adjust = settings => settings with { Qemu = "qemu-that-is-not-there" } };
    private AuthenticationHeaderValue _viewer = null!;
    private int _keys;

    public async Task InitializeAsync()
    {
        PciAddress port = PciAddress.Parse("0000:00:05.0");
        _hub.Host.Add(new SyntheticDevice(port)
        {
            VendorId = 0x1b36, DeviceId = 0x000c, ClassCode = 0x060400, Buses = (7, 7), PcieType = PcieType.RootPort, Driver = "pcieport", Group = 7,
        });
        _hub.Host.Add(new SyntheticDevice(Provocations.Physical) { Parent = port, DeviceId = 0x10c9, Driver = "igb", Group = 20, TotalVfs = 4 });
        _hub.Host.AddDriver("igbvf", 0x8086, 0x10ca);
        Provocations.Plug(_hub, Provocations.Serial);
        await _hub.InitializeAsync();
        (_, JsonNode? looker) = await _hub.SendAsync("POST", "/v1/tokens", """{ "name": "looker", "role": "viewer" }""");
        _viewer = new AuthenticationHeaderValue("Bearer", (string)looker!["token"]!);
    }

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public async Task EveryOperation_EveryDocumentedStatus_IsAnsweredAsDocumented()
    {
        List<string> wrong = [];
        foreach (DocumentedOperation operation in Document.Operations)
        {
            Asked[] rows = [.. Provocations.Good.Concat(Provocations.Others).Where(row => row.Operation == operation.Id)];
            if (rows.Length == 0)
            {
                wrong.Add($"{operation.Id} has no row in Provocations.Good");
                continue;
            }

            foreach (int status in operation.Statuses)
            {
                if (IsExcused(operation.Id, status))
                {
                    continue;
                }

                if ((Array.Find(rows, row => row.Status == status) ?? Derivations.Of(operation, rows[0], status)) is not { } asked)
                {
                    wrong.AddRange(IsExcused("*", status) ? [] : (string[])[$"{operation.Id} {status}: no provocation, and no reason in Provocations.Excused"]);
                    continue;
                }

                (int seen, string body) = await AskAsync(operation, asked, status);
                wrong.AddRange(seen == status ? [] : (string[])[$"{operation.Id} {status}: {operation.Method} {asked.Path} answered {seen} {body}"]);
            }
        }

        Assert.True(wrong.Count == 0, string.Join('\n', wrong));
    }

    [Fact]
    public void Rows_All_AreOfOperationsThatThereAre()
    {
        HashSet<string> known = [.. Document.Operations.Select(operation => operation.Id)];

        Assert.All(Provocations.Good.Concat(Provocations.Others).Select(row => row.Operation).Concat(Provocations.Excused.Select(excused => excused.Operation)),
            id => Assert.True(id == "*" || known.Contains(id), id));
        Assert.Equal(Provocations.Good.Length, Provocations.Good.DistinctBy(row => row.Operation).Count());
    }

    private static bool IsExcused(string operation, int status) => Array.Exists(Provocations.Excused, known => known.Operation == operation && known.Status == status);

    private async Task<(int Status, string Body)> AskAsync(DocumentedOperation operation, Asked asked, int status)
    {
        string last = "";
        foreach (string given in asked.Given)
        {
            string[] words = given.Split(' ', 3);
            (int done, JsonNode? made) = await _hub.SendAsync(words[0], words[1], words.ElementAtOrDefault(2));
            Assert.True(done is 200 or 201, $"{operation.Id} {status}, given {given}: {done} {made?.ToJsonString()}");
            last = (string?)made?["id"] ?? "";
        }

        IDisposable? undo = asked.Before is { } before ? await before(_hub) : null;
        string path = asked.Path.Replace("{last}", last, StringComparison.Ordinal);
        if (path.Contains("{newest}", StringComparison.Ordinal))
        {
            path = path.Replace("{newest}", (string?)(await _hub.SendAsync("GET", "/v1/operations?limit=1")).Body!["items"]![0]!["id"], StringComparison.Ordinal);
        }

        using HttpRequestMessage request = Request(operation, asked with { Path = path }, status);
        if (status == 304)
        {
            using HttpResponseMessage first = await _hub.Client.GetAsync(path);
            request.Headers.IfNoneMatch.Add(first.Headers.ETag!);
        }
        else if (status == 422)
        {
            using var other = new HttpRequestMessage(HttpMethod.Post, new Uri(_hub.Url, "/v1/host/rescan?other=true")) { Headers = { Authorization = _hub.Client.DefaultRequestHeaders.Authorization } };
            other.Headers.Add("Idempotency-Key", $"k{_keys}");
            (await Client.SendAsync(other)).Dispose();
        }

        using HttpResponseMessage answer = await Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        string body = answer.Content.Headers.ContentType?.MediaType == "text/event-stream" ? "" : await answer.Content.ReadAsStringAsync();
        undo?.Dispose();
        await CleanAsync(operation.Method != "GET" || asked.Given.Length > 0, asked.Before is not null);
        return ((int)answer.StatusCode, body);
    }

    private HttpRequestMessage Request(DocumentedOperation operation, Asked asked, int status)
    {
        var request = new HttpRequestMessage(new HttpMethod(operation.Method), new Uri(_hub.Url, asked.Path));
        request.Headers.Authorization = status == 401 ? null : status == 403 ? _viewer : _hub.Client.DefaultRequestHeaders.Authorization;
        if (asked.Body is { } body)
        {
            request.Content = new StringContent(body, Encoding.UTF8, status == 415 ? "text/plain" : "application/json");
        }

        // Without it a change is answered with 202; and 413 comes before the body is sent, as to curl.
        request.Headers.ExpectContinue = status == 413;
        if (status != 202)
        {
            request.Headers.Add("Prefer", "wait=30");
        }

        if (status is 422 or 413 && operation.Method == "POST")
        {
            request.Headers.Add("Idempotency-Key", string.Create(CultureInfo.InvariantCulture, $"k{++_keys}"));
        }

        foreach ((string name, string value) in asked.Headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        return request;
    }

    /// <summary>Takes away what a provocation left.</summary>
    private async Task CleanAsync(bool changed, bool host)
    {
        if (host)
        {
            await _hub.SendAsync("POST", "/v1/host/rescan");
            await _hub.SendAsync("POST", $"/v1/devices/{Hub.Nic}/clear");
        }

        for (bool left = changed; left;)
        {
            left = false;
            foreach ((string list, string key) in ((string, string)[])[("/v1/guests", "name"), ("/v1/containers", "id"), ("/v1/tokens", "id")])
            {
                foreach (JsonNode? item in (await _hub.SendAsync("GET", list)).Body!["items"]!.AsArray().Where(item => (string?)item!["name"] != "looker"))
                {
                    left |= (await _hub.SendAsync("DELETE", $"{list}/{item![key]}{(list == "/v1/guests" ? "?force=true" : "")}")).Status is not 404;
                }
            }
        }

        if (changed)
        {
            await _hub.SendAsync("DELETE", $"/v1/devices/{Hub.UsedDisk}/override");
            await _hub.SendAsync("PUT", $"/v1/devices/{Provocations.Physical}/sriov", """{ "numVfs": 0 }""");
        }
    }
}
