// The story: all that AssignHub is for, in nine steps on the sample topology. What the API says is checked against the kernel each time.

using System.Net;
using System.Text.Json.Nodes;
using AssignHub.Lab;

namespace AssignHub.Story;

/// <summary>Something in the story was not as it has to be.</summary>
public sealed class StoryException(string message) : Exception(message);

/// <summary>Plays the story in a lab with the sample topology.</summary>
/// <param name="lab">The lab.</param>
/// <param name="hub">The service in it, started.</param>
/// <param name="show">Where it is told.</param>
public sealed class Story(LabHost lab, HubInLab hub, TextWriter show) : IDisposable
{
    private const string Nic = "0000:01:00.0";
    private const string Disk = "0000:02:00.0";
    private const string Bridge = "0000:03:00.0";
    private static readonly string[] Shared = ["0000:04:01.0", "0000:04:02.0", "0000:04:03.0"];

    private readonly KernelView _kernel = new(lab);
    private readonly Dictionary<string, string> _before = [];
    private HubClient _client = hub.Client(show);
    private int _nicGroup;
    private int _sharedGroup;
    private int _pid;

    /// <summary>The steps, in order.</summary>
    public IReadOnlyList<(string Title, Func<Task> Play)> Steps =>
    [
        ("Scan: groups, bridges, drivers, what is assignable and why not", ScanAsync),
        ("Claim the NIC's group", ClaimNicAsync),
        ("Claim it again, for another guest", ClaimAgainAsync),
        ("Claim by one device of a shared group", ClaimSharedAsync),
        ("Launch a guest with the NVMe disk", LaunchAsync),
        ("Hot-add the NIC, and take it out again", HotplugAsync),
        ("Reset the bridge", ResetAsync),
        ("Kill the service while the guest runs", KillAsync),
        ("Delete the guest, release everything", ReleaseAsync),
    ];

    public void Dispose() => _client.Dispose();

    private async Task ScanAsync()
    {
        foreach (string address in (string[])[Nic, Disk, .. Shared])
        {
            JsonNode device = Ok(await _client.GetAsync($"/v1/devices/{address}").ConfigureAwait(false));
            _before[address] = await _kernel.DriverAsync(address).ConfigureAwait(false);
            Same($"the driver of {address}", (string?)device["driver"] ?? "", _before[address]);
            Same($"the group of {address}", (int)device["group"]!, await _kernel.GroupAsync(address).ConfigureAwait(false));
            Same($"{address} is assignable", (bool)device["assignable"]!, true);
        }

        _nicGroup = await _kernel.GroupAsync(Nic).ConfigureAwait(false);
        _sharedGroup = await _kernel.GroupAsync(Shared[0]).ConfigureAwait(false);
        JsonNode bridge = Ok(await _client.GetAsync($"/v1/bridges/{Bridge}").ConfigureAwait(false));
        Same("what is below the bridge", Addresses(bridge["devices"]!), Shared);
        JsonNode refused = Ok(await _client.GetAsync("/v1/groups?assignable=false").ConfigureAwait(false));
        Same("every group that is not assignable says why", refused["items"]!.AsArray().All(group => group!["refusals"]!.AsArray().Count > 0), true);
    }

    private async Task ClaimNicAsync()
    {
        HubAnswer claimed = await _client.PostAsync("/v1/containers", new JsonObject { ["group"] = _nicGroup, ["keep"] = false }).ConfigureAwait(false);
        Same("the answer", claimed.Status, HttpStatusCode.Created);
        Same("the container's state", (string)claimed.Body!["state"]!, "ready");
        Same("IOVA ranges are known", claimed.Body["iommu"]!["iovaRanges"]!.AsArray().Count > 0, true);
        Same("the NIC's driver", await _kernel.DriverAsync(Nic).ConfigureAwait(false), "vfio-pci");
        Same("VFIO shows the group", (await _kernel.VfioGroupsAsync().ConfigureAwait(false)).Contains(_nicGroup), true);
        Same("the original driver is kept", (string?)claimed.Body["originalDrivers"]![Nic], _before[Nic]);
    }

