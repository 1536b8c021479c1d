// AssignHub as it runs inside the lab: started, killed and started again there.

using AssignHub.Lab;

namespace AssignHub.Story;

/// <summary>The service inside a lab.</summary>
/// <param name="lab">The lab.</param>
/// <param name="program">The service's program, on the machine and so in the lab.</param>
public sealed class HubInLab(LabHost lab, string program)
{
    /// <summary>The service's data directory in the lab.</summary>
    public const string Data = "/var/lib/assignhub";

    /// <summary>What the service wrote to its log, in the lab.</summary>
    public const string Log = "/var/log/assignhub.log";

    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(240);

    /// <summary>The token of its administrator.</summary>
    public string Token { get; private set; } = "";

    /// <summary>Starts the service and waits until it answers.</summary>
    /// <param name="environment">Settings for it, as <c>NAME=VALUE</c> words.</param>
    public async Task StartAsync(string environment = "")
    {
        // The lab's forwarded port ends at its own address and not at loopback: plain text there never leaves this machine.
        await lab.RunAsync($"""
            cd /
            {environment} setsid '{program}' serve --listen http://0.0.0.0:8080 --allow-plaintext --data {Data} </dev/null >>{Log} 2>&1 &
            echo $! >/run/assignhub.pid
            """).ConfigureAwait(false);
        using var http = new HttpClient { Timeout = TimeSpan.FromSeconds(5) };
        using var deadline = new CancellationTokenSource(StartTimeout);
        while (!await AnswersAsync(http).ConfigureAwait(false))
        {
            if ((await lab.ExecAsync("kill -0 $(cat /run/assignhub.pid)").ConfigureAwait(false)).ExitCode != 0 || deadline.IsCancellationRequested)
            {
                throw new LabException($"AssignHub did not start in the lab:\n{await LogAsync().ConfigureAwait(false)}");
            }

            await Task.Delay(250, CancellationToken.None).ConfigureAwait(false);
        }

        Token = (await lab.RunAsync($"cat {Data}/admin.token").ConfigureAwait(false)).Trim();
    }

    /// <summary>Kills the service without warning.</summary>
    public Task KillAsync() => lab.RunAsync("pid=$(cat /run/assignhub.pid); kill -KILL $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done");

    /// <summary>Asks the service to end, and waits.</summary>
    public Task StopAsync() => lab.RunAsync("pid=$(cat /run/assignhub.pid); kill -TERM $pid; while kill -0 $pid 2>/dev/null; do sleep 0.05; done");

    /// <summary>The end of the service's log.</summary>
    public Task<string> LogAsync() => lab.RunAsync($"tail -n 60 {Log}");

    /// <summary>A client for it.</summary>
    public HubClient Client(TextWriter? show = null) => new(lab.ApiUrl, Token, show);

    private async Task<bool> AnswersAsync(HttpClient http)
    {
        try
        {
            using HttpResponseMessage answer = await http.GetAsync(new Uri(lab.ApiUrl, "/healthz")).ConfigureAwait(false);
            return answer.IsSuccessStatusCode;
        }
        catch (Exception waiting) when (waiting is HttpRequestException or TaskCanceledException)
        {
            return false;
        }
    }
}
