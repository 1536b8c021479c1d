// Synthetic hosts of 64, 256 and 1,024 devices: the scan, and the service's start and memory on the largest.

using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using AssignHub.Engine.Host;
using AssignHub.Engine.Vfio;
using AssignHub.Synthetic;

namespace AssignHub.Bench;

internal sealed class LargeHosts : IDisposable
{
    private const int Runs = 15;
    private const int Warm = 5;
    private readonly SyntheticHost _largest = SyntheticHost.Large(1024, 700);

    public void Dispose() => _largest.Dispose();

    public void MeasureScan()
    {
        using (var small = SyntheticHost.Large(64, 44))
        {
            Scan(small, 64, "linear");
        }

        using (var middle = SyntheticHost.Large(256, 175))
        {
            Scan(middle, 256, "linear");
        }

        Scan(_largest, 1024, "<= 60 ms");
    }

    public async Task MeasureServiceAsync(string service)
    {
        string data = Directory.CreateTempSubdirectory("assignhub-bench-").FullName;
        var starts = new List<double>();
        double memory = 0;
        for (int run = 0; run < 4; run++)
        {
            int port = FreePort();
            var clock = Stopwatch.StartNew();
            using Process process = Process.Start(new ProcessStartInfo(service,
                ["serve", "--listen", $"http://127.0.0.1:{port}", "--data", data, "--sysfs", _largest.SysfsRoot, "--proc", _largest.ProcRoot])
            { RedirectStandardOutput = true })!;
            process.BeginOutputReadLine();
            try
            {
                using var client = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
                await FirstAnswerAsync(client, clock).ConfigureAwait(false);
                if (run > 0)
                {
                    starts.Add(clock.Elapsed.TotalSeconds);
                }

                client.DefaultRequestHeaders.Authorization =
                    new AuthenticationHeaderValue("Bearer", (await File.ReadAllTextAsync(Path.Combine(data, "admin.token")).ConfigureAwait(false)).Trim());
                using HttpResponseMessage list = await client.GetAsync(new Uri("/v1/devices?limit=1000", UriKind.Relative)).ConfigureAwait(false);
                list.EnsureSuccessStatusCode();
                await Task.Delay(TimeSpan.FromSeconds(12)).ConfigureAwait(false);
                memory = ResidentMiB(process.Id);
            }
            finally
            {
                process.Kill();
                await process.WaitForExitAsync().ConfigureAwait(false);
            }
        }

        Directory.Delete(data, recursive: true);
        Figure.Print("service start to first answer, 1,024 devices", Figure.Median(starts), "s", "<= 1 s");
        Figure.Print("memory of the idle service, 1,024 devices", memory, "MiB", "<= 100 MiB");
    }

    private static void Scan(SyntheticHost host, int devices, string bar)
    {
        var scanner = new HostScanner(new VfioHost(host.DevRoot, host.SysfsRoot, host.ProcRoot), TimeProvider.System);
        var times = new List<double>();
        for (int run = 0; run < Warm + Runs; run++)
        {
            long start = Stopwatch.GetTimestamp();
            scanner.Scan();
            if (run >= Warm)
            {
                times.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
            }
        }

        Figure.Print(string.Create(CultureInfo.InvariantCulture, $"full scan, {devices} devices, warm (median of {Runs})"), Figure.Median(times), "ms", bar);
    }

    private static async Task FirstAnswerAsync(HttpClient client, Stopwatch clock)
    {
        while (true)
        {
            try
            {
                using HttpResponseMessage answer = await client.GetAsync(new Uri("/readyz", UriKind.Relative)).ConfigureAwait(false);
                clock.Stop();
                return;
            }
            catch (HttpRequestException) when (clock.Elapsed < TimeSpan.FromSeconds(60))
            {
                await Task.Delay(5).ConfigureAwait(false);
            }
        }
    }

    // VmRSS:	   65432 kB
    private static double ResidentMiB(int pid) =>
        double.Parse(File.ReadLines($"/proc/{pid}/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
            CultureInfo.InvariantCulture) / 1024;

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
