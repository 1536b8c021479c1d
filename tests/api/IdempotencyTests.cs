// Idempotency-Key: the same answer again, also after a kill at any instant, and nothing done twice.

using System.Text;
using System.Text.Json.Nodes;
using AssignHub.Db;
using AssignHub.Engine.Operations;
using Microsoft.Data.Sqlite;

namespace AssignHub.Tests.Api;

public sealed class IdempotencyTests : IAsyncLifetime
{
    private const string Reset = $"/v1/devices/{Hub.Nic}/reset";
    private readonly Hub _hub = new();

    public async Task InitializeAsync()
    {
        await _hub.InitializeAsync();
        Assert.Equal(201, (await _hub.SendAsync("POST", "/v1/containers", $$"""{ "group": {{Hub.NicGroup}} }""")).Status);
    }

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Theory]
    [InlineData("wait=30")]
    [InlineData(null)]
    public async Task Post_Again_GetsTheSameAnswerAndDoesNothing(string? prefer)
    {
        string body = """{ "name": "web01" }""";
        Seen first = await SendAsync("/v1/guests", body, "k1", prefer);
        Seen again = await SendAsync("/v1/guests", body, "k1", prefer);
        await _hub.StopAsync();
        await _hub.StartAsync();
        Seen afterRestart = await SendAsync("/v1/guests", body, "k1", prefer);
        Seen otherKey = await SendAsync(Reset, "", "k2", prefer);
        Seen otherKeyAgain = await SendAsync(Reset, "", "k2", prefer);

        Assert.Equal(prefer is null ? 202 : 201, first.Status);
        Assert.NotNull(first.Location);
        Assert.Equal((first, first), (again, afterRestart));
        Assert.Equal(otherKey, otherKeyAgain);
        Assert.Equal(["resetDevice", "createGuest"], await KindsAsync());
    }

    [Fact]
    public async Task Post_WithAKeyOfAnotherRequest_IsAMismatch()
    {
        await SendAsync("/v1/guests", """{ "name": "web01" }""", "k1");

        Seen otherBody = await SendAsync("/v1/guests", """{ "name": "web02" }""", "k1");
        Seen otherPath = await SendAsync("/v1/guests/web01/stop", """{ "name": "web01" }""", "k1");
        Seen otherQuery = await SendAsync("/v1/guests?dryRun=true", """{ "name": "web01" }""", "k1");

        Assert.All([otherBody, otherPath, otherQuery], seen => Assert.Equal((422, "idempotency_mismatch"), (seen.Status, (string?)JsonNode.Parse(seen.Body)!["code"])));
        Assert.Equal(["createGuest"], await KindsAsync());
    }

    [Fact]
    public async Task Post_Refused_IsDecidedAgainWhenItsCauseIsGone()
    {
        string body = $$"""{ "group": {{Hub.SharedGroup}}, "guest": "web01" }""";

        Seen refused = await SendAsync("/v1/containers", body, "k1");
        await SendAsync("/v1/guests", """{ "name": "web01" }""", "k2");
        Seen done = await SendAsync("/v1/containers", body, "k1");

        Assert.Equal((404, 201), (refused.Status, done.Status));
    }

    [Theory]
    [InlineData("")]
    [InlineData("tab\there")]
    public async Task Key_Malformed_Is400(string key) =>
        Assert.Equal(400, (await SendAsync("/v1/guests", """{ "name": "web01" }""", key)).Status);

    [Fact]
    public async Task Post_WhileTheFirstIsUnderWay_IsBusyAndThenTheSame()
    {
        Seen[] answers = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => SendAsync(Reset, "", "k1")));

        Assert.Contains(answers, seen => seen.Status == 200);
        Assert.All(answers, seen => Assert.True(seen.Status == 200 || (seen.Status == 409 && seen.Body.Contains("\"busy\"", StringComparison.Ordinal)), seen.Body));
        Assert.Single(answers.Where(seen => seen.Status == 200).Distinct());
        Assert.Equal(["resetDevice"], await KindsAsync());
    }

    [Fact]
    public async Task Key_OlderThanADay_IsForgotten()
    {
        await SendAsync(Reset, "", "k1");
        await UpdateAsync($"created_at = '{DateTimeOffset.UtcNow - Answers.Kept - TimeSpan.FromMinutes(1):yyyy-MM-ddTHH:mm:ss.fffffffZ}'");

        await SendAsync(Reset, "", "k1");

        Assert.Equal(["resetDevice", "resetDevice"], await KindsAsync());
    }

    [Theory]
    [InlineData("wait=30", 200)]
    [InlineData(null, 202)]
    public async Task Post_WhoseAnswerWasNotWritten_IsAnsweredFromItsOperation(string? prefer, int wanted)
    {
        Seen first = await SendAsync(Reset, "", "k1", prefer);
        await WaitAsync();
        await _hub.StopAsync();
        await UpdateAsync("answer = NULL");
        await _hub.StartAsync();

        Seen again = await SendAsync(Reset, "", "k1", prefer);
        Seen onceMore = await SendAsync(Reset, "", "k1", prefer);

        Assert.Equal((wanted, wanted, first.Location), (first.Status, again.Status, again.Location));
        Assert.Equal(again, onceMore);
        Assert.Equal(["resetDevice"], await KindsAsync());
    }

    [Fact]
    public async Task Answer_AtRest_IsUnreadable()
    {
        await SendAsync("/v1/guests", """{ "name": "guest-with-a-name" }""", "k1");

        KnownKey? known = new Answers(_hub.Database, "synthetic", TimeProvider.System).Find(new RequestKey(await TokenNameAsync(), "k1", ""));

        Assert.NotNull(known!.Operation);
        Assert.DoesNotContain("guest-with", Encoding.UTF8.GetString(Convert.FromBase64String(known.Answer!)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Kill_AtAnyInstant_TheRepeatedRequestIsNotDoneTwice()
    {
        await _hub.StopAsync();
        int afterwards = 0;
        for (int i = 0; i < 6; i++)
        {
            using (HubProcess first = await HubProcess.StartAsync(_hub))
            {
                // The first request pays for compiling; the one that counts is quick.
                await PostAsync(first.Client, Reset, $"warm{i}");
                Task<Seen> asked = PostAsync(first.Client, Reset, $"k{i}");
                await Task.Delay(i * 4);
                first.Kill();
                await Task.WhenAny(asked, Task.Delay(TimeSpan.FromSeconds(10)));
                afterwards += asked.IsCompletedSuccessfully ? 1 : 0;
            }

            using HubProcess second = await HubProcess.StartAsync(_hub);
            Seen answer = await PostAsync(second.Client, Reset, $"k{i}");
            Seen again = await PostAsync(second.Client, Reset, $"k{i}");
            JsonNode operations = JsonNode.Parse(await second.Client.GetStringAsync("/v1/operations?limit=500"))!;

            Assert.Equal(200, answer.Status);
            Assert.Equal(answer, again);
            Assert.Equal(2 * (i + 1), operations["items"]!.AsArray().Count(operation => (string?)operation!["kind"] == "resetDevice"));
        }

        await _hub.StartAsync();
    }

    private static async Task<Seen> PostAsync(HttpClient client, string path, string key)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path);
        request.Headers.Add("Idempotency-Key", key);
        request.Headers.Add("Prefer", "wait=30");
        using HttpResponseMessage answer = await client.SendAsync(request);
        return new Seen((int)answer.StatusCode, answer.Headers.Location?.ToString(), answer.Headers.ETag?.Tag, await answer.Content.ReadAsStringAsync());
    }

    private async Task WaitAsync()
    {
        string id = (string)(await _hub.SendAsync("GET", "/v1/operations?limit=1")).Body!["items"]![0]!["id"]!;
        await _hub.SendAsync("GET", $"/v1/operations/{id}?wait=30");
    }

    /// <summary>Changes the one row of answers in the database.</summary>
    private async Task UpdateAsync(string assignment)
    {
        await using var connection = new SqliteConnection($"Data Source={_hub.Database}");
        await connection.OpenAsync();
        await using SqliteCommand update = connection.CreateCommand();
        update.CommandText = $"UPDATE answers SET {assignment}";
        Assert.Equal(1, await update.ExecuteNonQueryAsync());
    }

    private async Task<string> TokenNameAsync() =>
        AssignHub.Api.Tokens.Secret.HashOf((await File.ReadAllTextAsync(Path.Combine(_hub.Data, "admin.token"))).Trim());

    private async Task<string[]> KindsAsync() =>
        [.. (await _hub.SendAsync("GET", "/v1/operations?limit=500")).Body!["items"]!.AsArray().Select(operation => (string)operation!["kind"]!).Where(kind => kind != "claimGroup")];

    private async Task<Seen> SendAsync(string path, string body, string key, string? prefer = "wait=30")
    {
        using var client = new HttpClient(new ContractHandler()) { BaseAddress = _hub.Url };
        client.DefaultRequestHeaders.Authorization = _hub.Client.DefaultRequestHeaders.Authorization;
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(body, Encoding.UTF8, "application/json") };
        request.Headers.TryAddWithoutValidation("Idempotency-Key", key);
        if (prefer is not null)
        {
            request.Headers.Add("Prefer", prefer);
        }

        using HttpResponseMessage answer = await client.SendAsync(request);
        return new Seen((int)answer.StatusCode, answer.Headers.Location?.ToString(), answer.Headers.ETag?.Tag, await answer.Content.ReadAsStringAsync());
    }

    private sealed record Seen(int Status, string? Location, string? Tag, string Body);
}
