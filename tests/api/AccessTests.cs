// Who may do what: every route against every role, generated from the routes; tokens over HTTP and on the command line; denials in the event log.

using System.Diagnostics;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using AssignHub.Api.Http;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Routing;

namespace AssignHub.Tests.Api;

public sealed class AccessTests : IAsyncLifetime
{
    private readonly Hub _hub = new();

    public Task InitializeAsync() => _hub.InitializeAsync();

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public void Route_Any_DeclaresWhoMayUseIt()
    {
        Assert.All(_hub.Routes, route =>
        {
            string path = route.RoutePattern.RawText!;
            NeededRole? needed = route.Metadata.GetMetadata<NeededRole>();
            Assert.True(needed is null == (route.Metadata.GetMetadata<IAllowAnonymous>() is not null), $"{path} has no policy, or two");
            Assert.True(needed is null != path.StartsWith("/v1/", StringComparison.Ordinal), $"{path}: all of /v1 needs a role, and nothing else does");
            Assert.All(MethodsOf(route).Where(_ => needed is not null), method => Assert.Equal(Wanted(method, path), needed!.Role));
        });
        Assert.InRange(_hub.Routes.Count(), 40, 200);
    }

    [Fact]
    public async Task Matrix_EveryOperationAndRole_IsAllowedOrDeniedAsDeclared()
    {
        var clients = new Dictionary<string, HttpClient> { ["none"] = ClientWith(null), ["unknown"] = ClientWith("assignhub_AAAA") };
        foreach (Role role in Enum.GetValues<Role>())
        {
            clients[role.ToString()] = ClientWith(await CreateAsync(role.ToString(), role));
        }

        List<string> wrong = [];
        foreach (RouteEndpoint route in _hub.Routes)
        {
            string path = string.Join('/', route.RoutePattern.RawText!.Split('/').Select(part => part switch
            {
                "{address}" => "0000:7f:00.0",
                "{id}" => "4711",
                "{name}" => "nobody",
                _ => part,
            }));
            Role? needed = route.Metadata.GetMetadata<NeededRole>()?.Role;
            foreach (string method in MethodsOf(route))
            {
                foreach ((string who, HttpClient client) in clients)
                {
                    int wanted = needed is null ? 0 : !Enum.TryParse(who, out Role role) ? 401 : role < needed ? 403 : 0;
                    using var request = new HttpRequestMessage(new HttpMethod(method), path)
                    {
                        Content = method is "GET" or "DELETE" ? null : new StringContent("{}", Encoding.UTF8, "application/json"),
                    };
                    using HttpResponseMessage answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
                    int status = (int)answer.StatusCode;
                    string code = status is 401 or 403 ? (string)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["code"]! : "";
                    if (wanted == 0 ? status is 401 or 403 or >= 500 : status != wanted || code != (wanted == 401 ? "unauthenticated" : "forbidden"))
                    {
                        wrong.Add($"{method} {path} as {who}: {status} {code}, and not {wanted}");
                    }
                }
            }
        }

        Assert.Empty(wrong);
    }

    [Fact]
    public async Task Denied_AnyRequest_IsToldWithWhoAndWhatAndFromWhere()
    {
        using HttpClient viewer = ClientWith(await CreateAsync("looker", Role.Viewer));

        using HttpResponseMessage answer = await viewer.PostAsync($"/v1/devices/{Hub.Nic}/reset", null);
        JsonNode problem = JsonNode.Parse(await answer.Content.ReadAsStringAsync())!;
        using HttpClient stranger = ClientWith(null);
        await stranger.GetAsync("/v1/host");

        Assert.Equal(("The token's role is viewer; this needs operator.", 403), ((string?)problem["detail"], (int)answer.StatusCode));
        Assert.Contains("token create", (string?)problem["refusals"]![0]!["remedy"], StringComparison.Ordinal);
        JsonNode[] told = await EventsAsync("denied");
        Assert.Equal([("looker", $"POST /v1/devices/{Hub.Nic}/reset"), ("anonymous", "GET /v1/host")],
            told.Select(happened => ((string)happened["actor"]!, (string)happened["subject"]!)));
        Assert.All(told, happened => Assert.Contains("from 127.0.0.1", (string?)happened["data"], StringComparison.Ordinal));
    }

    [Fact]
    public async Task Denied_WithoutEnd_DoesNotFillTheLog()
    {
        using HttpClient stranger = ClientWith("wrong");
        await Task.WhenAll(Enumerable.Range(0, 200).Select(_ => stranger.GetAsync("/v1/host")));
        await Task.Delay(1100);
        await stranger.GetAsync("/v1/host");

        JsonNode[] told = await EventsAsync("denied");

        Assert.InRange(told.Length, 2, 150);
        Assert.Equal(201, told.Length + told.Sum(happened => Untold((string)happened["data"]!)));
    }

