using System.Text.Json.Nodes;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>What several tests ask of the service.</summary>
internal static class HubClients
{
    /// <summary>Shows that a device's group can be claimed, and gives it back.</summary>
    public static async Task ClaimAndReleaseAsync(this HubClient client, string device)
    {
        HubAnswer claimed = await client.PostAsync("/v1/containers", new JsonObject { ["device"] = device });
        Assert.True((int)claimed.Status == 201, claimed.Text);
        Assert.Equal(204, (int)(await client.DeleteAsync($"/v1/containers/{(string?)claimed.Body!["id"]}")).Status);
    }
}
