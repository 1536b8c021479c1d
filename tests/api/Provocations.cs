// What brings each operation of the document to each of its statuses on a synthetic host: a row an operation, and what else a status needs.
// A new operation needs its row in Good; the statuses that follow from the form of a request (401, 412, 415, …) are derived from that.

using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Synthetic;
using Microsoft.Extensions.DependencyInjection;

namespace AssignHub.Tests.Api;

/// <summary>A request that an operation is asked with, after others.</summary>
/// <param name="Operation">The operation's id.</param>
/// <param name="Path">Path and query; <c>{last}</c> is the id that the last of <c>Given</c> answered with, <c>{newest}</c> that of the newest operation.</param>
/// <param name="Body">JSON, or null.</param>
internal sealed record Asked(string Operation, string Path, string? Body = null)
{
    /// <summary>Requests before it, as <c>VERB path body</c>; each has to succeed.</summary>
    public string[] Given { get; init; } = [];
    /// <summary>What is done to the host between those and this; what it gives is disposed of after.</summary>
    public Func<Hub, Task<IDisposable?>>? Before { get; init; }
    public (string Name, string Value)[] Headers { get; init; } = [];
    public int Status { get; init; } = 200;
}

internal static class Provocations
{
    public const string Physical = "0000:07:00.0";
    /// <summary>Of the NIC, so that another card in its slot is known to be another.</summary>
    public const ulong Serial = 0x1111;
    private const string Container = "/v1/containers/c-0000-01-00-0";
    private const string Claimed = """POST /v1/containers { "group": 10 }""";
    private const string Guest = """POST /v1/guests { "name": "web01" }""";
    private const string GuestWithNic = $$"""POST /v1/guests { "name": "web01", "devices": [ { "address": "{{Hub.Nic}}" } ] }""";
    private const string Overridden = $$"""PUT /v1/devices/{{Hub.UsedDisk}}/override { "reason": "it moves to web01", "expiresInSeconds": 3600 }""";
    private const string Token = """POST /v1/tokens { "name": "ansible", "role": "operator" }""";

    /// <summary>A request of each operation that succeeds.</summary>
    public static Asked[] Good { get; } =
    [
        new("listTokens", "/v1/tokens?limit=1") { Given = [Token] },
        new("createToken", "/v1/tokens", """{ "name": "ansible", "role": "operator" }""") { Status = 201 },
        new("getToken", "/v1/tokens/{last}") { Given = [Token] },
        new("revokeToken", "/v1/tokens/{last}") { Given = [Token], Status = 204 },
        new("listContainers", "/v1/containers?limit=1") { Given = [Claimed] },
        new("claimGroup", "/v1/containers", """{ "group": 10 }""") { Status = 201 },
        new("getContainer", Container) { Given = [Claimed] },
        new("releaseContainer", Container) { Given = [Claimed], Status = 204 },
        new("acceptContainer", $"{Container}/accept") { Given = [Claimed], Before = ReplaceNicAsync },
        new("listGuests", "/v1/guests?limit=1") { Given = [Guest] },
        new("createGuest", "/v1/guests", $$"""{ "name": "web01", "vcpus": 2, "memoryBytes": 1073741824, "devices": [ { "address": "{{Hub.Nic}}" } ] }""") { Status = 201 },
        new("getGuest", "/v1/guests/web01") { Given = [Guest] },
        new("deleteGuest", "/v1/guests/web01") { Given = [GuestWithNic], Status = 204 },
        // A guest cannot run without QEMU and KVM: what these do is in the lab tests, and here what they would do.
        new("startGuest", "/v1/guests/web01/start?dryRun=true") { Given = [Guest] },
        new("stopGuest", "/v1/guests/web01/stop") { Given = [Guest] },
        new("getGuestConsole", "/v1/guests/web01/console") { Given = [Guest] },
        new("listGuestDevices", "/v1/guests/web01/devices?limit=1") { Given = [GuestWithNic] },
        new("attachDevice", "/v1/guests/web01/devices", $$"""{ "address": "{{Hub.Nic}}" }""") { Given = [Guest], Status = 201 },
        new("getGuestDevice", $"/v1/guests/web01/devices/{Hub.Nic}") { Given = [GuestWithNic] },
        new("detachDevice", $"/v1/guests/web01/devices/{Hub.Nic}") { Given = [GuestWithNic], Status = 204 },
        new("getHost", "/v1/host"),
        new("rescanHost", "/v1/host/rescan"),
        new("listDevices", "/v1/devices?limit=1"),
        new("getDevice", $"/v1/devices/{Hub.UsedDisk}"),
        new("resetDevice", $"/v1/devices/{Hub.Nic}/reset") { Given = [Claimed] },
        new("setOverride", $"/v1/devices/{Hub.UsedDisk}/override", """{ "reason": "it moves to web01", "expiresInSeconds": 3600 }"""),
        new("clearOverride", $"/v1/devices/{Hub.UsedDisk}/override") { Given = [Overridden], Status = 204 },
        new("setDeviceSriov", $"/v1/devices/{Physical}/sriov", """{ "numVfs": 2 }"""),
        new("clearDevice", $"/v1/devices/{Hub.Nic}/clear") { Given = [Claimed], Before = QuarantineNicAsync },
        new("getDeviceVfio", $"/v1/devices/{Hub.Nic}/vfio") { Given = [Claimed] },
        new("listGroups", "/v1/groups?limit=1"),
        new("getGroup", "/v1/groups/11"),
        new("listBridges", "/v1/bridges?limit=1"),
        new("getBridge", $"/v1/bridges/{Hub.Bridge}"),
        new("resetBridge", $"/v1/bridges/{Hub.Bridge}/reset"),
        new("listOperations", "/v1/operations?limit=1") { Given = [Guest] },
        new("getOperation", "/v1/operations/{newest}") { Given = [Guest] },
        new("cancelOperation", "/v1/operations/{newest}") { Given = [Guest] },
        new("listEvents", "/v1/events?limit=1") { Given = [Guest] },
        new("getHealth", "/healthz"),
        new("getReadiness", "/readyz"),
        new("getMetrics", "/metrics"),
    ];

