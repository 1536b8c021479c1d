// The service as a process of its own on a hub's host and data, so that it can be killed.

using System.Diagnostics;
using System.Net;
using System.Net.Sockets;

namespace AssignHub.Tests.Api;

internal sealed class HubProcess : IDisposable
{
    private readonly Process _process;

    private HubProcess(Process process, Uri url)
    {
        _process = process;
        Client = new HttpClient { BaseAddress = url, Timeout = TimeSpan.FromSeconds(60) };
    }

    public HttpClient Client { get; }

    /// <summary>Starts it and waits until it answers.</summary>
    public static async Task<HubProcess> StartAsync(Hub hub)
    {
        using var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        var url = new Uri($"http://127.0.0.1:{((IPEndPoint)probe.LocalEndpoint).Port}");
        probe.Stop();
        Process process = Process.Start(new ProcessStartInfo("dotnet",
        [
            typeof(AssignHub.Api.Service).Assembly.Location, "serve", "--listen", url.ToString(), "--data", hub.Data, "--sysfs", hub.Host.SysfsRoot, "--proc", hub.Host.ProcRoot,
        ])
        {
            RedirectStandardOutput = true,
        })!;
        process.OutputDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        var started = new HubProcess(process, url);
        for (int i = 0; ; i++)
        {
            try
            {
                await started.Client.GetAsync("/healthz");
                started.Client.DefaultRequestHeaders.Authorization = new("Bearer", (await File.ReadAllTextAsync(Path.Combine(hub.Data, "admin.token"))).Trim());
                return started;
            }
            catch (HttpRequestException) when (i < 600 && !process.HasExited)
            {
                await Task.Delay(50);
            }
        }
    }

    /// <summary>Kills it as the kernel would.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    public void Dispose()
    {
        Client.Dispose();
        if (!_process.HasExited)
        {
            Kill();
        }

        _process.Dispose();
    }
}
