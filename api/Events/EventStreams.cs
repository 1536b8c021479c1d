// /v1/events as Server-Sent Events: what the client missed, then what happens, until it leaves, falls behind, or the service ends.

using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using System.Text.Json;
using AssignHub.Api.Http;
using AssignHub.Api.Tokens;
using AssignHub.Engine.Operations;
using Microsoft.AspNetCore.Http.Features;

namespace AssignHub.Api.Events;

/// <summary>Sends the event log to those who follow it. Nothing is queued for a client: each reads the store at its own pace, a page at a time.</summary>
/// <param name="store">Has the events.</param>
/// <param name="ledger">Tells of new ones.</param>
/// <param name="observer">Knows the host's name.</param>
/// <param name="tokens">Knows whether a client may still listen.</param>
/// <param name="clock">Times keep-alives and deadlines.</param>
/// <param name="lifetime">Tells of the end.</param>
public sealed class EventStreams(IStore store, Ledger ledger, Observer observer, TokenBook tokens, TimeProvider clock, IHostApplicationLifetime lifetime)
{
    /// <summary>The most streams of one client.</summary>
    public const int MostPerClient = 16;

    private const int PageSize = 200;
    private static readonly TimeSpan KeepAlive = TimeSpan.FromSeconds(15);
    private static readonly TimeSpan WriteDeadline = TimeSpan.FromSeconds(10);

    private readonly ConcurrentDictionary<string, int> _open = new(StringComparer.Ordinal);

    /// <summary>How many are followed now.</summary>
    public int Open => _open.Values.Sum();

    /// <summary>Answers with all events after one, and goes on with those to come.</summary>
    /// <param name="http">The request.</param>
    /// <param name="after">The last event that the client has.</param>
    public async Task<IResult> SendAsync(HttpContext http, long after)
    {
        string client = http.User.Identity?.Name ?? "";
        if (_open.AddOrUpdate(client, 1, (_, open) => open + 1) > MostPerClient)
        {
            Close(client);
            return Problems.Refused(http, [RequestRefusals.TooManyStreams(MostPerClient)]);
        }

        try
        {
            if (http.Features.Get<IHttpMetricsTagsFeature>() is { } measured)
            {
                // It lasts as long as the client likes, which says nothing of how quick the service is.
                measured.MetricsDisabled = true;
            }

            http.Response.ContentType = "text/event-stream";
            http.Response.Headers.CacheControl = "no-store";
            // nginx would hold events back until a buffer is full.
            http.Response.Headers["X-Accel-Buffering"] = "no";
            await FollowAsync(http, after).ConfigureAwait(false);
        }
        finally
        {
            Close(client);
        }

        return TypedResults.Empty;
    }

    private async Task FollowAsync(HttpContext http, long after)
    {
        using var ends = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted, lifetime.ApplicationStopping);
        // An id without data is not shown to the program, but remembered: a client that is cut before its first event comes back to here.
        bool sent = await WriteAsync(http, string.Create(CultureInfo.InvariantCulture, $"id: {after}\n\n")).ConfigureAwait(false);
        string token = BearerHandler.TokenOf(http.Request);
        while (sent && !ends.IsCancellationRequested && tokens.Find(token) is not null)
        {
            Task told = ledger.Told;
            IReadOnlyList<Event> page = store.ListEvents(after, PageSize);
            if (page.Count > 0)
            {
                if (page[0].Id != after + 1)
                {
                    // It is so slow that what comes next for it is no longer kept: when it comes back it is told so.
                    return;
                }

                after = page[^1].Id;
                sent = await WriteAsync(http, Write(page)).ConfigureAwait(false);
                continue;
            }

            using var waiting = CancellationTokenSource.CreateLinkedTokenSource(ends.Token);
            Task first = await Task.WhenAny(told, Task.Delay(KeepAlive, clock, waiting.Token)).ConfigureAwait(false);
            await waiting.CancelAsync().ConfigureAwait(false);
            sent = first == told || ends.IsCancellationRequested || await WriteAsync(http, ":\n\n").ConfigureAwait(false);
        }
    }

    private string Write(IReadOnlyList<Event> page)
    {
        string host = observer.World.Host.Host;
        var text = new StringBuilder();
        foreach (Event happened in page)
        {
            string json = JsonSerializer.Serialize(EventResource.From(happened, host), ApiJson.Wire.EventResource);
            text.Append(CultureInfo.InvariantCulture, $"id: {happened.Id}\nevent: {happened.Kind}\ndata: {json}\n\n");
        }

        return text.ToString();
    }

    /// <summary>Writes, and drops a client that does not take it in time.</summary>
    private async Task<bool> WriteAsync(HttpContext http, string text)
    {
        using var deadline = new CancellationTokenSource(WriteDeadline, clock);
        using var ends = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, lifetime.ApplicationStopping);
        try
        {
            await http.Response.WriteAsync(text, ends.Token).ConfigureAwait(false);
            await http.Response.Body.FlushAsync(ends.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (ends.IsCancellationRequested)
        {
            // Told by the same token below: the server may also return without an exception.
        }

        if (deadline.IsCancellationRequested)
        {
            http.Abort();
        }

        return !ends.IsCancellationRequested && !http.RequestAborted.IsCancellationRequested;
    }

    private void Close(string client)
    {
        while (_open.TryGetValue(client, out int open))
        {
            if (open > 1 ? _open.TryUpdate(client, open - 1, open) : _open.TryRemove(KeyValuePair.Create(client, open)))
            {
                return;
            }
        }
    }
}
