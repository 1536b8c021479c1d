// Claims over HTTP: what succeeds, what is refused with which code, and that a refusal changes nothing.

using System.Text.Json.Nodes;

namespace AssignHub.Tests.Api;

public sealed class ContainerTests : IAsyncLifetime
{
    private readonly Hub _hub = new();

    public Task InitializeAsync() => _hub.InitializeAsync();

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public async Task Claim_FreeGroup_MovesItsDeviceAndRemembersTheDriver()
    {
        (int status, JsonNode? container) = await ClaimAsync(Hub.NicGroup);

        Assert.Equal(201, status);
        Assert.Equal("ready", (string?)container!["state"]);
        Assert.Equal("e1000e", (string?)container["originalDrivers"]![Hub.Nic]);
        Assert.Equal("vfio-pci", _hub.DriverOf(Hub.Nic));
        Assert.NotEmpty(container["iommu"]!["iovaRanges"]!.AsArray());
    }

    [Fact]
    public async Task Claim_Twice_SaysTheSameAgain()
    {
        (_, JsonNode? first) = await ClaimAsync(Hub.NicGroup);
        (int status, JsonNode? second) = await ClaimAsync(Hub.NicGroup);

        Assert.Equal(201, status);
        Assert.Equal(first!.ToJsonString(), second!.ToJsonString());
    }

