using System.Globalization;
using System.Reflection;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using AssignHub.Engine.Rules;
using AssignHub.Lab;
using AssignHub.Story;
using Xunit.Abstractions;

namespace AssignHub.Tests.Lab;

/// <summary>
/// The service killed in the middle of writing its journal, in every operation: strace kills it at the N-th write to the store's log. Afterwards, and
/// after its restart, the host is in the state asked for or in the state before, and no guest was disturbed. The short form takes one write of
/// each operation, the long one all of them.
/// </summary>
[Collection("sample lab")]
public sealed class CrashTests(SampleLab lab, ITestOutputHelper output) : IAsyncLifetime
{
    private const string Nic = "0000:01:00.0";
    private const string Disk = "0000:02:00.0";
    private const string Bridge = "0000:03:00.0";
    private const string Wal = HubInLab.Data + "/assignhub.db-wal";
    private static readonly string[] Shared = ["0000:04:01.0", "0000:04:02.0", "0000:04:03.0"];

    private readonly HubInLab _hub = new(lab.Host, Repository.Service);
    private readonly KernelView _kernel = new(lab.Host);
    private readonly HashSet<string> _steps = [];
    private HubClient? _client;

    private HubClient Client => _client ?? throw new InvalidOperationException("the service is not up");

    public async Task InitializeAsync()
    {
        await _hub.StartAsync();
        _client = _hub.Client();
    }

    public async Task DisposeAsync()
    {
        _client?.Dispose();
        await StoryTests.CleanAsync(lab, _hub);
    }

    [Fact]
    public async Task Kill_AtTheWritesOfEveryOperation_LeavesTheStateAskedForOrTheOneBefore()
    {
        var claim = new JsonObject { ["device"] = Shared[0], ["keep"] = true };
        await EachWriteAsync("claim", () => Client.PostAsync("/v1/containers", claim), DriversAsync, ReleaseSharedAsync);
        await EachWriteAsync("release", ReleaseSharedAsync, DriversAsync, () => Client.PostAsync("/v1/containers", claim), prepare: true);
        await EachWriteAsync("reset", () => Client.PostAsync($"/v1/bridges/{Bridge}/reset"), DriversAsync, () => Task.CompletedTask);
        await ReleaseSharedAsync();

        await Client.PostAsync("/v1/guests", new JsonObject
        {
            ["name"] = "crash",
            ["memoryBytes"] = 256L << 20,
            ["devices"] = new JsonArray(new JsonObject { ["address"] = Disk }),
            ["kernel"] = new JsonObject { ["path"] = LabAssets.GuestKernel, ["initrd"] = LabAssets.GuestInitrd, ["commandLine"] = LabAssets.GuestCommandLine },
        });
        await EachWriteAsync("launch", () => Client.PostAsync("/v1/guests/crash/start"), GuestAsync, () => Client.PostAsync("/v1/guests/crash/stop?force=true"));

        await Client.PostAsync("/v1/guests/crash/start");
        await _kernel.ConsoleAsync("crash", "guest: disk nvme0n1");
        string process = await ProcessAsync();
        Func<Task> attach = () => Client.PostAsync("/v1/guests/crash/devices", new JsonObject { ["address"] = Nic });
        Func<Task> detach = () => Client.DeleteAsync($"/v1/guests/crash/devices/{Nic}");
        await EachWriteAsync("hot-add", attach, GuestAsync, detach);
        await EachWriteAsync("hot-remove", detach, GuestAsync, attach, prepare: true);
        Assert.Equal(process, await ProcessAsync());
        Assert.Equal(204, (int)(await Client.DeleteAsync("/v1/guests/crash?force=true")).Status);

        // The list is the code's own: a new step has to be part of an operation above.
        string[] all = [.. typeof(Step).GetCustomAttributes<JsonDerivedTypeAttribute>().Select(step => (string)step.TypeDiscriminator!)];
        string[] elsewhere = ["holdGuest", "resetFunction", "checkDevices", "dropGuest", "unplugDevice"];
        Assert.Empty(all.Except(_steps).Except(elsewhere));
    }

