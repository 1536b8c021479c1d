using System.Globalization;
using System.Text.Json.Nodes;
using AssignHub.Lab;
using AssignHub.Story;
using Xunit.Abstractions;

namespace AssignHub.Tests.Lab;

/// <summary>AssignHub on the real kernel of the sample lab: the story, refusals that change nothing, and crashes in the middle of a claim.</summary>
[Collection("sample lab")]
public sealed class StoryTests(SampleLab lab, ITestOutputHelper output) : HubTests(lab)
{
    private const string Nic = "0000:01:00.0";
    private static readonly string[] Shared = ["0000:04:01.0", "0000:04:02.0", "0000:04:03.0"];

    [Fact]
    public Task Story_OnTheSampleTopology_Holds() => PlayAsync(output);

    [Fact]
    public async Task Claim_OfAGroupThatAForeignProcessHolds_IsRefusedUntilItEnds()
    {
        int group = await Kernel.GroupAsync(Nic);
        await Host.RunAsync($"""
            modprobe vfio-pci
            cd /sys/bus/pci/devices/{Nic}
            echo vfio-pci >driver_override; echo {Nic} >driver/unbind; echo {Nic} >/sys/bus/pci/drivers_probe
            """);
        string pid = await Host.HoldAsync($"/dev/vfio/{group}");
        using HubClient client = Hub.Client();
        string before = await Kernel.BindingsAsync();

        HubAnswer refused = await client.PostAsync("/v1/containers", new JsonObject { ["group"] = group });
        HubAnswer shown = await client.GetAsync($"/v1/groups/{group}");

        Assert.Equal((409, "group_foreign"), ((int)refused.Status, refused.Code));
        Assert.Contains($"sleep (pid {pid})", refused.Text, StringComparison.Ordinal);
        Assert.Equal("foreign", (string?)shown.Body!["owner"]);
        Assert.Equal(before, await Kernel.BindingsAsync());

        await Host.RunAsync($"kill {pid}");
        await Host.EndedAsync(pid);
        await client.ClaimAndReleaseAsync(Nic);
        await Host.RunAsync($"""
            cd /sys/bus/pci/devices/{Nic}
            echo {Nic} >driver/unbind; echo >driver_override; echo {Nic} >/sys/bus/pci/drivers_probe
            [ "$(basename $(readlink driver))" = e1000e ]
            """);
    }

    [Fact]
    public async Task Claim_OfWhatIsNotThere_IsNotFound()
    {
        using HubClient client = Hub.Client();
        string before = await Kernel.BindingsAsync();

        HubAnswer device = await client.PostAsync("/v1/containers", new JsonObject { ["device"] = "0000:7f:00.0" });
        HubAnswer group = await client.PostAsync("/v1/containers", new JsonObject { ["group"] = 4711 });

        Assert.Equal((404, "device_not_found"), ((int)device.Status, device.Code));
        Assert.Equal((404, "group_not_found"), ((int)group.Status, group.Code));
        Assert.Equal(before, await Kernel.BindingsAsync());
    }

    [Fact]
    public async Task Detach_OfAGuestThatDoesNotLetGo_KeepsTheDeviceUntilForced()
    {
        // Without a kernel, the guest's processor waits in its firmware: nobody there answers the request to let go.
        using HubClient client = Hub.Client();
        string driver = await Kernel.DriverAsync(Nic);
        Assert.Equal(201, (int)(await client.PostAsync("/v1/guests", new JsonObject { ["name"] = "deaf", ["devices"] = new JsonArray(new JsonObject { ["address"] = Nic }) })).Status);
        Assert.Equal(200, (int)(await client.PostAsync("/v1/guests/deaf/start")).Status);

        HubAnswer refused = await client.SendAsync(HttpMethod.Delete, $"/v1/guests/deaf/devices/{Nic}", null, waitSeconds: 90);
        Assert.Equal((504, "unplug_timeout"), ((int)refused.Status, refused.Code));
        HubAnswer kept = await client.GetAsync($"/v1/guests/deaf/devices/{Nic}");
        Assert.Equal("attached", (string?)kept.Body!["state"]);
        Assert.Equal("vfio-pci", await Kernel.DriverAsync(Nic));

        Assert.Equal(204, (int)(await client.SendAsync(HttpMethod.Delete, $"/v1/guests/deaf/devices/{Nic}?force=true", null, waitSeconds: 90)).Status);
        Assert.Equal(driver, await Kernel.DriverAsync(Nic));
        HubAnswer guest = await client.GetAsync("/v1/guests/deaf");
        Assert.Equal("running", (string?)guest.Body!["status"]!["state"]);
        Assert.Empty(await Kernel.VfioFilesAsync((int)guest.Body["status"]!["pid"]!));
        Assert.Equal(204, (int)(await client.DeleteAsync("/v1/guests/deaf?force=true")).Status);
    }