    private async Task ClaimAgainAsync()
    {
        HubAnswer guest = await _client.PostAsync("/v1/guests", new JsonObject { ["name"] = "other" }).ConfigureAwait(false);
        Same("the answer", guest.Status, HttpStatusCode.Created);
        await RefusedAsync(() => _client.PostAsync("/v1/containers?dryRun=true", new JsonObject { ["group"] = _nicGroup, ["keep"] = true })).ConfigureAwait(false);

        // A container that is nobody's yet may be given to a guest; this one is web01's from here on.
        Same("the answer", (await _client.PostAsync("/v1/guests", Spec()).ConfigureAwait(false)).Status, HttpStatusCode.Created);
        Same("the answer", (await _client.PostAsync("/v1/containers", new JsonObject { ["group"] = _nicGroup, ["guest"] = "web01" }).ConfigureAwait(false)).Status, HttpStatusCode.Created);
        HubAnswer again = await RefusedAsync(() => _client.PostAsync("/v1/containers", new JsonObject { ["group"] = _nicGroup, ["guest"] = "other" })).ConfigureAwait(false);
        Same("the code", again.Code, "group_owned");
        Same("the owner is named", again.Body!["refusals"]![0]!["blockedBy"]!.AsArray().Any(blocker => (string?)blocker == "guest web01"), true);
        Same("the answer", (await _client.DeleteAsync("/v1/guests/other").ConfigureAwait(false)).Status, HttpStatusCode.NoContent);
    }

    private async Task ClaimSharedAsync()
    {
        JsonNode plan = Ok(await _client.PostAsync("/v1/containers?dryRun=true", new JsonObject { ["device"] = Shared[0] }).ConfigureAwait(false));
        HubAnswer claimed = await _client.PostAsync("/v1/containers", new JsonObject { ["device"] = Shared[0], ["keep"] = true }).ConfigureAwait(false);
        Same("the answer", claimed.Status, HttpStatusCode.Created);
        Same("the group", (int)claimed.Body!["group"]!, _sharedGroup);
        foreach (string address in Shared)
        {
            Same($"the driver of {address}", await _kernel.DriverAsync(address).ConfigureAwait(false), "vfio-pci");
        }

        Same("the plan said so", plan["steps"]!.AsArray().Count(step => (string?)step!["action"] == "bindVfio"), Shared.Length);
    }

    private async Task LaunchAsync()
    {
        Same("the answer", (await _client.PostAsync("/v1/guests/web01/devices", new JsonObject { ["address"] = Disk }).ConfigureAwait(false)).Status, HttpStatusCode.Created);
        JsonNode guest = Ok(await _client.PostAsync("/v1/guests/web01/start").ConfigureAwait(false));
        _pid = (int)guest["status"]!["pid"]!;
        await _kernel.ConsoleAsync("web01", "guest: pci .* driver nvme").ConfigureAwait(false);
        await _kernel.ConsoleAsync("web01", "guest: disk nvme0n1 assignhub-disk-0").ConfigureAwait(false);
        await CheckContainersAsync(1).ConfigureAwait(false);
        string uid = (await lab.RunAsync($"awk '/^Uid:/ {{ print $2 }}' /proc/{_pid}/status").ConfigureAwait(false)).Trim();
        Same("the guest's user is not root", uid != "0", true);
        if ((string?)guest["status"]!["backend"] == "iommufd")
        {
            Same("files of VFIO that the guest's user may open", await _kernel.NodesOfAsync(uid).ConfigureAwait(false), "");
        }
    }

