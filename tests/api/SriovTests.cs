// Virtual functions over HTTP: made, shown, refused to go while somebody has one, and put back when it fails.

using System.Text.Json.Nodes;
using AssignHub.Engine.Pci;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Api;

public sealed class SriovTests : IAsyncLifetime
{
    private const string Physical = "0000:07:00.0";
    private const string First = "0000:07:10.0";
    private const string Second = "0000:07:10.1";
    private const int Group = 20;
    private readonly Hub _hub = new();

    public Task InitializeAsync()
    {
        PciAddress port = PciAddress.Parse("0000:00:05.0");
        _hub.Host.Add(new SyntheticDevice(port)
        {
            VendorId = 0x1b36, DeviceId = 0x000c, ClassCode = 0x060400, Buses = (7, 7), PcieType = PcieType.RootPort, Driver = "pcieport", Group = 7,
        });
        _hub.Host.Add(new SyntheticDevice(Physical) { Parent = port, DeviceId = 0x10c9, Driver = "igb", Group = Group, TotalVfs = 4 });
        _hub.Host.AddDriver("igbvf", 0x8086, 0x10ca);
        return _hub.InitializeAsync();
    }

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public async Task Set_FromNone_FunctionsShowAtOnceInGroupsOfTheirOwn()
    {
        (int status, JsonNode? device) = await SetAsync(2);
        (int found, JsonNode? function) = await _hub.SendAsync("GET", $"/v1/devices/{First}");
        (_, JsonNode? group) = await _hub.SendAsync("GET", $"/v1/groups/{function!["group"]}");

        Assert.Equal((200, 2, 4), (status, (int)device!["sriov"]!["numVfs"]!, (int)device["sriov"]!["totalVfs"]!));
        Assert.Equal("2", InSysfs());
        Assert.Equal((200, Physical, "igbvf"), (found, (string?)function["sriov"]!["physicalFunction"], (string?)function["driver"]));
        Assert.True((bool)function["assignable"]!);
        Assert.Equal([First], group!["devices"]!.AsArray().Select(member => (string?)member));
    }

    [Fact]
    public async Task Set_DryRun_ShowsTheStepsAndChangesNothing()
    {
        await SetAsync(2);

        (int status, JsonNode? plan) = await SetAsync(3, "?dryRun=true");

        Assert.Equal(200, status);
        Assert.Equal(["setNumVfs", "setNumVfs"], plan!["steps"]!.AsArray().Select(step => (string?)step!["action"]));
        Assert.Equal("2", InSysfs());
    }

    [Fact]
    public async Task Set_ToWhatIs_SucceedsWithoutAnOperation()
    {
        await SetAsync(2);
        string before = (await _hub.SendAsync("GET", "/v1/operations?limit=1")).Body!["items"]![0]!["id"]!.ToString();

        (int status, JsonNode? device) = await SetAsync(2);

        Assert.Equal((200, 2), (status, (int)device!["sriov"]!["numVfs"]!));
        Assert.Equal(before, (await _hub.SendAsync("GET", "/v1/operations?limit=1")).Body!["items"]![0]!["id"]!.ToString());
    }

    [Fact]
    public async Task Set_ToAnotherNumberAndToNone_IsWhatIsThere()
    {
        await SetAsync(2);
        Assert.Equal(200, (await SetAsync(4)).Status);
        Assert.Equal(5, await CountAsync());

        Assert.Equal(200, (await SetAsync(0)).Status);

        Assert.Equal(1, await CountAsync());
        Assert.Equal((404, "0"), ((await _hub.SendAsync("GET", $"/v1/devices/{First}")).Status, InSysfs()));
        Assert.DoesNotContain((await _hub.SendAsync("GET", "/v1/groups?limit=1000")).Body!["items"]!.AsArray(), group => group!["devices"]!.AsArray().Count == 0);
    }

    [Fact]
    public async Task Set_WhileAGuestHasOne_NamesBothAndIsDoneOnceItIsBack()
    {
        await SetAsync(2);
        await _hub.SendAsync("POST", "/v1/guests", $$"""{ "name": "web01", "devices": [ { "address": "{{Second}}" } ] }""");

        (int status, JsonNode? problem) = await SetAsync(0);
        (int dry, _) = await SetAsync(3, "?dryRun=true");

        Assert.Equal((409, 409, "group_owned"), (status, dry, (string?)problem!["code"]));
        Assert.Contains(problem["refusals"]!.AsArray(), refusal => refusal!["blockedBy"]!.ToJsonString().Contains(Second, StringComparison.Ordinal)
            && refusal["blockedBy"]!.ToJsonString().Contains("guest web01", StringComparison.Ordinal));
        Assert.Equal("2", InSysfs());

        await _hub.SendAsync("DELETE", $"/v1/guests/web01/devices/{Second}");
        Assert.Equal(200, (await SetAsync(0)).Status);
        Assert.Equal("0", InSysfs());
    }

