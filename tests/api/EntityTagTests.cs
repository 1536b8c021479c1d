// ETags: what is shown has one, a copy that is still good is not sent again, and of two writers with the same tag one wins.

using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using AssignHub.Engine.Pci;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Api;

public sealed class EntityTagTests : IAsyncLifetime
{
    private const string Physical = "0000:07:00.0";
    private const string Disk = $"/v1/devices/{Hub.UsedDisk}";
    private readonly Hub _hub = new();

    public Task InitializeAsync()
    {
        PciAddress port = PciAddress.Parse("0000:00:05.0");
        _hub.Host.Add(new SyntheticDevice(port)
        {
            VendorId = 0x1b36, DeviceId = 0x000c, ClassCode = 0x060400, Buses = (7, 7), PcieType = PcieType.RootPort, Driver = "pcieport", Group = 7,
        });
        _hub.Host.Add(new SyntheticDevice(Physical) { Parent = port, DeviceId = 0x10c9, Driver = "igb", Group = 20, TotalVfs = 7 });
        _hub.Host.AddDriver("igbvf", 0x8086, 0x10ca);
        return _hub.InitializeAsync();
    }

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public async Task Get_WithTheTagThatItGave_Is304UntilSomethingChanges()
    {
        await _hub.SendAsync("POST", "/v1/guests", $$"""{ "name": "web01", "devices": [ { "address": "{{Hub.Nic}}" } ] }""");
        (_, JsonNode? containers) = await _hub.SendAsync("GET", "/v1/containers");
        foreach (string path in (string[])[Disk, "/v1/guests/web01", $"/v1/guests/web01/devices/{Hub.Nic}", $"/v1/containers/{containers!["items"]![0]!["id"]}"])
        {
            string tag = await TagAsync(path);

            using HttpResponseMessage same = await SendAsync("GET", path, ("If-None-Match", tag));
            using HttpResponseMessage other = await SendAsync("GET", path, ("If-None-Match", "\"other\""));

            Assert.Equal((304, 200), ((int)same.StatusCode, (int)other.StatusCode));
            Assert.Equal((tag, tag, ""), (same.Headers.ETag!.Tag, other.Headers.ETag!.Tag, await same.Content.ReadAsStringAsync()));
        }

        string before = await TagAsync("/v1/guests/web01");
        await _hub.SendAsync("POST", "/v1/guests/web01/devices", $$"""{ "address": "{{Hub.SharedA}}" }""");
        using HttpResponseMessage changed = await SendAsync("GET", "/v1/guests/web01", ("If-None-Match", before));
        Assert.Equal(200, (int)changed.StatusCode);
    }

    [Fact]
    public async Task Post_ThatCreates_GivesTheTagThatGetGives()
    {
        using HttpResponseMessage guest = await SendAsync("POST", "/v1/guests", """{ "name": "web01" }""");

        Assert.Equal(guest.Headers.ETag!.Tag, await TagAsync(guest.Headers.Location!.ToString()));
    }

    [Theory]
    [InlineData("\"stale\"", 412)]
    [InlineData("W/{0}", 412)]
    [InlineData("stale", 412)]
    [InlineData("", 412)]
    [InlineData("{0}", 200)]
    [InlineData("\"stale\", {0}", 200)]
    [InlineData("*", 200)]
    public async Task Change_WithIfMatch_IsMadeOnlyIfItMatches(string match, int wanted)
    {
        string tag = await TagAsync(Disk);
        string header = match.Replace("{0}", tag, StringComparison.Ordinal);

        using HttpResponseMessage dry = await SendAsync("PUT", $"{Disk}/override?dryRun=true", Override("one"), ("If-Match", header));
        using HttpResponseMessage done = await SendAsync("PUT", $"{Disk}/override", Override("one"), ("If-Match", header));

        Assert.Equal((wanted, wanted), ((int)dry.StatusCode, (int)done.StatusCode));
        (_, JsonNode? disk) = await _hub.SendAsync("GET", Disk);
        Assert.Equal(wanted == 200, disk!["override"] is not null);
    }