    [Fact]
    public async Task Claim_OfAnothersGroup_NamesTheOwner()
    {
        await _hub.SendAsync("POST", "/v1/guests", """{ "name": "web01" }""");
        await _hub.SendAsync("POST", "/v1/guests", """{ "name": "web02" }""");
        await _hub.SendAsync("POST", "/v1/containers", $$"""{ "group": {{Hub.NicGroup}}, "guest": "web01" }""");

        (int status, JsonNode? problem) = await _hub.SendAsync("POST", "/v1/containers", $$"""{ "device": "{{Hub.Nic}}", "guest": "web02" }""");

        AssertRefused(409, "group_owned", status, problem);
        Assert.Contains("guest web01", problem!["detail"]!.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{ "group": 11 }""", 409, "device_in_use_by_host", "umount /srv")]
    [InlineData("""{ "group": 13 }""", 409, "group_not_viable", "shpchp")]
    [InlineData("""{ "group": 99 }""", 404, "group_not_found", "/v1/groups")]
    [InlineData("""{ "device": "0000:09:00.0" }""", 404, "device_not_found", "/v1/devices")]
    [InlineData("""{ "device": "0000:03:00.0" }""", 409, "device_is_bridge", "below")]
    [InlineData("""{ "group": 10, "device": "0000:02:00.0" }""", 409, "container_single_group", "own")]
    [InlineData("""{ "group": 10, "guest": "nobody" }""", 404, "guest_not_found", "/v1/guests")]
    public async Task Claim_NotAllowed_NamesCodeAndRemedyAndChangesNothing(string body, int wantedStatus, string wantedCode, string remedy)
    {
        string before = Bindings();

        (int dryStatus, JsonNode? dry) = await _hub.SendAsync("POST", "/v1/containers?dryRun=true", body);
        (int status, JsonNode? problem) = await _hub.SendAsync("POST", "/v1/containers", body);

        AssertRefused(wantedStatus, wantedCode, status, problem);
        AssertRefused(wantedStatus, wantedCode, dryStatus, dry);
        Assert.Contains(problem!["refusals"]!.AsArray(), refusal => refusal!["remedy"]!.ToString().Contains(remedy, StringComparison.Ordinal));
        Assert.Equal(before, Bindings());
        Assert.Empty((await _hub.SendAsync("GET", "/v1/containers")).Body!["items"]!.AsArray());
    }

    [Fact]
    public async Task Claim_ByOneOfAGroup_TakesAllAndReleaseGivesAllBack()
    {
        string before = Bindings();
        (int status, JsonNode? container) = await _hub.SendAsync("POST", "/v1/containers", $$"""{ "device": "{{Hub.SharedA}}" }""");
        Assert.Equal(201, status);
        Assert.Equal("vfio-pci", _hub.DriverOf(Hub.SharedB));
        Assert.Null(_hub.DriverOf(Hub.Bridge));

        (int released, _) = await _hub.SendAsync("DELETE", $"/v1/containers/{container!["id"]}");

        Assert.Equal(204, released);
        Assert.Equal(before, Bindings());
    }

    [Fact]
    public async Task Claim_DryRun_ShowsThePlanThatThenRuns()
    {
        (int status, JsonNode? plan) = await _hub.SendAsync("POST", "/v1/containers?dryRun=true", $$"""{ "group": {{Hub.NicGroup}} }""");
        Assert.Equal(200, status);
        Assert.Equal("e1000e", _hub.DriverOf(Hub.Nic));

        await ClaimAsync(Hub.NicGroup);
        JsonNode operation = (await _hub.SendAsync("GET", "/v1/operations")).Body!["items"]![0]!;

        Assert.Equal(Actions(plan!), Actions(operation));
    }

    [Fact]
    public async Task Claim_TenAtOnce_OneContainer()
    {
        (int Status, JsonNode? Body)[] answers = await Task.WhenAll(Enumerable.Range(0, 10).Select(i =>
            _hub.SendAsync("POST", "/v1/containers", $$"""{ "group": {{Hub.NicGroup}}, "keep": {{(i % 2 == 0 ? "true" : "false")}} }""")));

        Assert.Equal(5, answers.Count(answer => answer.Status == 201));
        Assert.All(answers.Where(answer => answer.Status != 201), answer => AssertRefused(409, "container_exists", answer.Status, answer.Body));
        Assert.Single((await _hub.SendAsync("GET", "/v1/containers")).Body!["items"]!.AsArray());
    }

    [Fact]
    public async Task Restart_WithAClaim_KeepsItAndCanRelease()
    {
        (_, JsonNode? before) = await ClaimAsync(Hub.NicGroup);
        await _hub.StopAsync();
        await _hub.StartAsync();

        (int status, JsonNode? after) = await _hub.SendAsync("GET", $"/v1/containers/{before!["id"]}");
        (int released, _) = await _hub.SendAsync("DELETE", $"/v1/containers/{before["id"]}");

        Assert.Equal(200, status);
        Assert.Equal(before.ToJsonString(), after!.ToJsonString());
        Assert.Equal(204, released);
        Assert.Equal("e1000e", _hub.DriverOf(Hub.Nic));
    }

    [Fact]
    public async Task Claim_OfAGroupThatAProcessHolds_IsForeignWithItsPid()
    {
        await ClaimAsync(Hub.NicGroup);
        (_, JsonNode? list) = await _hub.SendAsync("GET", "/v1/containers");
        await _hub.SendAsync("DELETE", $"/v1/containers/{list!["items"]![0]!["id"]}");
        // Bound by hand, and opened by somebody.
        _hub.Host.AddDriver("vfio-pci");
        string device = _hub.Host.PathOf(Engine.Pci.PciAddress.Parse(Hub.Nic));
        File.Delete(Path.Combine(device, "driver"));
        File.CreateSymbolicLink(Path.Combine(device, "driver"), Path.Combine(_hub.Host.SysfsRoot, "bus/pci/drivers/vfio-pci"));
        _hub.Host.AddProcess(4242, "dpdk-testpmd", Path.Combine(_hub.Host.SysfsRoot, "dev", "vfio", $"{Hub.NicGroup}"));

        (int status, JsonNode? problem) = await ClaimAsync(Hub.NicGroup);
        await _hub.SendAsync("POST", "/v1/host/rescan");
        (_, JsonNode? group) = await _hub.SendAsync("GET", $"/v1/groups/{Hub.NicGroup}");

        AssertRefused(409, "group_foreign", status, problem);
        Assert.Equal("foreign", (string?)group!["owner"]);
        Assert.Equal(4242, (int?)group["foreign"]!["pid"]);
        Assert.Equal("dpdk-testpmd", (string?)group["foreign"]!["command"]);
    }

    private static void AssertRefused(int wantedStatus, string wantedCode, int status, JsonNode? problem)
    {
        Assert.Equal((wantedStatus, wantedCode), (status, (string?)problem!["code"]));
        Assert.NotEmpty(problem["refusals"]!.AsArray());
        Assert.All(problem["refusals"]!.AsArray(), refusal => Assert.NotEqual("", (string?)refusal!["remedy"]));
    }

    private static string[] Actions(JsonNode steps) => [.. steps["steps"]!.AsArray().Select(step => $"{step!["action"]} {step["subject"]}")];

    private Task<(int Status, JsonNode? Body)> ClaimAsync(int group) => _hub.SendAsync("POST", "/v1/containers", $$"""{ "group": {{group}} }""");

    private string Bindings() => string.Join('\n', Directory.GetFileSystemEntries(Path.Combine(_hub.Host.SysfsRoot, "bus/pci/devices")).Order()
        .Select(Path.GetFileName).Select(address => $"{address} {_hub.DriverOf(address!)} {Override(address!)}"));

    private string Override(string address)
    {
        string file = Path.Combine(_hub.Host.PathOf(Engine.Pci.PciAddress.Parse(address)), "driver_override");
        return File.Exists(file) ? File.ReadAllText(file) : "";
    }
}
