using System.Net;
using System.Text.Json.Nodes;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>Virtual functions on the real kernel: made, given to a guest, and removed only when everybody let go.</summary>
[Collection("sriov lab")]
public sealed class SriovTests(SriovLab lab) : HubTests(lab)
{
    private const string Nic = "0000:01:00.0";
    private const string Disk = "0000:02:00.0";

    [Theory]
    [InlineData(Nic, 3, 2)]
    [InlineData(Disk, 2, 4)]
    public async Task Functions_SetThroughTheApi_AreTheKernels(string physical, int first, int second)
    {
        using HubClient client = Hub.Client();

        foreach (int count in (int[])[first, second])
        {
            HubAnswer set = await SetAsync(client, physical, count);

            Assert.True(set.Status == HttpStatusCode.OK, set.Text);
            Assert.Equal(count, (int)set.Body!["sriov"]!["numVfs"]!);
            string[] functions = await FunctionsAsync(physical);
            Assert.Equal(count, functions.Length);
            foreach (string function in functions)
            {
                int group = await Kernel.GroupAsync(function);
                HubAnswer shown = await client.GetAsync($"/v1/devices/{function}");
                Assert.Equal(function, (await Host.RunAsync($"ls /sys/kernel/iommu_groups/{group}/devices")).Trim());
                Assert.Equal((group, physical), ((int)shown.Body!["group"]!, (string?)shown.Body["sriov"]!["physicalFunction"]));
            }
        }

        string[] gone = await FunctionsAsync(physical);
        Assert.Equal(HttpStatusCode.OK, (await SetAsync(client, physical, 0)).Status);
        Assert.Empty(await FunctionsAsync(physical));
        foreach (string function in gone)
        {
            Assert.Equal(HttpStatusCode.NotFound, (await client.GetAsync($"/v1/devices/{function}")).Status);
        }
    }

    [Fact]
    public async Task Functions_OneInARunningGuest_StayUntilItIsBack()
    {
        using HubClient client = Hub.Client();
        Assert.Equal(HttpStatusCode.OK, (await SetAsync(client, Nic, 2)).Status);
        string function = (await FunctionsAsync(Nic))[1];
        Assert.Equal(HttpStatusCode.Created, (await client.PostAsync("/v1/guests", HubClients.SmallGuest("web01"))).Status);
        Assert.Equal(HttpStatusCode.OK, (await client.PostAsync("/v1/guests/web01/start")).Status);
        await Kernel.ConsoleAsync("web01", "guest: ready");
        HubAnswer plugged = await client.PostAsync("/v1/guests/web01/devices", new JsonObject { ["address"] = function });
        Assert.True(plugged.Status == HttpStatusCode.Created, plugged.Text);
        await Kernel.ConsoleAsync("web01", "guest: pci .* 8086:10ca driver igbvf");

        HubAnswer none = await SetAsync(client, Nic, 0);
        HubAnswer more = await SetAsync(client, Nic, 3);

        foreach (HubAnswer refused in (HubAnswer[])[none, more])
        {
            Assert.Equal((HttpStatusCode.Conflict, "group_owned"), (refused.Status, refused.Code));
            string[] blockers = [.. refused.Body!["refusals"]!.AsArray().SelectMany(refusal => refusal!["blockedBy"]!.AsArray()).Select(blocker => (string)blocker!)];
            Assert.Contains(function, blockers);
            Assert.Contains("guest web01", blockers);
        }

        Assert.Equal(2, (await FunctionsAsync(Nic)).Length);
        Assert.Equal("vfio-pci", await Kernel.DriverAsync(function));
        HubAnswer claim = await client.PostAsync("/v1/containers", new JsonObject { ["device"] = Nic });
        Assert.Equal((HttpStatusCode.Conflict, "igb"), (claim.Status, await Kernel.DriverAsync(Nic)));

        Assert.Equal(HttpStatusCode.NoContent, (await client.DeleteAsync($"/v1/guests/web01/devices/{function}")).Status);
        await Kernel.ConsoleAsync("web01", "guest: pci .* gone");
        HubAnswer removed = await SetAsync(client, Nic, 0);
        Assert.True(removed.Status == HttpStatusCode.OK, removed.Text);
        Assert.Empty(await FunctionsAsync(Nic));
        Assert.Equal("0", (await Host.RunAsync($"cat /sys/bus/pci/devices/{Nic}/sriov_numvfs")).Trim());
        Assert.Equal(HttpStatusCode.NoContent, (await client.DeleteAsync("/v1/guests/web01?force=true")).Status);
    }

    [Fact]
    public async Task Functions_OneUsedByTheHostAndOneHeldByAProcess_AreBothNamed()
    {
        using HubClient client = Hub.Client();
        await Host.RunAsync("modprobe igbvf; modprobe vfio-pci");
        Assert.Equal(HttpStatusCode.OK, (await SetAsync(client, Nic, 2)).Status);
        string[] functions = await FunctionsAsync(Nic);
        int group = await Kernel.GroupAsync(functions[1]);
        await Host.RunAsync($"""
            interface=$(ls /sys/bus/pci/devices/{functions[0]}/net)
            ip addr add 192.0.2.9/24 dev $interface && ip link set $interface up
            cd /sys/bus/pci/devices/{functions[1]}
            echo vfio-pci >driver_override; [ ! -e driver ] || echo {functions[1]} >driver/unbind; echo {functions[1]} >/sys/bus/pci/drivers_probe
            setsid bash -c 'exec 9<>/dev/vfio/{group}; echo $$ >/run/holder.pid; exec sleep 300' </dev/null >/dev/null 2>&1 &
            for i in $(seq 50); do [ -s /run/holder.pid ] && break; sleep 0.1; done
            """);
        string holder = (await Host.RunAsync("cat /run/holder.pid")).Trim();

        HubAnswer refused = await SetAsync(client, Nic, 0);

        Assert.Equal(HttpStatusCode.Conflict, refused.Status);
        string[] codes = [.. refused.Body!["refusals"]!.AsArray().Select(refusal => (string)refusal!["code"]!).Distinct()];
        Assert.Equal(["device_in_use_by_host", "group_foreign"], codes);
        Assert.Contains($"pid {holder}", refused.Text, StringComparison.Ordinal);
        Assert.Equal(functions, await FunctionsAsync(Nic));

        await Host.RunAsync($"""
            kill {holder}; while kill -0 {holder} 2>/dev/null; do sleep 0.05; done; rm /run/holder.pid
            ip link set $(ls /sys/bus/pci/devices/{functions[0]}/net) down
            """);
        HubAnswer removed = await SetAsync(client, Nic, 0);
        Assert.True(removed.Status == HttpStatusCode.OK, removed.Text);
        Assert.Empty(await FunctionsAsync(Nic));
    }

    private static Task<HubAnswer> SetAsync(HubClient client, string physical, int count) =>
        client.SendAsync(HttpMethod.Put, $"/v1/devices/{physical}/sriov", new JsonObject { ["numVfs"] = count });

    /// <summary>The virtual functions that the kernel shows, in order.</summary>
    private async Task<string[]> FunctionsAsync(string physical) =>
        (await Host.RunAsync($"cd /sys/bus/pci/devices/{physical}; for f in virtfn*; do [ -e $f ] && basename $(readlink $f); done | sort"))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries);
}