    [Fact]
    public async Task TwoWriters_WithOneTag_OneWinsAndOneIsToldWhatChanged()
    {
        for (int i = 0; i < 10; i++)
        {
            string tag = await TagAsync(Disk);

            Assert.Equal((int[])[200, 412], await BothAsync(tag, ("PUT", $"{Disk}/override", Override($"{i} a")), ("PUT", $"{Disk}/override", Override($"{i} b"))));
        }
    }

    [Fact]
    public async Task TwoWriters_OfWhatOnlyTheKernelKeeps_OneWins()
    {
        string path = $"/v1/devices/{Physical}";
        for (int i = 0; i < 6; i += 2)
        {
            string tag = await TagAsync(path);

            Assert.Equal((int[])[200, 412], await BothAsync(tag, ("PUT", $"{path}/sriov", $$"""{ "numVfs": {{i + 1}} }"""), ("PUT", $"{path}/sriov", $$"""{ "numVfs": {{i + 2}} }""")));
        }
    }

    [Fact]
    public async Task TwoWriters_OfAGuest_OneWins()
    {
        await _hub.SendAsync("POST", "/v1/guests", """{ "name": "web01" }""");
        string tag = await TagAsync("/v1/guests/web01");

        int[] answers = await BothAsync(tag, ("POST", "/v1/guests/web01/devices", $$"""{ "address": "{{Hub.Nic}}" }"""),
            ("POST", "/v1/guests/web01/devices", $$"""{ "address": "{{Hub.SharedA}}" }"""));

        Assert.Equal([201, 412], answers);
        Assert.Single((await _hub.SendAsync("GET", "/v1/guests/web01/devices")).Body!["items"]!.AsArray());
        Assert.Equal(412, await StatusAsync("DELETE", "/v1/guests/web01", tag));
        Assert.Equal(204, await StatusAsync("DELETE", "/v1/guests/web01", await TagAsync("/v1/guests/web01")));
        Assert.Equal(404, await StatusAsync("DELETE", "/v1/guests/web01", tag));
    }

    [Fact]
    public async Task Release_WithIfMatch_IsForTheContainerThatWasSeen()
    {
        (_, JsonNode? container) = await _hub.SendAsync("POST", "/v1/containers", $$"""{ "group": {{Hub.NicGroup}} }""");
        string path = $"/v1/containers/{container!["id"]}";
        string tag = await TagAsync(path);
        await _hub.SendAsync("DELETE", path);
        await _hub.SendAsync("POST", "/v1/containers", $$"""{ "group": {{Hub.NicGroup}} }""");

        Assert.Equal(412, await StatusAsync("DELETE", path, tag));
        Assert.Equal(204, await StatusAsync("DELETE", path, await TagAsync(path)));
    }

    private static string Override(string reason) => $$"""{ "reason": "{{reason}}", "expiresInSeconds": 60 }""";

    /// <summary>The statuses of two changes at once with the same tag, in ascending order.</summary>
    private async Task<int[]> BothAsync(string tag, params (string Method, string Path, string Body)[] changes)
    {
        HttpResponseMessage[] answers = await Task.WhenAll(changes.Select(change => SendAsync(change.Method, change.Path, change.Body, ("If-Match", tag))));
        foreach (HttpResponseMessage late in answers.Where(answer => (int)answer.StatusCode == 412))
        {
            Assert.Contains("precondition_failed", await late.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        }

        return [.. answers.Select(answer => (int)answer.StatusCode).Order()];
    }

    private async Task<int> StatusAsync(string method, string path, string match)
    {
        using HttpResponseMessage answer = await SendAsync(method, path, ("If-Match", match));
        return (int)answer.StatusCode;
    }

    private async Task<string> TagAsync(string path)
    {
        using HttpResponseMessage answer = await SendAsync("GET", path);
        EntityTagHeaderValue tag = answer.Headers.ETag!;
        Assert.False(tag.IsWeak);
        return tag.Tag;
    }

    private Task<HttpResponseMessage> SendAsync(string method, string path, params (string Name, string Value)[] headers) => SendAsync(method, path, null, headers);

    private async Task<HttpResponseMessage> SendAsync(string method, string path, string? body, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path)
        {
            Content = body is null ? null : new StringContent(body, Encoding.UTF8, "application/json"),
        };
        foreach ((string name, string value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        return await _hub.Client.SendAsync(request);
    }
}
