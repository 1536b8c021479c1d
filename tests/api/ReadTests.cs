// What is read: hardware, lists, operations, events, and the pages that need no token.

using System.Text.Json.Nodes;

namespace AssignHub.Tests.Api;

public sealed class ReadTests(Hub hub) : IClassFixture<Hub>
{
    [Fact]
    public async Task Device_UsedByTheHost_SaysHow()
    {
        (_, JsonNode? disk) = await hub.SendAsync("GET", $"/v1/devices/{Hub.UsedDisk}");

        Assert.False((bool)disk!["assignable"]!);
        Assert.Equal("host", (string?)disk["state"]);
        Assert.Contains("/srv", disk["hostUse"]![0]!["detail"]!.ToString(), StringComparison.Ordinal);
        Assert.Equal("device_in_use_by_host", (string?)disk["refusals"]![0]!["code"]);
    }

    [Fact]
    public async Task Bridge_WithDevicesBelow_NamesWhatItsResetHits()
    {
        (_, JsonNode? bridge) = await hub.SendAsync("GET", $"/v1/bridges/{Hub.Bridge}");

        Assert.Equal([Hub.SharedA, Hub.SharedB], bridge!["devices"]!.AsArray().Select(device => (string?)device));
        Assert.Equal([Hub.SharedGroup], bridge["groups"]!.AsArray().Select(group => (int)group!));
    }

    [Fact]
    public async Task List_PageByPage_HasEveryItemOnce()
    {
        List<string?> seen = [];
        string? cursor = null;
        do
        {
            (_, JsonNode? page) = await hub.SendAsync("GET", $"/v1/devices?limit=3{(cursor is null ? "" : $"&cursor={cursor}")}");
            seen.AddRange(page!["items"]!.AsArray().Select(device => (string?)device!["address"]));
            cursor = (string?)page["next"];
        }
        while (cursor is not null);

        (_, JsonNode? all) = await hub.SendAsync("GET", "/v1/devices?limit=1000");
        Assert.Equal(all!["items"]!.AsArray().Select(device => (string?)device!["address"]), seen);
    }

    [Theory]
    [InlineData("/v1/devices?vendorId=1234", 3)]
    [InlineData("/v1/devices?driver=nvme", 1)]
    [InlineData("/v1/devices?group=12", 3)]
    [InlineData("/v1/groups?assignable=true", 2)]
    public async Task List_Filtered_HasOnlyThose(string path, int count)
    {
        (_, JsonNode? page) = await hub.SendAsync("GET", path);

        Assert.Equal(count, page!["items"]!.AsArray().Count);
    }

    [Fact]
    public async Task Guest_Created_ReservesItsDeviceAndGivesItBackWhenDeleted()
    {
        (int created, JsonNode? guest) = await hub.SendAsync("POST", "/v1/guests", $$"""{ "name": "web01", "devices": [ { "address": "{{Hub.Nic}}" } ] }""");
        Assert.Equal(201, created);
        Assert.Equal("pending", (string?)guest!["status"]!["devices"]![0]!["state"]);
        Assert.Equal("vfio-pci", hub.DriverOf(Hub.Nic));

        (int again, _) = await hub.SendAsync("POST", "/v1/guests", $$"""{ "name": "web01", "devices": [ { "address": "{{Hub.Nic}}" } ] }""");
        (int other, _) = await hub.SendAsync("POST", "/v1/guests", """{ "name": "web01", "vcpus": 2 }""");
        (int deleted, _) = await hub.SendAsync("DELETE", "/v1/guests/web01");

        Assert.Equal((201, 409, 204), (again, other, deleted));
        Assert.Equal("e1000e", hub.DriverOf(Hub.Nic));
    }

    [Fact]
    public async Task Operation_Ended_IsToldByEventsToo()
    {
        await hub.SendAsync("POST", "/v1/guests", """{ "name": "web09" }""");
        (_, JsonNode? operations) = await hub.SendAsync("GET", "/v1/operations?limit=1");
        string id = (string)operations!["items"]![0]!["id"]!;
        (int status, JsonNode? operation) = await hub.SendAsync("GET", $"/v1/operations/{id}?wait=5");
        (_, JsonNode? events) = await hub.SendAsync("GET", "/v1/events?limit=1000");

        Assert.Equal(200, status);
        Assert.Equal("succeeded", (string?)operation!["state"]);
        Assert.Equal(["operationStarted", "operationSucceeded"],
            events!["items"]!.AsArray().Where(happened => (string?)happened!["operation"] == id).Select(happened => (string?)happened!["kind"]));
    }

    [Theory]
    [InlineData("/healthz", "ok")]
    [InlineData("/readyz", "ready")]
    [InlineData("/openapi.yaml", "openapi: '3.1")]
    [InlineData("/swagger/index.html", "swagger-ui")]
    [InlineData("/swagger/swagger-ui-bundle.js", "SwaggerUI")]
    public async Task Page_WithoutToken_IsThere(string path, string content)
    {
        using var stranger = new HttpClient(new ContractHandler()) { BaseAddress = hub.Url };

        Assert.Contains(content, await stranger.GetStringAsync(path), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Swagger_Page_LoadsNothingFromElsewhere()
    {
        using var stranger = new HttpClient(new ContractHandler()) { BaseAddress = hub.Url };
        string page = await stranger.GetStringAsync("/swagger/index.html");

        Assert.DoesNotContain("src=\"http", page, StringComparison.Ordinal);
        Assert.DoesNotContain("href=\"http", page, StringComparison.Ordinal);
    }
}