    private async Task HotplugAsync()
    {
        int seen = await _kernel.ConsoleLinesAsync("web01").ConfigureAwait(false);
        Same("the answer", (await _client.PostAsync("/v1/guests/web01/devices", new JsonObject { ["address"] = Nic }).ConfigureAwait(false)).Status, HttpStatusCode.Created);
        string line = await _kernel.ConsoleAsync("web01", "guest: pci .* 8086:10d3 driver e1000e", seen).ConfigureAwait(false);
        await CheckContainersAsync(2).ConfigureAwait(false);
        string address = line.Split(' ')[2];
        Same("the answer", (await _client.DeleteAsync($"/v1/guests/web01/devices/{Nic}").ConfigureAwait(false)).Status, HttpStatusCode.NoContent);
        await _kernel.ConsoleAsync("web01", $"guest: pci {address} gone", seen).ConfigureAwait(false);
        await CheckContainersAsync(1).ConfigureAwait(false);
        Same("the NIC is back on its driver", await _kernel.DriverAsync(Nic).ConfigureAwait(false), _before[Nic]);
    }

    private async Task ResetAsync()
    {
        int seen = await _kernel.ConsoleLinesAsync("web01").ConfigureAwait(false);
        Same("the answer", (await _client.PostAsync("/v1/guests/web01/devices", new JsonObject { ["address"] = Shared[0] }).ConfigureAwait(false)).Status, HttpStatusCode.Created);
        await _kernel.ConsoleAsync("web01", "guest: pci .* 1234:11e8", seen).ConfigureAwait(false);
        HubAnswer refused = await RefusedAsync(() => _client.PostAsync($"/v1/bridges/{Bridge}/reset")).ConfigureAwait(false);
        Same("the code", refused.Code, "reset_blocked");
        Same("device and guest are named", Addresses(refused.Body!["refusals"]![0]!["blockedBy"]!), [Shared[0], "guest web01"]);

        // With evict the guest gives the device up for the reset and gets it back.
        seen = await _kernel.ConsoleLinesAsync("web01").ConfigureAwait(false);
        Ok(await _client.PostAsync($"/v1/bridges/{Bridge}/reset?evict=true").ConfigureAwait(false));
        await _kernel.ConsoleAsync("web01", "guest: pci .* gone", seen).ConfigureAwait(false);
        await _kernel.ConsoleAsync("web01", "guest: pci .* 1234:11e8", seen).ConfigureAwait(false);
        await CheckContainersAsync(2).ConfigureAwait(false);
        Same("the answer", (await _client.DeleteAsync($"/v1/guests/web01/devices/{Shared[0]}").ConfigureAwait(false)).Status, HttpStatusCode.NoContent);
        Ok(await _client.PostAsync($"/v1/bridges/{Bridge}/reset").ConfigureAwait(false));
        foreach (string address in Shared)
        {
            JsonNode device = Ok(await _client.GetAsync($"/v1/devices/{address}").ConfigureAwait(false));
            Same($"{address} answers", await _kernel.VendorAsync(address).ConfigureAwait(false), (string?)device["vendorId"]);
            Same($"{address} is still reserved", (string?)device["state"], "reserved");
        }
    }

    private async Task KillAsync()
    {
        string started = await _kernel.StartTimeAsync(_pid).ConfigureAwait(false);
        string containers = (await _client.GetAsync("/v1/containers").ConfigureAwait(false)).Text;
        await hub.KillAsync().ConfigureAwait(false);
        Same("the guest runs on", await _kernel.StartTimeAsync(_pid).ConfigureAwait(false), started);
        await hub.StartAsync().ConfigureAwait(false);
        _client.Dispose();
        _client = hub.Client(show);
        JsonNode guest = Ok(await _client.GetAsync("/v1/guests/web01").ConfigureAwait(false));
        Same("the guest's state", (string)guest["status"]!["state"]!, "running");
        Same("the guest's process", (int)guest["status"]!["pid"]!, _pid);
        Same("that process never stopped", await _kernel.StartTimeAsync(_pid).ConfigureAwait(false), started);
        Same("the containers", (await _client.GetAsync("/v1/containers").ConfigureAwait(false)).Text, containers);
        await CheckContainersAsync(1).ConfigureAwait(false);
    }