    /// <summary>Statuses that need more than a good request in another form.</summary>
    public static Asked[] Others { get; } =
    [
        new("createToken", "/v1/tokens", """{ "name": "admin", "role": "viewer" }""") { Status = 400 },
        new("claimGroup", "/v1/containers", """{ "group": 11 }""") { Status = 409 },
        new("claimGroup", "/v1/containers", """{ "group": 99 }""") { Status = 404 },
        new("claimGroup", "/v1/containers", "{ }") { Status = 400 },
        new("acceptContainer", $"{Container}/accept") { Given = [Claimed], Before = RemoveNicAsync, Status = 409 },
        new("createGuest", "/v1/guests", """{ "name": "web01", "vcpus": 2 }""") { Given = [Guest], Status = 409 },
        new("createGuest", "/v1/guests", """{ "name": "web01", "devices": [ { "address": "0000:7f:00.0" } ] }""") { Status = 404 },
        new("createGuest", "/v1/guests", """{ "name": "a/b", "vcpus": 0 }""") { Status = 400 },
        new("attachDevice", "/v1/guests/web01/devices", $$"""{ "address": "{{Hub.UsedDisk}}" }""") { Given = [Guest], Status = 409 },
        new("startGuest", "/v1/guests/web01/start") { Given = [Guest], Status = 502 },
        new("startGuest", "/v1/guests/web01/start") { Given = [GuestWithNic], Before = RemoveNicAsync, Status = 409 },
        new("pauseGuest", "/v1/guests/web01/pause") { Given = [Guest], Status = 409 },
        new("resumeGuest", "/v1/guests/web01/resume") { Given = [Guest], Status = 409 },
        new("resetDevice", $"/v1/devices/{Hub.UsedDisk}/reset") { Status = 409 },
        new("resetBridge", "/v1/bridges/0000:00:02.0/reset") { Status = 409 },
        new("setOverride", $"/v1/devices/{Hub.Bridge}/override", """{ "reason": "it moves to web01", "expiresInSeconds": 3600 }""") { Status = 409 },
        new("setDeviceSriov", $"/v1/devices/{Physical}/sriov", """{ "numVfs": 1 }""")
        {
            Given = [$$"""POST /v1/containers { "device": "{{Physical}}" }"""], Status = 409,
        },
        new("getDeviceVfio", $"/v1/devices/{Hub.Bridge}/vfio") { Given = [$$"""POST /v1/containers { "device": "{{Hub.SharedA}}" }"""], Status = 409 },
        new("getGroup", "/v1/groups/ten") { Status = 400 },
        new("cancelOperation", "/v1/operations/{newest}") { Given = [Claimed], Before = StickAsync, Status = 202 },
        new("listEvents", "/v1/events?cursor=999999") { Headers = [("Accept", "text/event-stream")], Status = 410 },
    ];

