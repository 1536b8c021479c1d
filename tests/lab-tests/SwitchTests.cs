using System.Net;
using System.Text.Json.Nodes;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>Resets that cross groups, and those that VFIO cannot do: a switch with two groups below, and a bridge below a bridge.</summary>
[Collection("switch lab")]
public sealed class SwitchTests(SwitchLab lab) : HubTests(lab)
{
    private const string Upstream = "0000:01:00.0";
    private const string Edu = "0000:03:00.0";
    private const string Nic = "0000:04:00.0";
    private const string Outer = "0000:05:00.0";
    private const string Beside = "0000:06:01.0";
    private const string Inner = "0000:06:02.0";
    private const string Deep = "0000:07:01.0";

    [Fact]
    public async Task Reset_OfASwitchWithTwoGroupsInAGuest_EvictsBothAndBringsThemBack()
    {
        using HubClient client = Hub.Client();
        Assert.Equal(HttpStatusCode.Created, (await client.PostAsync("/v1/guests", HubClients.SmallGuest("web01", Edu, Nic))).Status);
        HubAnswer started = await client.PostAsync("/v1/guests/web01/start");
        Assert.True(started.Status == HttpStatusCode.OK, started.Text);
        await Kernel.ConsoleAsync("web01", "guest: pci .* 1234:11e8");
        await Kernel.ConsoleAsync("web01", "guest: pci .* 8086:10d3 driver e1000e");

        HubAnswer refused = await client.PostAsync($"/v1/bridges/{Upstream}/reset");

        Assert.Equal((HttpStatusCode.Conflict, "reset_blocked"), (refused.Status, refused.Code));
        JsonNode[] refusals = [.. refused.Body!["refusals"]!.AsArray().OfType<JsonNode>()];
        Assert.Equal([$"{Edu}, guest web01", $"{Nic}, guest web01"], refusals.Select(refusal => string.Join(", ", refusal["blockedBy"]!.AsArray())));
        foreach ((JsonNode refusal, string device) in refusals.Zip((string[])[Edu, Nic]))
        {
            Assert.Contains($"group {await Kernel.GroupAsync(device)}", (string?)refusal["message"], StringComparison.Ordinal);
        }

        int seen = await Kernel.ConsoleLinesAsync("web01");
        HubAnswer reset = await client.PostAsync($"/v1/bridges/{Upstream}/reset?evict=true");

        Assert.True(reset.Status == HttpStatusCode.OK, reset.Text);
        HubAnswer operation = await client.GetAsync("/v1/operations?limit=1");
        string[] actions = [.. operation.Body!["items"]![0]!["steps"]!.AsArray().Select(step => (string)step!["action"]!)];
        Assert.Equal(["unplugDevice", "unplugDevice", "resetBelow", "checkDevices", "plugDevice", "plugDevice"], actions);
        foreach (string id in (string[])["1234:11e8", "8086:10d3 driver e1000e"])
        {
            string back = await Kernel.ConsoleAsync("web01", $"guest: pci .* {id}", seen);
            await Kernel.ConsoleAsync("web01", $"guest: pci {back.Split(' ')[2]} gone", seen);
        }

        Assert.Equal(("1234", "8086"), (await Kernel.VendorAsync(Edu), await Kernel.VendorAsync(Nic)));
        HubAnswer guest = await client.GetAsync("/v1/guests/web01");
        string[] files = await Kernel.VfioFilesAsync((int)guest.Body!["status"]!["pid"]!);
        Assert.Equal(2, files.Count(file => file == "/dev/vfio/vfio"));
        Assert.Equal(HttpStatusCode.NoContent, (await client.DeleteAsync("/v1/guests/web01?force=true")).Status);
        Assert.Equal(("", "e1000e"), (await Kernel.DriverAsync(Edu), await Kernel.DriverAsync(Nic)));
    }

    [Fact]
    public async Task Vfio_BesideABridge_SaysWhyItsBusCannotBeResetAndWhatCan()
    {
        using HubClient client = Hub.Client();
        HubAnswer unknown = await client.GetAsync($"/v1/devices/{Beside}/vfio");
        Assert.Equal((HttpStatusCode.NotFound, "container_not_found"), (unknown.Status, unknown.Code));
        HubAnswer claimed = await client.PostAsync("/v1/containers", new JsonObject { ["device"] = Beside });
        Assert.True(claimed.Status == HttpStatusCode.Created, claimed.Text);

        HubAnswer beside = await client.GetAsync($"/v1/devices/{Beside}/vfio");
        HubAnswer deep = await client.GetAsync($"/v1/devices/{Deep}/vfio");
        HubAnswer reset = await client.PostAsync($"/v1/bridges/{Outer}/reset");

        Assert.Equal([Beside, Inner, Deep], beside.Body!["dependentDevices"]!.AsArray().Select(device => (string?)device));
        Assert.Equal(beside.Body["dependentDevices"]!.ToJsonString(), beside.Body["resetDomain"]!.ToJsonString());
        Assert.Null(beside.Body["resetDomainDifference"]);
        Assert.Contains($"the bridge {Inner}", (string?)beside.Body["hotResetObstacle"], StringComparison.Ordinal);
        Assert.Contains($"POST /v1/bridges/{Outer}/reset", (string?)beside.Body["hotResetObstacle"], StringComparison.Ordinal);
        Assert.Equal([Deep], deep.Body!["dependentDevices"]!.AsArray().Select(device => (string?)device));
        Assert.Null(deep.Body["hotResetObstacle"]);
        Assert.Contains("bar0", beside.Body["regions"]!.AsArray().Select(region => (string?)region!["name"]));
        Assert.Contains("msi", beside.Body["irqs"]!.AsArray().Select(irq => (string?)irq!["name"]));

        // What the text promises holds: the reset that does not go through VFIO is done, and all below answer.
        Assert.True(reset.Status == HttpStatusCode.OK, reset.Text);
        Assert.Equal(("1234", "1234"), (await Kernel.VendorAsync(Beside), await Kernel.VendorAsync(Deep)));
        Assert.Equal(HttpStatusCode.NoContent, (await client.DeleteAsync($"/v1/containers/{(string?)claimed.Body!["id"]}")).Status);
    }
}
