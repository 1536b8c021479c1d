using System.Text.Json.Nodes;
using AssignHub.Lab;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>A dry run tells the truth: the same steps as the operation that then runs, or the same refusals, for every group of every lab that has one to claim.</summary>
public abstract class DryRuns(LabFixture lab) : HubTests(lab)
{
    [Fact]
    public async Task DryRun_OfEveryAssignableGroup_IsWhatThenRuns()
    {
        using HubClient client = Hub.Client();
        HubAnswer groups = await client.GetAsync("/v1/groups?assignable=true&limit=1000");
        int claimed = 0;
        foreach (JsonNode? group in groups.Body!["items"]!.AsArray())
        {
            var body = new JsonObject { ["group"] = (int)group!["id"]! };
            HubAnswer plan = await client.PostAsync("/v1/containers?dryRun=true", body);
            HubAnswer container = await client.PostAsync("/v1/containers", body);
            if ((int)plan.Status == 409)
            {
                // What only a walk through all processes shows is looked for before a decision, not in the listing.
                Assert.Equal(plan.Body!["refusals"]!.ToJsonString(), container.Body!["refusals"]!.ToJsonString());
                continue;
            }

            Assert.True((int)container.Status == 201, container.Text);
            await AssertRanAsync(client, plan);
            string path = $"/v1/containers/{(string?)container.Body!["id"]}";
            HubAnswer way = await client.DeleteAsync($"{path}?dryRun=true");
            Assert.Equal(204, (int)(await client.DeleteAsync(path)).Status);
            await AssertRanAsync(client, way);
            claimed++;
        }

        Assert.NotEqual(0, claimed);
    }

    /// <summary>The last operation is the plan, step by step, and all of it was done.</summary>
    private static async Task AssertRanAsync(HubClient client, HubAnswer plan)
    {
        Assert.Equal(200, (int)plan.Status);
        HubAnswer operations = await client.GetAsync("/v1/operations?limit=1");
        JsonNode operation = operations.Body!["items"]![0]!;
        Assert.Equal("succeeded", (string?)operation["state"]);
        Assert.Equal(Steps(plan.Body!), Steps(operation));
        Assert.Equal(plan.Body!["warnings"]!.ToJsonString(), operation["warnings"]!.ToJsonString());
    }

    private static IEnumerable<(string?, string?, string?)> Steps(JsonNode planned) =>
        planned["steps"]!.AsArray().Select(step => ((string?)step!["action"], (string?)step["subject"], (string?)step["reason"]));
}

[Collection("sample lab")]
public sealed class SampleDryRuns(SampleLab lab) : DryRuns(lab);

[Collection("switch lab")]
public sealed class SwitchDryRuns(SwitchLab lab) : DryRuns(lab);

[Collection("functions lab")]
public sealed class FunctionsDryRuns(FunctionsLab lab) : DryRuns(lab);

[Collection("sriov lab")]
public sealed class SriovDryRuns(SriovLab lab) : DryRuns(lab);

[Collection("type1 vfio lab")]
public sealed class VfioDryRuns(Type1VfioLab lab) : DryRuns(lab);

[Collection("hostuse lab")]
public sealed class HostUseDryRuns(HostUseLab lab) : DryRuns(lab);
