using System.Text.Json.Nodes;
using AssignHub.Lab;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>What several tests ask of the service.</summary>
internal static class HubClients
{
    /// <summary>A guest that boots the lab's small kernel and prints what happens to it.</summary>
    public static JsonObject SmallGuest(string name, params string[] devices) => new()
    {
        ["name"] = name,
        ["memoryBytes"] = 256L << 20,
        ["kernel"] = new JsonObject
        {
            ["path"] = LabAssets.GuestKernel,
            ["initrd"] = LabAssets.GuestInitrd,
            ["commandLine"] = LabAssets.GuestCommandLine,
        },
        ["devices"] = new JsonArray([.. devices.Select(device => new JsonObject { ["address"] = device })]),
    };

    /// <summary>Shows that a device's group can be claimed, and gives it back.</summary>
    public static async Task ClaimAndReleaseAsync(this HubClient client, string device)
    {
        HubAnswer claimed = await client.PostAsync("/v1/containers", new JsonObject { ["device"] = device });
        Assert.True((int)claimed.Status == 201, claimed.Text);
        Assert.Equal(204, (int)(await client.DeleteAsync($"/v1/containers/{(string?)claimed.Body!["id"]}")).Status);
    }
}