    /// <summary>Kills the service at writes of an operation, one after the other.</summary>
    /// <param name="what">The operation.</param>
    /// <param name="act">Asks for it.</param>
    /// <param name="state">The kernel's view of what it changes.</param>
    /// <param name="undo">Brings the state before it back.</param>
    /// <param name="prepare">Whether <paramref name="undo"/> has to be done first of all.</param>
    private async Task EachWriteAsync(string what, Func<Task> act, Func<Task<string>> state, Func<Task> undo, bool prepare = false)
    {
        if (prepare)
        {
            await undo();
        }

        string before = await state();
        int writes = await CountWritesAsync(act);
        string after = await state();
        await undo();
        Assert.Equal(before, await state());
        bool all = Environment.GetEnvironmentVariable("ASSIGNHUB_TESTS_LONG") is not null;
        int[] points = all ? [.. Enumerable.Range(1, writes)] : [(writes / 2) + 1];
        output.WriteLine($"{what}: {writes} writes, killed at {string.Join(", ", points)}");
        foreach (int point in points)
        {
            await KillAtAsync(point, act);
            await _hub.StartAsync();
            _client?.Dispose();
            _client = _hub.Client();
            await SettleAsync();
            string now = await state();
            Assert.True(now == before || now == after, $"{what}, killed at write {point} of {writes}:\n{now}\nand it has to be\n{before}\nor\n{after}\n{await _hub.LogAsync()}");
            if (now != before)
            {
                await undo();
                Assert.Equal(before, await state());
            }
        }
    }

    private async Task<int> CountWritesAsync(Func<Task> act)
    {
        await TraceAsync("");
        await act();
        await lab.Host.RunAsync("pid=$(cat /run/strace.pid); kill -INT $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done");
        foreach (JsonNode? step in (await Client.GetAsync("/v1/operations?limit=1")).Body!["items"]![0]!["steps"]!.AsArray())
        {
            _steps.Add((string)step!["action"]!);
        }

        return int.Parse(await lab.Host.RunAsync("grep -c pwrite64 /run/strace.log"), CultureInfo.InvariantCulture);
    }

    private async Task KillAtAsync(int write, Func<Task> act)
    {
        await TraceAsync($"-e inject=pwrite64:signal=KILL:when={write}");
        try
        {
            await act();
        }
        catch (HttpRequestException)
        {
            // The service was gone before its answer.
        }

        await lab.Host.RunAsync("""
            for i in $(seq 100); do kill -0 $(cat /run/assignhub.pid) 2>/dev/null || break; sleep 0.1; done
            if kill -0 $(cat /run/assignhub.pid) 2>/dev/null; then kill -INT $(cat /run/strace.pid); kill -KILL $(cat /run/assignhub.pid); fi
            while kill -0 $(cat /run/assignhub.pid) 2>/dev/null || kill -0 $(cat /run/strace.pid) 2>/dev/null; do sleep 0.05; done
            """);
    }

    /// <summary>Has strace watch the service's writes to the store's log.</summary>
    private Task TraceAsync(string inject) => lab.Host.RunAsync($"""
        rm -f /run/strace.log
        setsid strace -f -o /run/strace.log -e trace=pwrite64 -P {Wal} {inject} -p $(cat /run/assignhub.pid) </dev/null >/dev/null 2>/run/strace.err &
        echo $! >/run/strace.pid
        for i in $(seq 100); do grep -q attached /run/strace.err && exit 0; sleep 0.1; done
        cat /run/strace.err; exit 1
        """);

    /// <summary>Waits until nothing is under way.</summary>
    private async Task SettleAsync()
    {
        string id = (string)(await Client.GetAsync("/v1/operations?limit=1")).Body!["items"]![0]!["id"]!;
        await Client.GetAsync($"/v1/operations/{id}?wait=90");
    }

    private async Task ReleaseSharedAsync()
    {
        foreach (JsonNode? container in (await Client.GetAsync("/v1/containers")).Body!["items"]!.AsArray().Where(one => (string?)one!["guest"] is null))
        {
            await Client.DeleteAsync($"/v1/containers/{(string?)container!["id"]}");
        }
    }

    private async Task<string> DriversAsync() => string.Join(' ', await Task.WhenAll(Shared.Select(_kernel.DriverAsync)));

    /// <summary>What the guest's process has, by the kernel's word, and where its devices are.</summary>
    private async Task<string> GuestAsync()
    {
        string files = await lab.Host.RunAsync("""
            for pid in $(pgrep -f '^qemu-system-x86_64 -name guest=crash'); do readlink /proc/$pid/fd/* | grep -E '^/dev/vfio|vfio-device' | sort; done; true
            """);
        return $"{files}{await _kernel.DriverAsync(Nic)} {await _kernel.DriverAsync(Disk)}";
    }

    private Task<string> ProcessAsync() => lab.Host.RunAsync("pid=$(pgrep -f '^qemu-system-x86_64 -name guest=crash'); echo $pid $(sed 's/.*) //' /proc/$pid/stat | cut -d' ' -f20)");
}