    private async Task ReleaseAsync()
    {
        Ok(await _client.PostAsync("/v1/guests/web01/stop").ConfigureAwait(false));
        Same("the answer", (await _client.DeleteAsync("/v1/guests/web01").ConfigureAwait(false)).Status, HttpStatusCode.NoContent);
        Same("the guest's process is gone", (await lab.ExecAsync($"kill -0 {_pid}").ConfigureAwait(false)).ExitCode != 0, true);
        JsonNode left = Ok(await _client.GetAsync("/v1/containers").ConfigureAwait(false));
        foreach (JsonNode? container in left["items"]!.AsArray())
        {
            Same("the answer", (await _client.DeleteAsync($"/v1/containers/{(string?)container!["id"]}").ConfigureAwait(false)).Status, HttpStatusCode.NoContent);
        }

        foreach ((string address, string driver) in _before)
        {
            Same($"the driver of {address}", await _kernel.DriverAsync(address).ConfigureAwait(false), driver);
        }

        Same("VFIO has no group left", (await _kernel.VfioGroupsAsync().ConfigureAwait(false)).Length, 0);
    }

    /// <summary>One group, one container, in the kernel too: counted in the process, and shown the same by the API.</summary>
    private async Task CheckContainersAsync(int count)
    {
        Same("containers that QEMU holds", await _kernel.ContainersAsync(_pid).ConfigureAwait(false), count);
        JsonNode guest = Ok(await _client.GetAsync("/v1/guests/web01").ConfigureAwait(false));
        Same("containers that the API shows", (int)guest["status"]!["containersOpen"]!, count);
    }

    /// <summary>Sends a request that has to be refused, and sees that the kernel's state is the same to the letter.</summary>
    private async Task<HubAnswer> RefusedAsync(Func<Task<HubAnswer>> send)
    {
        string before = await _kernel.BindingsAsync().ConfigureAwait(false);
        HubAnswer answer = await send().ConfigureAwait(false);
        Same("the answer", answer.Status, HttpStatusCode.Conflict);
        Same("each refusal has a remedy", answer.Body!["refusals"]!.AsArray().All(refusal => ((string?)refusal!["remedy"])?.Length > 0), true);
        Same("the kernel's state", await _kernel.BindingsAsync().ConfigureAwait(false), before);
        return answer;
    }

    private static JsonObject Spec() => new()
    {
        ["name"] = "web01",
        ["memoryBytes"] = 256L << 20,
        ["hotplugSlots"] = 2,
        ["kernel"] = new JsonObject
        {
            ["path"] = LabAssets.GuestKernel,
            ["initrd"] = LabAssets.GuestInitrd,
            ["commandLine"] = LabAssets.GuestCommandLine,
        },
    };

    private static string[] Addresses(JsonNode list) => [.. list.AsArray().Select(item => (string)item!)];

    private static JsonNode Ok(HubAnswer answer) => answer.Status == HttpStatusCode.OK
        ? answer.Body!
        : throw new StoryException($"the answer is {(int)answer.Status}: {answer.Text}");

    private void Same<T>(string what, T seen, T wanted)
    {
        bool same = seen is string[] a && wanted is string[] b ? a.SequenceEqual(b) : EqualityComparer<T>.Default.Equals(seen, wanted);
        string Text(T value) => value is string[] list ? string.Join(", ", list) : value?.ToString() ?? "nothing";
        if (!same)
        {
            throw new StoryException($"{what}: {Text(seen)}, and it has to be {Text(wanted)}");
        }

        string shown = Text(seen);
        show.WriteLine($"  = {what}: {(shown.Contains('\n', StringComparison.Ordinal) ? "as before" : shown)}");
    }
}