    [Fact]
    public async Task Kill_InTheMiddleOfAClaim_LeavesNoDeviceBehind()
    {
        string[] before = await DriversAsync();
        await Host.RunAsync($": >{HubInLab.Log}");
        for (int i = 0; i < Shared.Length; i++)
        {
            // Killed from inside, in the moment in which the claim reaches this device; by a shell that starts no process for it.
            await Host.RunAsync($"""
                setsid bash -c 'read -r pid </run/assignhub.pid; until read -r to </sys/bus/pci/devices/{Shared[i]}/driver_override && [ "$to" = vfio-pci ]; do :; done; kill -KILL $pid' \
                  </dev/null >/dev/null 2>&1 &
                """);
            using (HubClient client = Hub.Client())
            {
                try
                {
                    await client.SendAsync(HttpMethod.Post, "/v1/containers", new JsonObject { ["device"] = Shared[0] }, waitSeconds: 0);
                }
                catch (HttpRequestException)
                {
                    // The service was gone before its answer.
                }
            }

            await Host.RunAsync("pid=$(cat /run/assignhub.pid); while kill -0 $pid 2>/dev/null; do sleep 0.05; done");
            await Hub.StartAsync();
            using HubClient again = Hub.Client();
            HubAnswer operation = await again.GetAsync("/v1/operations?limit=1");
            string id = (string)operation.Body!["items"]![0]!["id"]!;
            await again.GetAsync($"/v1/operations/{id}?wait=60");
            HubAnswer containers = await again.GetAsync("/v1/containers");

            if (containers.Body!["items"]!.AsArray() is [{ } container])
            {
                Assert.Equal("ready", (string?)container["state"]);
                Assert.All(await DriversAsync(), driver => Assert.Equal("vfio-pci", driver));
                Assert.Equal(204, (int)(await again.DeleteAsync($"/v1/containers/{(string?)container["id"]}")).Status);
            }

            Assert.Equal(before, await DriversAsync());
        }

        // The kills have to have hit claims that were under way, or the test has shown nothing; after the last device little of it remains.
        string hits = await Host.RunAsync($"grep -c 'was under way when the service ended' {HubInLab.Log} || true");
        Assert.InRange(int.Parse(hits, CultureInfo.InvariantCulture), Shared.Length - 1, Shared.Length);
    }

    private async Task<string[]> DriversAsync() => await Task.WhenAll(Shared.Select(Kernel.DriverAsync));
}

/// <summary>The same story where containers are iommufd contexts, and the guest gets open files.</summary>
[Collection("iommufd lab")]
public sealed class IommufdStoryTests(IommufdLab lab, ITestOutputHelper output) : HubTests(lab)
{
    [Fact]
    public async Task Story_OnIommufd_Holds()
    {
        await PlayAsync(output);

        using HubClient client = Hub.Client();
        HubAnswer host = await client.GetAsync("/v1/host");
        Assert.Equal("iommufd", (string?)host.Body!["backend"]);
    }
}

/// <summary>A bridge on shpchp keeps its group from being claimed.</summary>
[Collection("shpc lab")]
public sealed class ShpcTests(ShpcLab lab) : HubTests(lab)
{
    [Fact]
    public async Task Claim_BehindABridgeOnShpchp_IsRefusedUntilItIsUnbound()
    {
        using HubClient client = Hub.Client();
        string before = await Kernel.BindingsAsync();

        HubAnswer refused = await client.PostAsync("/v1/containers", new JsonObject { ["device"] = "0000:02:01.0" });

        Assert.Equal((409, "group_not_viable"), ((int)refused.Status, refused.Code));
        Assert.Equal(before, await Kernel.BindingsAsync());
        string remedy = (string)refused.Body!["refusals"]![0]!["remedy"]!;
        await Host.RunAsync(remedy[(remedy.IndexOf(':', StringComparison.Ordinal) + 1)..]);
        await client.ClaimAndReleaseAsync("0000:02:01.0");
        await Host.RunAsync("echo 0000:01:00.0 >/sys/bus/pci/drivers/shpchp/bind");
    }
}
