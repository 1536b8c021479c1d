using System.Text.Json.Nodes;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>A host without an IOMMU: nothing can be claimed, not even what VFIO's no-IOMMU mode offers, unless the service was started for it.</summary>
[Collection("noiommu lab")]
public sealed class NoIommuTests(NoIommuLab lab) : HubTests(lab)
{
    private const string Edu = "0000:01:00.0";
    private const string Nic = "0000:02:00.0";

    [Fact]
    public async Task Claim_WithoutAGroup_IsRefusedAndNothingIsTouched()
    {
        using HubClient client = Hub.Client();
        string before = await Kernel.BindingsAsync();

        HubAnswer refused = await client.PostAsync("/v1/containers", new JsonObject { ["device"] = Nic });

        Assert.Equal((409, "iommu_disabled"), ((int)refused.Status, refused.Code));
        Assert.Equal(before, await Kernel.BindingsAsync());
    }

    [Fact]
    public async Task Claim_OfAGroupThatVfioMadeUp_NeedsTheServiceToAllowItAndNeverGoesToAGuest()
    {
        await Host.RunAsync("modprobe vfio enable_unsafe_noiommu_mode=1; modprobe vfio-pci");
        await lab.BindAsync(Edu, "vfio-pci");
        int group = await Kernel.GroupAsync(Edu);
        await Host.RunAsync($"test -c /dev/vfio/noiommu-{group}");
        var body = new JsonObject { ["device"] = Edu };
        using (HubClient client = Hub.Client())
        {
            HubAnswer refused = await client.PostAsync("/v1/containers", body);
            Assert.Equal(409, (int)refused.Status);
            Assert.Contains(refused.Body!["refusals"]!.AsArray(), refusal => (string?)refusal!["code"] == "noiommu_refused");
        }

        await Hub.StopAsync();
        await Hub.StartAsync("ASSIGNHUB__HOST__ALLOWNOIOMMU=true");
        using HubClient allowed = Hub.Client();
        HubAnswer host = await allowed.GetAsync("/v1/host");
        HubAnswer plan = await allowed.PostAsync("/v1/containers?dryRun=true", body);
        HubAnswer claimed = await allowed.PostAsync("/v1/containers", body);

        Assert.Contains("--allow-noiommu", host.Text, StringComparison.Ordinal);
        Assert.Contains("has no IOMMU behind it", plan.Body!["warnings"]!.ToJsonString(), StringComparison.Ordinal);
        Assert.True((int)claimed.Status == 201, claimed.Text);
        Assert.Equal(("noiommu", "ready"), ((string?)claimed.Body!["backend"], (string?)claimed.Body["state"]));
        HubAnswer guest = await allowed.PostAsync("/v1/guests", HubClients.SmallGuest("web01", Edu));
        Assert.Equal((409, "noiommu_refused"), ((int)guest.Status, guest.Code));

        Assert.Equal(204, (int)(await allowed.DeleteAsync($"/v1/containers/{(string?)claimed.Body["id"]}")).Status);
        await Host.RunAsync($"cd /sys/bus/pci/devices/{Edu}; [ ! -e driver ] || echo {Edu} >driver/unbind; echo >driver_override");
    }
}
