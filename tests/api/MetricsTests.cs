// /metrics tells what happened and how things stand, as Prometheus reads it; /readyz tells the truth.

using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.Data.Sqlite;

namespace AssignHub.Tests.Api;

public sealed partial class MetricsTests : IAsyncLifetime
{
    private readonly Hub _hub = new();

    public Task InitializeAsync() => _hub.InitializeAsync();

    public Task DisposeAsync() => _hub.DisposeAsync();

    [Fact]
    public async Task Metrics_AfterSomeWork_TellIt()
    {
        for (int i = 0; i < 3; i++)
        {
            await _hub.SendAsync("GET", "/v1/groups/10");
        }

        await _hub.SendAsync("GET", "/v1/groups/99");
        await _hub.SendAsync("POST", "/v1/containers", $$"""{ "group": {{Hub.NicGroup}} }""");
        await _hub.SendAsync("POST", $"/v1/devices/{Hub.Nic}/reset");
        await _hub.SendAsync("POST", "/v1/containers", $$"""{ "group": {{Hub.DiskGroup}} }""");

        Dictionary<string, double> metrics = await ReadAsync();

        Assert.Equal(3, metrics["http_server_request_duration_seconds_count{http_route=\"/v1/groups/{id}\",http_request_method=\"GET\",http_response_status_code=\"200\"}"]);
        Assert.Equal(1, metrics["http_server_request_duration_seconds_bucket{http_route=\"/v1/groups/{id}\",http_request_method=\"GET\",http_response_status_code=\"404\",le=\"+Inf\"}"]);
        Assert.Equal(1, metrics["assignhub_operation_duration_seconds_count{kind=\"claimGroup\",outcome=\"succeeded\"}"]);
        Assert.True(metrics["assignhub_operation_duration_seconds_sum{kind=\"claimGroup\",outcome=\"succeeded\"}"] > 0);
        Assert.Equal(1, metrics["assignhub_step_duration_seconds_count{action=\"bindVfio\",outcome=\"succeeded\"}"]);
        Assert.Equal(1, metrics["assignhub_resets_total{kind=\"function\",outcome=\"succeeded\"}"]);
        Assert.Equal(1, metrics["assignhub_refusals_total{code=\"device_in_use_by_host\"}"]);
        Assert.Equal(1, metrics["assignhub_refusals_total{code=\"group_not_found\"}"]);
        Assert.Equal(1, metrics["assignhub_groups{owner=\"container\"}"]);
        Assert.Equal(1, metrics["assignhub_devices{state=\"reserved\"}"]);
        Assert.Equal(1, metrics["assignhub_containers{state=\"ready\"}"]);
        Assert.Equal(0, metrics["assignhub_operations_unfinished"]);
    }

    [Fact]
    public async Task Metrics_Buckets_AscendToTheCount()
    {
        for (int i = 0; i < 50; i++)
        {
            await _hub.SendAsync("GET", "/v1/host");
        }

        double[] buckets = [];
        for (int i = 0; i < 50 && (buckets.Length == 0 || buckets[^1] < 50); i++)
        {
            // A request is measured when it is over, which is after its answer.
            await Task.Delay(100);
            buckets = [.. (await ReadAsync()).Where(metric => metric.Key.StartsWith("http_server_request_duration_seconds_bucket{http_route=\"/v1/host", StringComparison.Ordinal))
                .Select(metric => metric.Value)];
        }

        Assert.Equal(buckets.Order(), buckets);
        Assert.Equal(50, buckets[^1]);
    }

    [Fact]
    public async Task Ready_WhileTheStoreIsNotWritable_SaysSo()
    {
        Assert.Equal((200, "ready\n"), await ReadyAsync());
        await using (var connection = new SqliteConnection($"Data Source={_hub.Database}"))
        {
            await connection.OpenAsync();
            await using SqliteTransaction transaction = connection.BeginTransaction();
            await Task.Delay(1100);
            var asked = Stopwatch.StartNew();

            (int status, string text) = await ReadyAsync();

            Assert.Equal(503, status);
            Assert.Contains("the store cannot be written", text, StringComparison.Ordinal);
            Assert.InRange(asked.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(8));
        }

        await Task.Delay(1100);
        Assert.Equal(200, (await ReadyAsync()).Status);
    }

    private async Task<(int Status, string Text)> ReadyAsync()
    {
        using HttpResponseMessage answer = await _hub.Client.GetAsync("/readyz");
        return ((int)answer.StatusCode, await answer.Content.ReadAsStringAsync());
    }

    /// <summary>Reads the page; every line has to be one that Prometheus reads.</summary>
    private async Task<Dictionary<string, double>> ReadAsync()
    {
        using var stranger = new HttpClient(new ContractHandler()) { BaseAddress = _hub.Url };
        using HttpResponseMessage answer = await stranger.GetAsync("/metrics");
        Assert.Equal("text/plain; version=0.0.4; charset=utf-8", answer.Content.Headers.ContentType!.ToString());
        string[] lines = (await answer.Content.ReadAsStringAsync()).TrimEnd('\n').Split('\n');
        Assert.All(lines, line => Assert.Matches(LinePattern(), line));
        return lines.Where(line => line[0] != '#').ToDictionary(line => line[..line.LastIndexOf(' ')], line => double.Parse(line[line.LastIndexOf(' ')..], CultureInfo.InvariantCulture));
    }

    [GeneratedRegex("""\A(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{([a-z_]+="([^"\\]|\\.)*",?)*\})? [0-9.E+-]+)\z""")]
    private static partial Regex LinePattern();
}