    [Fact]
    public async Task Token_FromItsMakingToItsEnd_IsShownOnceAndWorksUntilRevoked()
    {
        (int status, JsonNode? made) = await _hub.SendAsync("POST", "/v1/tokens", """{ "name": "ansible@ci", "role": "operator" }""");
        string secret = (string)made!["token"]!;
        using HttpClient client = ClientWith(secret);
        (_, JsonNode? unused) = await _hub.SendAsync("GET", $"/v1/tokens/{made["id"]}");
        using HttpResponseMessage used = await client.PostAsync("/v1/guests?dryRun=true", new StringContent("""{ "name": "web01" }""", Encoding.UTF8, "application/json"));
        (_, JsonNode? list) = await _hub.SendAsync("GET", "/v1/tokens");

        Assert.Equal((201, 200), (status, (int)used.StatusCode));
        Assert.Equal(("ansible@ci", "operator", null, null), ((string?)unused!["name"], (string?)unused["role"], unused["lastUsedAt"], unused["token"]));
        JsonNode shown = Assert.Single(list!["items"]!.AsArray())!;
        Assert.NotNull(shown["lastUsedAt"]);
        Assert.Null(shown["token"]);
        Assert.DoesNotContain(secret, Encoding.Latin1.GetString(await ReadDatabaseAsync()), StringComparison.Ordinal);

        Assert.Equal(204, (await _hub.SendAsync("DELETE", $"/v1/tokens/{made["id"]}")).Status);
        Assert.Equal(401, (int)(await client.GetAsync("/v1/host")).StatusCode);
        Assert.Equal(404, (await _hub.SendAsync("DELETE", $"/v1/tokens/{made["id"]}")).Status);
        Assert.Equal("token ansible@ci", (string?)Assert.Single(await EventsAsync("tokenCreated"))["subject"]);
        Assert.Equal("admin", (string?)Assert.Single(await EventsAsync("tokenRevoked"))["actor"]);
    }

