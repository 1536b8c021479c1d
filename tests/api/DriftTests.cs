// Hardware that goes, comes back and is another, over HTTP.

using System.Text.Json.Nodes;
using AssignHub.Engine.Pci;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Api;

public sealed class DriftTests : IAsyncLifetime
{
    private static readonly PciAddress Nic = PciAddress.Parse(Hub.Nic);
    private readonly Hub _hub = new();
    private string _container = "";

    public async Task InitializeAsync()
    {
        await _hub.InitializeAsync();
        Plug(serial: 0x1111);
        (_, JsonNode? container) = await _hub.SendAsync("POST", "/v1/containers", $$"""{ "device": "{{Hub.Nic}}" }""");
        _container = $"/v1/containers/{(string?)container!["id"]}";
    }

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public async Task Claimed_PulledOut_IsMissingAndItsContainerFenced()
    {
        _hub.Host.Remove(Nic);

        JsonNode fenced = await StateAsync("fenced");
        (_, JsonNode? device) = await _hub.SendAsync("GET", $"/v1/devices/{Hub.Nic}");
        (_, JsonNode? list) = await _hub.SendAsync("GET", "/v1/devices?state=missing");
        (int status, JsonNode? problem) = await _hub.SendAsync("POST", "/v1/guests", $$"""{ "name": "web01", "devices": [{ "address": "{{Hub.Nic}}" }] }""");
        (_, JsonNode? events) = await _hub.SendAsync("GET", "/v1/events?limit=1000");

        Assert.Equal($"{Hub.Nic} is missing from the host", (string?)fenced["error"]);
        Assert.Null(fenced["group"]);
        Assert.Equal("missing", (string?)device!["state"]);
        Assert.Equal("group_changed", (string?)device["refusals"]![0]!["code"]);
        Assert.Equal(Hub.Nic, (string?)Assert.Single(list!["items"]!.AsArray())!["address"]);
        Assert.Equal((409, "group_changed"), (status, (string?)problem!["code"]));
        Assert.Contains($"POST {_container}/accept", problem["refusals"]![0]!["remedy"]!.ToString(), StringComparison.Ordinal);
        Assert.Contains(events!["items"]!.AsArray(), happened => (string?)happened!["kind"] == "fenceContainer" && (string?)happened["data"] == (string?)fenced["error"]);
    }

    [Fact]
    public async Task Claimed_PutBackTheSame_IsPreparedAgainByItself()
    {
        _hub.Host.Remove(Nic);
        await StateAsync("fenced");
        Plug(serial: 0x1111);

        JsonNode ready = await StateAsync("ready");

        Assert.Null(ready["error"]);
        Assert.Equal("vfio-pci", _hub.DriverOf(Hub.Nic));
        Assert.Equal(204, (await _hub.SendAsync("DELETE", _container)).Status);
        Assert.Equal("e1000e", _hub.DriverOf(Hub.Nic));
    }

    [Fact]
    public async Task Claimed_PutBackAnother_IsRefusedAtOnceAndTakenOnceAccepted()
    {
        _hub.Host.Remove(Nic);
        Plug(serial: 0x2222);

        (int refused, JsonNode? problem) = await _hub.SendAsync("POST", "/v1/containers", $$"""{ "device": "{{Hub.Nic}}" }""");
        (int dry, JsonNode? plan) = await _hub.SendAsync("POST", $"{_container}/accept?dryRun=true");
        (int accepted, JsonNode? container) = await _hub.SendAsync("POST", $"{_container}/accept");
        (int again, _) = await _hub.SendAsync("POST", $"{_container}/accept");

        Assert.Equal((409, "group_changed"), (refused, (string?)problem!["code"]));
        Assert.Contains("with serial 0000000000002222 and was", problem["detail"]!.ToString(), StringComparison.Ordinal);
        Assert.Equal(200, dry);
        Assert.Contains(plan!["steps"]!.AsArray(), step => (string?)step!["action"] == "bindVfio");
        Assert.Equal((200, "ready"), (accepted, (string?)container!["state"]));
        Assert.Equal("vfio-pci", _hub.DriverOf(Hub.Nic));
        Assert.Equal(200, again);
    }

    [Fact]
    public async Task Accept_OfWhatIsNotThere_IsNotFound() =>
        Assert.Equal((404, "container_not_found"), await CodeAsync("POST", "/v1/containers/c-none/accept"));

    [Fact]
    public async Task Restart_WhileItWasAway_FencesAtTheStart()
    {
        await _hub.StopAsync();
        _hub.Host.Remove(Nic);
        Plug(serial: 0x2222);
        await _hub.StartAsync();

        JsonNode fenced = await StateAsync("fenced");

        Assert.Contains("serial 0000000000002222", fenced["error"]!.ToString(), StringComparison.Ordinal);
        Assert.Equal("e1000e", _hub.DriverOf(Hub.Nic));
    }

    private void Plug(ulong serial)
    {
        if (Directory.Exists(Path.Combine(_hub.Host.SysfsRoot, "bus/pci/devices", Hub.Nic)))
        {
            _hub.Host.Remove(Nic);
        }

        _hub.Host.Add(new SyntheticDevice(Nic) { Parent = PciAddress.Parse("0000:00:01.0"), Driver = "e1000e", Group = Hub.NicGroup, Serial = serial });
    }

    /// <summary>Waits until the container is in a state: the reconciler looks every 5 s.</summary>
    private async Task<JsonNode> StateAsync(string wanted)
    {
        JsonNode? container = null;
        for (int i = 0; i < 150 && (string?)container?["state"] != wanted; i++)
        {
            await Task.Delay(100);
            container = (await _hub.SendAsync("GET", _container)).Body;
        }

        Assert.Equal(wanted, (string?)container!["state"]);
        return container!;
    }

    private async Task<(int Status, string? Code)> CodeAsync(string method, string path)
    {
        (int status, JsonNode? body) = await _hub.SendAsync(method, path);
        return (status, (string?)body!["code"]);
    }
}
