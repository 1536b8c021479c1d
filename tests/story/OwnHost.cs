// deploy/demo --host: the service on this machine's own hardware. Nothing is claimed; what could be is shown.

using System.Diagnostics;
using System.Text.Json.Nodes;
using AssignHub.Lab;

namespace AssignHub.Story;

internal static class OwnHost
{
    public static async Task<int> RunAsync(string program, bool once, int port, CancellationToken cancellation)
    {
        if (Environment.UserName != "root")
        {
            throw new LabException("--host needs root: devices are bound and opened by it");
        }

        string data = Directory.CreateTempSubdirectory("assignhub-demo-").FullName;
        using Process service = Process.Start(program, ["serve", "--listen", $"http://127.0.0.1:{port}", "--data", data]);
        try
        {
            var url = new Uri($"http://127.0.0.1:{port}");
            using var anyone = new HttpClient { BaseAddress = url };
            await WaitAsync(service, anyone, cancellation).ConfigureAwait(false);
            string token = (await File.ReadAllTextAsync(Path.Combine(data, "admin.token"), cancellation).ConfigureAwait(false)).Trim();
            using var client = new HubClient(url, token, Console.Out);
            await client.GetAsync("/v1/host").ConfigureAwait(false);
            HubAnswer groups = await client.GetAsync("/v1/groups?assignable=true").ConfigureAwait(false);
            Console.WriteLine($"\n{groups.Body?["items"] switch { JsonArray items => items.Count, _ => 0 }} groups of this machine could be claimed; none was.");
            if (!once)
            {
                Invitation.Write(url, token);
                await Invitation.UntilInterruptedAsync(cancellation).ConfigureAwait(false);
            }

            return 0;
        }
        finally
        {
            if (!service.HasExited)
            {
                using Process? terminate = Process.Start("kill", [$"{service.Id}"]);
                await service.WaitForExitAsync(CancellationToken.None).ConfigureAwait(false);
            }

            Directory.Delete(data, recursive: true);
        }
    }

    private static async Task WaitAsync(Process service, HttpClient client, CancellationToken cancellation)
    {
        for (int i = 0; i < 120; i++)
        {
            try
            {
                using HttpResponseMessage answer = await client.GetAsync(new Uri("/healthz", UriKind.Relative), cancellation).ConfigureAwait(false);
                return;
            }
            catch (HttpRequestException)
            {
                await Task.Delay(500, cancellation).ConfigureAwait(false);
            }

            if (service.HasExited)
            {
                break;
            }
        }

        throw new LabException("AssignHub did not start");
    }
}
