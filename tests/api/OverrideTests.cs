// Overrides of host use over HTTP: given, shown, used, ended, and told in the event log.

using System.Text.Json.Nodes;

namespace AssignHub.Tests.Api;

public sealed class OverrideTests : IAsyncLifetime
{
    private const string Path = $"/v1/devices/{Hub.UsedDisk}/override";
    private readonly Hub _hub = new();

    public Task InitializeAsync() => _hub.InitializeAsync();

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public async Task Put_ForAUsedDisk_IsShownAndLetsItBeClaimed()
    {
        (int status, JsonNode? disk) = await GiveAsync(3600);

        Assert.Equal(200, status);
        Assert.Equal(("it moves to web01", "admin"), ((string?)disk!["override"]!["reason"], (string?)disk["override"]!["actor"]));
        Assert.InRange((DateTimeOffset)disk["override"]!["until"]! - DateTimeOffset.UtcNow, TimeSpan.FromMinutes(59), TimeSpan.FromMinutes(60));
        Assert.True((bool)disk["assignable"]!);
        Assert.Equal((true, "nvme0n1p1 is mounted at /srv"), ((bool)disk["hostUse"]![0]!["overridable"]!, (string?)disk["hostUse"]![0]!["detail"]));
        (_, JsonNode? group) = await _hub.SendAsync("GET", $"/v1/groups/{Hub.DiskGroup}");
        Assert.Contains(group!["warnings"]!.AsArray(), warning => ((string)warning!).Contains("/srv", StringComparison.Ordinal));

        (_, JsonNode? plan) = await _hub.SendAsync("POST", "/v1/containers?dryRun=true", $$"""{ "group": {{Hub.DiskGroup}} }""");
        (int claimed, _) = await ClaimAsync();

        Assert.Contains(plan!["warnings"]!.AsArray(), warning => ((string)warning!).Contains("umount /srv", StringComparison.Ordinal));
        Assert.Equal((201, "vfio-pci"), (claimed, _hub.DriverOf(Hub.UsedDisk)));
        (_, JsonNode? operations) = await _hub.SendAsync("GET", "/v1/operations?limit=1");
        Assert.Equal(plan["warnings"]!.ToJsonString(), operations!["items"]![0]!["warnings"]!.ToJsonString());
    }

    [Fact]
    public async Task Put_Any_StandsInTheEventLogWithActorAndReason()
    {
        await GiveAsync(3600);

        JsonNode told = Assert.Single(await EventsAsync("recordOverride"));

        Assert.Equal((Hub.UsedDisk, "admin"), ((string?)told["subject"], (string?)told["actor"]));
        Assert.StartsWith("it moves to web01 (until ", (string?)told["data"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Override_PastItsTime_LiftsNothingAndIsForgotten()
    {
        await GiveAsync(1);
        await Task.Delay(TimeSpan.FromSeconds(1.1));

        (int status, JsonNode? problem) = await ClaimAsync();
        Assert.Equal((409, "device_in_use_by_host"), (status, (string?)problem!["code"]));
        for (int i = 0; i < 100 && (await EventsAsync("dropOverride")).Length == 0; i++)
        {
            await Task.Delay(100);
        }

        JsonNode told = Assert.Single(await EventsAsync("dropOverride"));
        Assert.Equal(("assignhub", "its time is over"), ((string?)told["actor"], (string?)told["data"]));
    }

    [Fact]
    public async Task Delete_AnOverride_ClosesTheDeviceAgain()
    {
        await GiveAsync(3600);

        Assert.Equal(204, (await _hub.SendAsync("DELETE", Path)).Status);
        Assert.Equal(204, (await _hub.SendAsync("DELETE", Path)).Status);
        Assert.Equal(409, (await ClaimAsync()).Status);
        Assert.Null((await _hub.SendAsync("GET", $"/v1/devices/{Hub.UsedDisk}")).Body!["override"]);
    }

    [Fact]
    public async Task Restart_WithAnOverride_KeepsIt()
    {
        (_, JsonNode? before) = await GiveAsync(3600);
        await _hub.StopAsync();
        await _hub.StartAsync();

        (_, JsonNode? after) = await _hub.SendAsync("GET", $"/v1/devices/{Hub.UsedDisk}");

        Assert.Equal(before!["override"]!.ToJsonString(), after!["override"]!.ToJsonString());
    }

    [Fact]
    public async Task Put_ForTheRootFileSystem_IsRefusedAndSaysSo()
    {
        _hub.Host.Mount("nvme0n1p1", "/");

        (int status, JsonNode? problem) = await GiveAsync(3600);

        Assert.Equal((409, "device_in_use_by_host"), (status, (string?)problem!["code"]));
        Assert.Contains("No override lifts that, for the root file system is there.", (string?)problem["detail"], StringComparison.Ordinal);
        Assert.Empty(await EventsAsync("recordOverride"));
    }

    private Task<(int Status, JsonNode? Body)> GiveAsync(int seconds) =>
        _hub.SendAsync("PUT", Path, $$"""{ "reason": "it moves to web01", "expiresInSeconds": {{seconds}} }""");

    private Task<(int Status, JsonNode? Body)> ClaimAsync() => _hub.SendAsync("POST", "/v1/containers", $$"""{ "group": {{Hub.DiskGroup}} }""");

    private async Task<JsonNode[]> EventsAsync(string kind) =>
        [.. (await _hub.SendAsync("GET", "/v1/events?limit=1000")).Body!["items"]!.AsArray().Where(happened => (string?)happened!["kind"] == kind)!];
}