    [Fact]
    public async Task Set_WhileAForeignProcessHoldsOne_NamesIt()
    {
        await SetAsync(1);
        int group = (int)(await _hub.SendAsync("GET", $"/v1/devices/{First}")).Body!["group"]!;
        string device = Path.Combine(Path.GetDirectoryName(_hub.Host.PathOf(PciAddress.Parse(Physical)))!, First);
        File.Delete(Path.Combine(device, "driver"));
        File.CreateSymbolicLink(Path.Combine(device, "driver"), Path.Combine(_hub.Host.SysfsRoot, "bus/pci/drivers/vfio-pci"));
        _hub.Host.AddProcess(4242, "dpdk-testpmd", Path.Combine(_hub.Host.SysfsRoot, "dev", "vfio", $"{group}"));

        (int status, JsonNode? problem) = await SetAsync(0);

        Assert.Equal((409, "group_foreign"), (status, (string?)problem!["code"]));
        Assert.Contains("dpdk-testpmd (pid 4242)", (string?)problem["detail"], StringComparison.Ordinal);
        Assert.Equal("1", InSysfs());
    }

    [Fact]
    public async Task Set_OfAClaimedDevice_IsRefused()
    {
        await _hub.SendAsync("POST", "/v1/containers", $$"""{ "device": "{{Physical}}" }""");

        (int status, JsonNode? problem) = await SetAsync(1);

        Assert.Equal((409, "group_owned", "0"), (status, (string?)problem!["code"], InSysfs()));
    }

    [Fact]
    public async Task Claim_OfADeviceWithFunctions_IsDoneAfterTheRemedy()
    {
        await SetAsync(1);

        (int refused, JsonNode? problem) = await _hub.SendAsync("POST", "/v1/containers", $$"""{ "device": "{{Physical}}" }""");
        string remedy = (string)problem!["refusals"]![0]!["remedy"]!;
        (int done, _) = await _hub.SendAsync("PUT", remedy.Split(' ')[3], remedy[remedy.IndexOf('{', StringComparison.Ordinal)..^1]);
        (int claimed, _) = await _hub.SendAsync("POST", "/v1/containers", $$"""{ "device": "{{Physical}}" }""");

        Assert.Equal((409, 200, 201), (refused, done, claimed));
    }

    [Fact]
    public async Task Set_TheKernelFails_PutsTheFormerNumberBack()
    {
        await SetAsync(2);
        // The kernel takes fewer than it said when it was asked first.
        _hub.Host.WriteAttribute(PciAddress.Parse(Physical), "sriov_totalvfs", "2\n");

        (int status, JsonNode? problem) = await SetAsync(3);
        (_, JsonNode? operation) = await _hub.SendAsync("GET", "/v1/operations?limit=1");

        Assert.Equal((500, "host_fault", "ERANGE"), (status, (string?)problem!["code"], (string?)problem["errno"]));
        Assert.Equal(["succeeded", "failed", "succeeded"], operation!["items"]![0]!["steps"]!.AsArray().Select(step => (string?)step!["state"]));
        Assert.Equal(("2", 3), (InSysfs(), await CountAsync()));
    }

    [Theory]
    [InlineData(Physical, "{}", 400, "$")]
    [InlineData(Physical, """{ "numVfs": -1 }""", 400, "numVfs")]
    [InlineData(Physical, """{ "numVfs": 5 }""", 400, "numVfs")]
    [InlineData(Physical, """{ "numVfs": "two" }""", 400, "$.numVfs")]
    [InlineData(Hub.Nic, """{ "numVfs": 1 }""", 400, "address")]
    [InlineData("0000:7f:00.0", """{ "numVfs": 1 }""", 404, null)]
    public async Task Set_OfWhatCannotBe_NamesTheField(string address, string body, int wanted, string? field)
    {
        (int status, JsonNode? problem) = await _hub.SendAsync("PUT", $"/v1/devices/{address}/sriov", body);

        Assert.Equal((wanted, field), (status, problem!["errors"]?.AsObject().Single().Key));
    }

    private Task<(int Status, JsonNode? Body)> SetAsync(int count, string query = "") =>
        _hub.SendAsync("PUT", $"/v1/devices/{Physical}/sriov{query}", $$"""{ "numVfs": {{count}} }""");

    private string InSysfs() => File.ReadAllText(Path.Combine(_hub.Host.PathOf(PciAddress.Parse(Physical)), "sriov_numvfs")).Trim();

    /// <summary>How many functions the API shows on the device's bus.</summary>
    private async Task<int> CountAsync() => (await _hub.SendAsync("GET", "/v1/devices?limit=1000")).Body!["items"]!.AsArray()
        .Count(device => device!["address"]!.ToString().StartsWith("0000:07:", StringComparison.Ordinal));
}
