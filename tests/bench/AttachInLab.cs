// Attach and detach through the API, beside the same sysfs writes and QMP commands by a bare script: same lab, same guest, same NIC.

using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using AssignHub.Lab;
using AssignHub.Story;

namespace AssignHub.Bench;

internal static class AttachInLab
{
    private const string Nic = "0000:01:00.0";
    private const string Guest = "bench";
    private const int Rounds = 2;
    private const int Cycles = 4;

    public static async Task MeasureAsync(string service)
    {
        await using LabHost lab = await LabHost.BootAsync(new LabOptions(), new Progress<string>(line => Console.Error.WriteLine($"lab: {line}"))).ConfigureAwait(false);
        var hub = new HubInLab(lab, service);
        await hub.StartAsync().ConfigureAwait(false);
        var kernel = new KernelView(lab);
        await LaunchAsync(hub, kernel).ConfigureAwait(false);
        string script = await File.ReadAllTextAsync(Path.Combine(AppContext.BaseDirectory, "bare.py")).ConfigureAwait(false);
        await lab.RunAsync($"cat >/run/bare.py <<'EOF'\n{script}\nEOF").ConfigureAwait(false);

        List<double> bareAttach = [], bareDetach = [];
        Timings attach = new(), detach = new();
        await ByApiAsync(hub, kernel, 2, new Timings(), new Timings()).ConfigureAwait(false);
        for (int round = 0; round < Rounds; round++)
        {
            await ByApiAsync(hub, kernel, Cycles, attach, detach).ConfigureAwait(false);

            // QEMU's monitor takes one client: the service gives way to the script, and finds its guest again after.
            await hub.StopAsync().ConfigureAwait(false);
            await ByScriptAsync(lab, bareAttach, bareDetach).ConfigureAwait(false);
            await hub.StartAsync().ConfigureAwait(false);
            await ByApiAsync(hub, kernel, 1, new Timings(), new Timings()).ConfigureAwait(false);
        }

        Report("attach", attach, bareAttach);
        Report("detach", detach, bareDetach);
    }

    private static void Report(string what, Timings api, List<double> bare)
    {
        Figure.Print($"{what} through the API (median of {api.Whole.Count})", Figure.Median(api.Whole), "s", "");
        foreach ((string part, List<double> seconds) in api.Parts)
        {
            Figure.Print($"  of it {part}", Figure.Median(seconds), "s", "");
        }

        Figure.Print($"{what} by a bare script (median of {bare.Count})", Figure.Median(bare), "s", "");
        Figure.Print($"{what}, API / bare script", Figure.Median(api.Whole) / Figure.Median(bare), "x", "<= 1.10 x");
    }

    private static async Task LaunchAsync(HubInLab hub, KernelView kernel)
    {
        using HubClient client = hub.Client();
        HubAnswer created = await client.PostAsync("/v1/guests", new JsonObject
        {
            ["name"] = Guest,
            ["memoryBytes"] = 256L << 20,
            ["kernel"] = new JsonObject
            {
                ["path"] = LabAssets.GuestKernel,
                ["initrd"] = LabAssets.GuestInitrd,
                ["commandLine"] = LabAssets.GuestCommandLine,
            },
        }).ConfigureAwait(false);
        HubAnswer started = await client.PostAsync($"/v1/guests/{Guest}/start").ConfigureAwait(false);
        if ((int)created.Status != 201 || (int)started.Status != 200)
        {
            throw new LabException($"the guest did not start: {created.Text} {started.Text}");
        }

        await kernel.ConsoleAsync(Guest, "guest: ready").ConfigureAwait(false);
    }

    private static async Task ByApiAsync(HubInLab hub, KernelView kernel, int cycles, Timings attach, Timings detach)
    {
        using HubClient client = hub.Client();
        for (int i = 0; i < cycles; i++)
        {
            int seen = await kernel.ConsoleLinesAsync(Guest).ConfigureAwait(false);
            await attach.AddAsync(client, () => client.PostAsync($"/v1/guests/{Guest}/devices", new JsonObject { ["address"] = Nic }), 201).ConfigureAwait(false);
            await kernel.ConsoleAsync(Guest, "driver e1000e", seen).ConfigureAwait(false);
            await detach.AddAsync(client, () => client.DeleteAsync($"/v1/guests/{Guest}/devices/{Nic}"), 204).ConfigureAwait(false);
        }
    }

    private static async Task ByScriptAsync(LabHost lab, List<double> attach, List<double> detach)
    {
        string uid = (await lab.RunAsync($"stat -c %u {HubInLab.Data}/guests/{Guest}/run/qmp.sock").ConfigureAwait(false)).Trim();
        string lines = await lab.RunAsync(
            $"python3 /run/bare.py {HubInLab.Data}/guests/{Guest} {Nic} {uid} {Cycles + 1}", TimeSpan.FromSeconds(180)).ConfigureAwait(false);
        foreach (string[] pair in lines.Split('\n', StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(line => line.Split(' ')))
        {
            attach.Add(double.Parse(pair[0], CultureInfo.InvariantCulture));
            detach.Add(double.Parse(pair[1], CultureInfo.InvariantCulture));
        }
    }

    /// <summary>How long requests took, and the steps of their operations.</summary>
    private sealed class Timings
    {
        public List<double> Whole { get; } = [];

        public Dictionary<string, List<double>> Parts { get; } = [];

        public async Task AddAsync(HubClient client, Func<Task<HubAnswer>> send, int status)
        {
            long start = Stopwatch.GetTimestamp();
            HubAnswer answer = await send().ConfigureAwait(false);
            Whole.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
            if ((int)answer.Status != status)
            {
                throw new LabException($"the answer is {(int)answer.Status}: {answer.Text}");
            }

            JsonNode operation = (await client.GetAsync("/v1/operations?limit=1").ConfigureAwait(false)).Body!["items"]![0]!;
            double between = Seconds(operation, "createdAt", "finishedAt");
            Add("looking and deciding", Whole[^1] - between);
            foreach (JsonNode? step in operation["steps"]!.AsArray())
            {
                double seconds = Seconds(step!, "startedAt", "finishedAt");
                Add((string)step!["action"]!, seconds);
                between -= seconds;
            }

            Add("journal, and looking again", between);
        }

        private static double Seconds(JsonNode node, string from, string to) => ((DateTimeOffset)node[to]! - (DateTimeOffset)node[from]!).TotalSeconds;

        private void Add(string part, double seconds)
        {
            if (!Parts.TryGetValue(part, out List<double>? list))
            {
                Parts[part] = list = [];
            }

            list.Add(seconds);
        }
    }
}
