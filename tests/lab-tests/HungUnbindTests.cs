using System.Diagnostics;
using System.Text.Json.Nodes;
using AssignHub.Lab;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>The kernel does not end an unbind from vfio-pci while somebody has the device open: the service gives up waiting, and goes on.</summary>
[Collection("sample lab")]
public sealed class HungUnbindTests(SampleLab lab) : HubTests(lab)
{
    private const string Nic = "0000:01:00.0";
    private const string Disk = "0000:02:00.0";

    [Fact]
    public async Task Release_OfADeviceThatAnotherProcessKeepsOpen_FailsInTimeAndIsDoneWhenThatEnds()
    {
        using HubClient client = Hub.Client();
        HubAnswer claimed = await client.PostAsync("/v1/containers", new JsonObject { ["device"] = Nic });
        Assert.True((int)claimed.Status == 201, claimed.Text);
        string container = $"/v1/containers/{(string?)claimed.Body!["id"]}";
        string pid = await KeepOpenAsync();

        var clock = Stopwatch.StartNew();
        HubAnswer stuck = await client.SendAsync(HttpMethod.Delete, container, null, waitSeconds: 90);

        // The deadline of a kernel call is 20 s; the emulated machine is slow.
        Assert.InRange(clock.Elapsed.TotalSeconds, 15, 80);
        Assert.Equal((500, "host_fault"), ((int)stuck.Status, stuck.Code));
        Assert.Contains(Nic, stuck.Text, StringComparison.Ordinal);
        HubAnswer operation = await client.GetAsync("/v1/operations?limit=1");
        JsonNode failed = Assert.Single(operation.Body!["items"]![0]!["steps"]!.AsArray(), step => (string?)step!["state"] == "failed")!;
        Assert.Equal(("restoreDriver", Nic), ((string?)failed["action"], (string?)failed["subject"]));
        Assert.Contains("unbind", (string?)failed["error"], StringComparison.Ordinal);

        // Everything else goes on meanwhile.
        clock.Restart();
        Assert.Equal(200, (int)(await client.GetAsync("/v1/devices")).Status);
        Assert.InRange(clock.Elapsed.TotalSeconds, 0, 5);
        await client.ClaimAndReleaseAsync(Disk);
        Assert.Equal("failed", (string?)(await client.GetAsync(container)).Body!["state"]);

        await Host.RunAsync($"kill {pid}");
        await Host.EndedAsync(pid);
        await Host.RunAsync($"for i in $(seq 100); do [ \"$(basename $(readlink /sys/bus/pci/devices/{Nic}/driver))\" = vfio-pci ] || exit 0; sleep 0.1; done; exit 1");
        HubAnswer released = await client.DeleteAsync(container);

        Assert.True((int)released.Status == 204, released.Text);
        Assert.Equal("e1000e", await Kernel.DriverAsync(Nic));
    }

    /// <summary>Opens the device from a process of its own.</summary>
    private async Task<string> KeepOpenAsync()
    {
        string program = Path.Combine(AppContext.BaseDirectory, "vfio-probe.dll");
        int group = await Kernel.GroupAsync(Nic);
        return (await Host.RunAsync($$"""
            setsid dotnet {{program}} hold {{group}} {{Nic}} </dev/null >/run/hold.log 2>&1 &
            pid=$!
            for i in $(seq 300); do grep -q held /run/hold.log && break; kill -0 $pid || break; sleep 0.1; done
            grep -q held /run/hold.log || { cat /run/hold.log >&2; exit 1; }
            echo $pid
            """)).Trim();
    }
}
