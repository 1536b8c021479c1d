using System.Text.Json.Nodes;
using AssignHub.Lab;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>Hardware that goes and comes back while it is claimed: the container is fenced, and what happens next depends on what came back.</summary>
[Collection("sample lab")]
public sealed class DriftTests(SampleLab lab) : HubTests(lab)
{
    private const string Nic = "0000:01:00.0";
    private const string Disk = "0000:02:00.0";
    private HubClient _client = null!;

    [Fact]
    public async Task Claimed_RemovedAndFoundAgain_IsFencedUntilThen()
    {
        using HubClient client = _client = Hub.Client();
        string container = await ClaimAsync(Disk);

        await Host.RunAsync($"echo 1 >/sys/bus/pci/devices/{Disk}/remove");
        JsonNode fenced = await StateAsync(container, "fenced");

        Assert.Equal($"{Disk} is missing from the host", (string?)fenced["error"]);
        Assert.Equal("missing", (string?)(await client.GetAsync($"/v1/devices/{Disk}")).Body!["state"]);
        await Host.RunAsync("echo 1 >/sys/bus/pci/rescan");
        JsonNode ready = await StateAsync(container, "ready");
        Assert.Equal("vfio-pci", await Kernel.DriverAsync(Disk));
        Assert.Contains(await Kernel.GroupAsync(Disk), await Kernel.VfioGroupsAsync());
        Assert.Equal(await Kernel.GroupAsync(Disk), (int)ready["group"]!);
        Assert.Equal(204, (int)(await client.DeleteAsync(container)).Status);
        Assert.Equal("nvme", await Kernel.DriverAsync(Disk));
    }

    [Fact]
    public async Task Claimed_ExchangedForAnother_IsFencedShownAndAccepted()
    {
        using HubClient client = _client = Hub.Client();
        string container = await ClaimAsync(Nic);
        string serial = await SerialAsync();

        await Host.RunAsync($"echo 1 >/sys/bus/pci/devices/{Nic}/remove");
        await StateAsync(container, "fenced");
        await ExchangeAsync("52:54:00:00:00:99");
        JsonNode fenced = await StateAsync(container, "fenced", error => error.Contains(" and was ", StringComparison.Ordinal));

        string other = await SerialAsync();
        Assert.NotEqual(serial, other);
        Assert.Equal($"{Nic} is 8086:10d3 with serial {other} and was 8086:10d3 with serial {serial}", (string?)fenced["error"]);
        Assert.NotEqual("vfio-pci", await Kernel.DriverAsync(Nic));
        HubAnswer refused = await client.PostAsync("/v1/guests", HubClients.SmallGuest("web01", Nic));
        Assert.Equal((409, "group_changed"), ((int)refused.Status, refused.Code));

        HubAnswer accepted = await client.PostAsync($"{container}/accept");

        Assert.True((int)accepted.Status == 200, accepted.Text);
        Assert.Equal("ready", (string?)accepted.Body!["state"]);
        Assert.Equal("vfio-pci", await Kernel.DriverAsync(Nic));
        Assert.Equal(204, (int)(await client.DeleteAsync(container)).Status);
        Assert.Equal("e1000e", await Kernel.DriverAsync(Nic));
    }

    private async Task<string> ClaimAsync(string device)
    {
        HubAnswer claimed = await _client.PostAsync("/v1/containers", new JsonObject { ["device"] = device });
        Assert.True((int)claimed.Status == 201, claimed.Text);
        return $"/v1/containers/{(string?)claimed.Body!["id"]}";
    }

    private async Task<string> SerialAsync() => (string)(await _client.GetAsync($"/v1/devices/{Nic}")).Body!["serial"]!;

    /// <summary>The container once it is in a state; the service learns of hardware from the kernel's uevents.</summary>
    private async Task<JsonNode> StateAsync(string container, string state, Func<string, bool>? error = null)
    {
        for (int i = 0; ; i++)
        {
            JsonNode now = (await _client.GetAsync(container)).Body!;
            if ((string?)now["state"] == state && error?.Invoke((string?)now["error"] ?? "") != false)
            {
                return now;
            }

            Assert.True(i < 120, $"not {state}: {now}\n{await Hub.LogAsync()}");
            await Task.Delay(500);
        }
    }

    /// <summary>Takes the NIC out of its slot and puts another one in: same maker, same model.</summary>
    private async Task ExchangeAsync(string mac)
    {
        await Host.QmpAsync("device_del", new JsonObject { ["id"] = "nic" });
        for (int i = 0; (await Host.QmpAsync("qom-list", new JsonObject { ["path"] = "/machine/peripheral" })).GetRawText().Contains("\"nic\"", StringComparison.Ordinal); i++)
        {
            Assert.True(i < 120, "the NIC stays in its slot");
            await Task.Delay(500);
        }

        await Host.QmpAsync("device_add", new JsonObject { ["driver"] = "e1000e", ["id"] = "nic", ["bus"] = "port-nic", ["addr"] = "00", ["mac"] = mac, ["romfile"] = "" });
    }
}