    /// <summary>Statuses that are not provoked here, and why. <c>*</c> is every operation.</summary>
    public static (string Operation, int Status, string Reason)[] Excused { get; } =
    [
        ("*", 500, "A bug, or a fault of the host: SriovTests provokes one."),
        ("*", 502, "QEMU's own failures: startGuest provokes one, for QEMU does not run on a synthetic host; the lab tests have the others."),
        ("*", 504, "A guest that does not let go: it takes a guest."),
        ("getReadiness", 503, "MetricsTests takes away what the service needs."),
        ("listEvents", 429, "EventStreamTests opens too many."),
        ("pauseGuest", 200, "It takes a guest that runs."),
        ("pauseGuest", 202, "It takes a guest that runs."),
        ("resumeGuest", 200, "It takes a guest that runs."),
        ("resumeGuest", 202, "It takes a guest that runs."),
        ("stopGuest", 202, "It takes a guest that runs."),
        ("deleteGuest", 409, "It takes a guest that runs."),
        ("releaseContainer", 409, "It takes a guest that runs."),
        ("createToken", 409, "IdempotencyTests sends a request while its first is under way."),
        ("rescanHost", 409, "IdempotencyTests sends a request while its first is under way."),
        ("stopGuest", 409, "IdempotencyTests sends a request while its first is under way."),
        ("clearDevice", 409, "IdempotencyTests sends a request while its first is under way."),
        ("clearOverride", 409, "Another operation has to hold the device for longer than a request waits."),
        ("detachDevice", 409, "Another operation has to hold the guest for longer than a request waits."),
    ];

    /// <summary>The same slot with another card in it, until it is disposed of.</summary>
    private static async Task<IDisposable?> ReplaceNicAsync(Hub hub)
    {
        Plug(hub, serial: 0x2222);
        return await FencedAsync(hub);
    }

    /// <summary>An empty slot, until it is disposed of.</summary>
    private static async Task<IDisposable?> RemoveNicAsync(Hub hub)
    {
        hub.Host.Remove(PciAddress.Parse(Hub.Nic));
        return await FencedAsync(hub);
    }

    private static async Task<IDisposable> FencedAsync(Hub hub)
    {
        var back = new After(() => Plug(hub, Serial));
        for (int i = 0; i < 100 && (string?)(await hub.SendAsync("GET", Container)).Body!["state"] != "fenced"; i++)
        {
            await Task.Delay(100);
        }

        return back;
    }

    /// <summary>A NIC that did not answer after a reset.</summary>
    private static async Task<IDisposable?> QuarantineNicAsync(Hub hub)
    {
        string config = Path.Combine(hub.Host.PathOf(PciAddress.Parse(Hub.Nic)), "config");
        byte[] good = await File.ReadAllBytesAsync(config);
        byte[] dead = new byte[good.Length];
        Array.Fill(dead, (byte)0xff);
        await File.WriteAllBytesAsync(config, dead);
        await hub.SendAsync("POST", $"/v1/devices/{Hub.Nic}/reset");
        await File.WriteAllBytesAsync(config, good);
        return null;
    }

    /// <summary>A release that waits in the kernel for a process to close the device, and can be cancelled meanwhile.</summary>
    private static async Task<IDisposable?> StickAsync(Hub hub)
    {
        IDisposable held = ((ModelledKernel)hub.Services.GetRequiredService<IKernel>()).ClaimGroup(Hub.NicGroup);
        using var request = new HttpRequestMessage(HttpMethod.Delete, Container);
        request.Headers.Add("Prefer", "wait=0");
        using HttpResponseMessage accepted = await hub.Client.SendAsync(request);
        Assert.Equal(202, (int)accepted.StatusCode);
        return held;
    }

    public static void Plug(Hub hub, ulong serial)
    {
        PciAddress nic = PciAddress.Parse(Hub.Nic);
        if (Directory.Exists(Path.Combine(hub.Host.SysfsRoot, "bus/pci/devices", Hub.Nic)))
        {
            hub.Host.Remove(nic);
        }

        hub.Host.Add(new SyntheticDevice(nic) { Parent = PciAddress.Parse("0000:00:01.0"), Driver = "e1000e", Group = Hub.NicGroup, Serial = serial });
    }

    private sealed class After(Action undo) : IDisposable
    {
        public void Dispose() => undo();
    }
}
