// What the kernel told of a device through VFIO, over HTTP.

using System.Text.Json.Nodes;

namespace AssignHub.Tests.Api;

public sealed class DeviceVfioTests : IAsyncLifetime
{
    private readonly Hub _hub = new();

    public Task InitializeAsync() => _hub.InitializeAsync();

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public async Task Vfio_OfAClaimedDevice_IsWhatTheClaimSaw()
    {
        await _hub.SendAsync("POST", "/v1/containers", $$"""{ "device": "{{Hub.SharedA}}" }""");

        (int status, JsonNode? seen) = await _hub.SendAsync("GET", $"/v1/devices/{Hub.SharedA}/vfio");

        Assert.Equal(200, status);
        Assert.Equal("config", (string?)seen!["regions"]![0]!["name"]);
        Assert.Equal(256, (int)seen["regions"]![0]!["sizeBytes"]!);
        Assert.Equal(["intx", "req"], seen["irqs"]!.AsArray().Select(irq => (string?)irq!["name"]));
        Assert.Equal([Hub.SharedA, Hub.SharedB], seen["dependentDevices"]!.AsArray().Select(device => (string?)device));
        Assert.Equal(seen["dependentDevices"]!.ToJsonString(), seen["resetDomain"]!.ToJsonString());
        Assert.Null(seen["resetDomainDifference"]);
        Assert.Null(seen["hotResetObstacle"]);
    }

    [Fact]
    public async Task Vfio_OfADeviceThatNobodyClaimed_SaysToClaimIt()
    {
        (int status, JsonNode? problem) = await _hub.SendAsync("GET", $"/v1/devices/{Hub.Nic}/vfio");

        Assert.Equal((404, "container_not_found"), (status, (string?)problem!["code"]));
        string remedy = (string)problem["refusals"]![0]!["remedy"]!;
        await _hub.SendAsync("POST", remedy.Split(' ')[3], remedy[remedy.IndexOf('{', StringComparison.Ordinal)..^1]);
        Assert.Equal(200, (await _hub.SendAsync("GET", $"/v1/devices/{Hub.Nic}/vfio")).Status);
    }

    [Fact]
    public async Task Vfio_OfWhatWasNotOpened_SaysSo()
    {
        await _hub.SendAsync("POST", "/v1/containers", $$"""{ "device": "{{Hub.SharedA}}" }""");

        (int bridge, JsonNode? problem) = await _hub.SendAsync("GET", $"/v1/devices/{Hub.Bridge}/vfio");
        (int missing, _) = await _hub.SendAsync("GET", "/v1/devices/0000:7f:00.0/vfio");

        Assert.Equal((409, "vfio_unavailable", 404), (bridge, (string?)problem!["code"], missing));
        Assert.Contains("a bridge is not opened", (string?)problem["detail"], StringComparison.Ordinal);
    }
}
