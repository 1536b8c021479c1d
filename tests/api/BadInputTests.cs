// Bad input gets the right 4xx problem, and never a 500.

using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace AssignHub.Tests.Api;

public sealed class BadInputTests(Hub hub) : IClassFixture<Hub>
{
    [Theory]
    [InlineData("GET", "/v1/devices/3:1.0", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/devices/0000:03:01.8", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/devices/0000:0A:00.0", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/devices/..%2f..%2fetc%2fpasswd", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/devices/0000:ff:1f.7", null, 404, "device_not_found")]
    [InlineData("GET", "/v1/devices?group=ten", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/devices?limit=0", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/devices?limit=99999999999999999999", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/devices?assignable=maybe", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/groups/x", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/groups/-1", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/groups/99999999999", null, 400, "validation_failed")]
    [InlineData("GET", "/v1/groups/4711", null, 404, "group_not_found")]
    [InlineData("GET", "/v1/bridges/0000:01:00.0", null, 404, "bridge_not_found")]
    [InlineData("GET", "/v1/containers/c-0", null, 404, "container_not_found")]
    [InlineData("GET", "/v1/guests/nobody", null, 404, "guest_not_found")]
    [InlineData("GET", "/v1/operations/none", null, 404, "operation_not_found")]
    [InlineData("GET", "/v1/nothing", null, 404, "not_found")]
    [InlineData("GET", "/v1/guests/a/b/c/d", null, 404, "not_found")]
    [InlineData("PATCH", "/v1/guests/a", null, 405, "method_not_allowed")]
    [InlineData("DELETE", "/v1/host", null, 405, "method_not_allowed")]
    [InlineData("POST", "/v1/containers", "", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", "{", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", "null", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", "[]", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", "{}", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", """{ "group": "ten" }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", """{ "group": 1e400 }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", """{ "group": -1 }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", """{ "group": 10, "group": 11 }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", """{ "group": 10, "color": "red" }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers", """{ "device": "3:1.0" }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/containers?dryRun=perhaps", """{ "group": 10 }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a/b" }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "" }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": null }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": ".." }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "vcpus": 0 }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "memoryBytes": 9223372036854775807 }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "cpu": "host,-device" , "machine": "pc" }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "kernel": { "path": "vmlinuz" } }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "kernel": { } }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "disks": [ { "path": null } ] }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "disks": null, "devices": [ null ] }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "networks": [ { "mac": "01:00:00:00:00:00" } ] }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "labels": { "k": null } }""", 400, "validation_failed")]
    [InlineData("POST", "/v1/guests", """{ "name": "a", "guestIommu": 1 }""", 400, "validation_failed")]
    [InlineData("PUT", "/v1/devices/0000:02:00.0/override", null, 415, "unsupported_media_type")]
    [InlineData("PUT", "/v1/devices/0000:02:00.0/override", "{}", 400, "validation_failed")]
    [InlineData("PUT", "/v1/devices/0000:02:00.0/override", """{ "reason": "because" }""", 400, "validation_failed")]
    [InlineData("PUT", "/v1/devices/0000:02:00.0/override", """{ "reason": " ", "expiresInSeconds": 60 }""", 400, "validation_failed")]
    [InlineData("PUT", "/v1/devices/0000:02:00.0/override", """{ "reason": "a\nb", "expiresInSeconds": 60 }""", 400, "validation_failed")]
    [InlineData("PUT", "/v1/devices/0000:02:00.0/override", """{ "reason": "because", "expiresInSeconds": 0 }""", 400, "validation_failed")]
    [InlineData("PUT", "/v1/devices/0000:02:00.0/override", """{ "reason": "because", "expiresInSeconds": 604801 }""", 400, "validation_failed")]
    [InlineData("PUT", "/v1/devices/0000:7f:00.0/override", """{ "reason": "because", "expiresInSeconds": 60 }""", 404, "device_not_found")]
    [InlineData("PUT", "/v1/devices/0000:03:00.0/override", """{ "reason": "because", "expiresInSeconds": 60 }""", 409, "device_is_bridge")]
    [InlineData("DELETE", "/v1/devices/0000:7f:00.0/override", null, 404, "device_not_found")]
    [InlineData("POST", "/v1/guests/nobody/start", null, 404, "guest_not_found")]
    [InlineData("POST", "/v1/guests/nobody/devices", """{ "address": "0000:01:00.0" }""", 404, "guest_not_found")]
    [InlineData("DELETE", "/v1/guests/nobody/devices/1:0", null, 400, "validation_failed")]
    [InlineData("POST", "/v1/bridges/0000:01:00.0/reset", null, 404, "bridge_not_found")]
    public async Task Request_Malformed_GetsItsProblem(string method, string path, string? body, int wantedStatus, string wantedCode)
    {
        (int status, JsonNode? problem) = await hub.SendAsync(method, path, body);

        Assert.Equal((wantedStatus, wantedCode), (status, (string?)problem?["code"]));
        Assert.Equal(wantedStatus, (int?)problem!["status"]);
        Assert.NotEqual("", (string?)problem["detail"]);
        Assert.NotEqual("", (string?)problem["traceId"]);
        Assert.All(problem["refusals"]!.AsArray(), refusal => Assert.NotEqual("", (string?)refusal!["remedy"]));
        Assert.NotEmpty(problem["refusals"]!.AsArray());
    }

    [Fact]
    public async Task Guest_ManyFieldsWrong_NamesThemAll()
    {
        (_, JsonNode? problem) = await hub.SendAsync("POST", "/v1/guests", """{ "name": "a/b", "vcpus": 0, "memoryBytes": 1, "hotplugSlots": 99 }""");

        Assert.Equal(["hotplugSlots", "memoryBytes", "name", "vcpus"], problem!["errors"]!.AsObject().Select(error => error.Key));
    }

    [Fact]
    public async Task Body_TenMegabytes_IsTooLarge()
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, "/v1/containers")
        {
            Content = new StringContent($$"""{ "guest": "{{new string('x', 10 << 20)}}" }""", Encoding.UTF8, "application/json"),
        };
        // As curl does with a body of this size; the answer comes before the body is sent.
        request.Headers.ExpectContinue = true;
        using HttpResponseMessage answer = await hub.Client.SendAsync(request);

        Assert.Equal(413, (int)answer.StatusCode);
        Assert.Equal("body_too_large", (string?)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["code"]);
    }

    [Fact]
    public async Task Body_NotJson_IsUnsupported()
    {
        using var content = new StringContent("group=10", Encoding.UTF8, "application/x-www-form-urlencoded");
        using HttpResponseMessage answer = await hub.Client.PostAsync("/v1/containers", content);

        Assert.Equal(415, (int)answer.StatusCode);
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType?.MediaType);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("wrong")]
    [InlineData("")]
    public async Task Token_MissingOrWrong_Is401(string? token)
    {
        using var stranger = new HttpClient(new ContractHandler()) { BaseAddress = hub.Url };
        stranger.DefaultRequestHeaders.Authorization = token is null ? null : new AuthenticationHeaderValue("Bearer", token);
        foreach (string path in (string[])["/v1/host", "/v1/devices", "/v1/groups", "/v1/bridges", "/v1/containers", "/v1/guests", "/v1/operations", "/v1/events"])
        {
            using HttpResponseMessage answer = await stranger.GetAsync(path);

            Assert.Equal(401, (int)answer.StatusCode);
            Assert.Equal("unauthenticated", (string?)JsonNode.Parse(await answer.Content.ReadAsStringAsync())!["code"]);
        }
    }
}