    [Fact]
    public async Task Stream_OfARevokedToken_Ends()
    {
        (_, JsonNode? made) = await _hub.SendAsync("POST", "/v1/tokens", """{ "name": "listener", "role": "viewer" }""");
        using HttpClient client = ClientWith((string)made!["token"]!);
        using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/events");
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("text/event-stream"));
        using HttpResponseMessage answer = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);

        await _hub.SendAsync("DELETE", $"/v1/tokens/{made["id"]}");

        Assert.DoesNotContain("tokenRevoked", await answer.Content.ReadAsStringAsync().WaitAsync(TimeSpan.FromSeconds(10)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Token_PastItsTime_IsUnknown()
    {
        string secret = await CreateAsync("brief", Role.Viewer, DateTimeOffset.UtcNow.AddSeconds(3));
        using HttpClient client = ClientWith(secret);

        Assert.Equal(200, (int)(await client.GetAsync("/v1/host")).StatusCode);
        await Task.Delay(3100);
        Assert.Equal(401, (int)(await client.GetAsync("/v1/host")).StatusCode);
    }

    [Theory]
    [InlineData("""{ "name": "a", "role": "root" }""")]
    [InlineData("""{ "name": "a", "role": 2 }""")]
    [InlineData("""{ "name": "a" }""")]
    [InlineData("""{ "name": "", "role": "viewer" }""")]
    [InlineData("""{ "name": "admin", "role": "viewer" }""")]
    [InlineData("""{ "name": "a\nb", "role": "viewer" }""")]
    [InlineData("""{ "name": "a", "role": "viewer", "expiresAt": "2001-01-01T00:00:00Z" }""")]
    [InlineData("""{ "name": "a", "role": "viewer", "expiresAt": "soon" }""")]
    [InlineData("""{ "name": "taken", "role": "viewer" }""")]
    public async Task Token_Malformed_Is400(string body)
    {
        await CreateAsync("taken", Role.Viewer);

        (int status, JsonNode? problem) = await _hub.SendAsync("POST", "/v1/tokens", body);

        Assert.Equal((400, "validation_failed"), (status, (string?)problem!["code"]));
    }

    [Fact]
    public async Task Token_WithAKey_IsTheSameAgainAndNotMadeTwice()
    {
        string[] answers = [await PostAsync(), await PostAsync()];

        Assert.Equal(answers[0], answers[1]);
        Assert.StartsWith("assignhub_", (string?)JsonNode.Parse(answers[1])!["token"], StringComparison.Ordinal);
        Assert.DoesNotContain((string)JsonNode.Parse(answers[1])!["token"]!, Encoding.Latin1.GetString(await ReadDatabaseAsync()), StringComparison.Ordinal);

        async Task<string> PostAsync()
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/tokens") { Content = new StringContent("""{ "name": "once", "role": "viewer" }""", Encoding.UTF8, "application/json") };
            request.Headers.Add("Idempotency-Key", "k1");
            using HttpResponseMessage answer = await _hub.Client.SendAsync(request);
            return await answer.Content.ReadAsStringAsync();
        }
    }

    [Fact]
    public async Task Revoke_WithIfMatch_TwoAtOnce_OneWins()
    {
        (_, JsonNode? made) = await _hub.SendAsync("POST", "/v1/tokens", """{ "name": "a", "role": "viewer" }""");
        using HttpResponseMessage shown = await _hub.Client.GetAsync($"/v1/tokens/{made!["id"]}");

        Assert.Equal((412, 204), (await RevokeAsync("\"stale\""), await RevokeAsync(shown.Headers.ETag!.Tag)));

        async Task<int> RevokeAsync(string tag)
        {
            using var request = new HttpRequestMessage(HttpMethod.Delete, $"/v1/tokens/{made["id"]}");
            request.Headers.TryAddWithoutValidation("If-Match", tag);
            using HttpResponseMessage answer = await _hub.Client.SendAsync(request);
            return (int)answer.StatusCode;
        }
    }

    [Fact]
    public async Task CommandLine_WhileTheServiceRuns_MakesAndRevokes()
    {
        (int made, string secret) = await RunAsync("create", "--name", "console", "--role", "viewer");
        (int again, _) = await RunAsync("create", "--name", "console", "--role", "viewer");
        using HttpClient client = ClientWith(secret.Trim());
        await Task.Delay(600);
        int before = (int)(await client.GetAsync("/v1/host")).StatusCode;
        (_, string list) = await RunAsync("list");
        (int revoked, _) = await RunAsync("revoke", "console");
        (int gone, _) = await RunAsync("revoke", "console");
        await Task.Delay(600);
        int after = (int)(await client.GetAsync("/v1/host")).StatusCode;

        Assert.Equal((0, 1, 200, 0, 1, 401), (made, again, before, revoked, gone, after));
        Assert.Contains("viewer", list, StringComparison.Ordinal);
        Assert.Contains("on the console", (string?)Assert.Single(await EventsAsync("tokenRevoked"))["actor"], StringComparison.Ordinal);
        await _hub.SendAsync("POST", "/v1/guests", """{ "name": "web01" }""");
        Assert.NotEmpty(await EventsAsync("operationSucceeded"));
    }

    private static Role Wanted(string method, string path) =>
        path.Contains("/tokens", StringComparison.Ordinal) || path.EndsWith("/override", StringComparison.Ordinal) ? Role.Admin : method == "GET" ? Role.Viewer : Role.Operator;

    private static IReadOnlyList<string> MethodsOf(RouteEndpoint route) => route.Metadata.GetMetadata<IHttpMethodMetadata>()?.HttpMethods ?? ["GET"];

    private static int Untold(string data) => data.Split("; ") is [_, var more] ? int.Parse(more.Split(' ')[0], System.Globalization.CultureInfo.InvariantCulture) : 0;

    private HttpClient ClientWith(string? token)
    {
        var client = new HttpClient(new ContractHandler(new SocketsHttpHandler { AllowAutoRedirect = false, ResponseDrainTimeout = TimeSpan.Zero })) { BaseAddress = _hub.Url };
        client.DefaultRequestHeaders.Authorization = token is null ? null : new AuthenticationHeaderValue("Bearer", token);
        return client;
    }

    private async Task<string> CreateAsync(string name, Role role, DateTimeOffset? end = null)
    {
        (int status, JsonNode? made) = await _hub.SendAsync("POST", "/v1/tokens",
            $$"""{ "name": "{{name}}", "role": "{{role.ToString().ToLowerInvariant()}}"{{(end is { } at ? $", \"expiresAt\": \"{at:O}\"" : "")}} }""");
        Assert.Equal(201, status);
        return (string)made!["token"]!;
    }

    private async Task<JsonNode[]> EventsAsync(string kind) =>
        [.. (await _hub.SendAsync("GET", "/v1/events?limit=1000")).Body!["items"]!.AsArray().Where(happened => (string?)happened!["kind"] == kind)!];

    private async Task<byte[]> ReadDatabaseAsync()
    {
        await using var file = new FileStream(_hub.Database, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        await using var log = new FileStream($"{_hub.Database}-wal", FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        using var both = new MemoryStream();
        await file.CopyToAsync(both);
        await log.CopyToAsync(both);
        return both.ToArray();
    }

    private async Task<(int Status, string Output)> RunAsync(params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo("dotnet",
            [typeof(AssignHub.Api.Service).Assembly.Location, "token", .. arguments, "--data", _hub.Data, "--proc", _hub.Host.ProcRoot])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        string output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, output);
    }
}
