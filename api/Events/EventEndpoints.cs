// /v1/events: what happened, oldest first.

using System.Globalization;
using AssignHub.Api.Http;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Events;

/// <summary>Something that happened.</summary>
public sealed record EventResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>Ascending.</summary>
    public required string Id { get; init; }
    /// <summary>When.</summary>
    public required DateTimeOffset Time { get; init; }
    /// <summary>What: <c>operationStarted</c>, <c>operationSucceeded</c>, <c>operationFailed</c>, the action of a step that was done,
    /// <c>cancelRequested</c>, <c>tokenCreated</c>, <c>tokenRevoked</c>, or <c>denied</c> of a request without the right to what it asked for.</summary>
    public required string Kind { get; init; }
    /// <summary>On what.</summary>
    public required string Subject { get; init; }
    /// <summary>As part of which operation.</summary>
    public string? Operation { get; init; }
    /// <summary>Asked for by whom.</summary>
    public required string Actor { get; init; }
    /// <summary>In words.</summary>
    public string? Data { get; init; }

    /// <summary>Shows an event.</summary>
    public static EventResource From(Event happened, string host) => new()
    {
        Host = host,
        Id = happened.Id.ToString(CultureInfo.InvariantCulture),
        Time = happened.Time,
        Kind = happened.Kind,
        Subject = happened.Subject,
        Operation = happened.Operation?.ToString(CultureInfo.InvariantCulture),
        Actor = happened.Actor,
        Data = happened.Data,
    };
}

internal static class EventEndpoints
{
    private const string LastEventId = "Last-Event-ID";

    public static void Map(RouteGroupBuilder v1) => v1.MapGet("/events", ListAsync).WithTags("Operations").NeedsRole(Role.Viewer).WithName("listEvents").WithSummary("List what happened, oldest first")
        .WithDescription("A page; or, asked for `text/event-stream`, Server-Sent Events: those after `Last-Event-ID` (or `cursor`), then each as it happens. Without either the "
            + "stream begins now. The newest 100,000 events are kept, and an id before those is answered with 410.")
        .Produces<Page<EventResource>>()
        .WithMetadata(new TextAlternative("text/event-stream", "Events with `id`, the kind as `event`, and the same JSON as on a page as `data`."))
        .WithParameters(Parameters.Paging, [new("Last-Event-ID", Microsoft.OpenApi.ParameterLocation.Header, "Of a stream: the last event that the client has.", Microsoft.OpenApi.JsonSchemaType.Integer)])
        .WithProblems(ProblemCode.ValidationFailed, ProblemCode.EventsGone, ProblemCode.RateLimited);

    private static async Task<IResult> ListAsync(HttpContext http, IStore store, Observer observer, EventStreams streams)
    {
        bool streamed = http.Request.Headers.Accept.Any(accept => accept?.Contains("text/event-stream", StringComparison.OrdinalIgnoreCase) == true);
        // A browser that comes back repeats its first URL, so the header knows better than the cursor.
        long? after = (streamed ? Id(http.Request.Headers[LastEventId], LastEventId) : null) ?? Id(http.Request.Query["cursor"], "cursor");
        (long oldest, long newest) = store.EventSpan();
        if (after is { } last && (last + 1 < oldest || (streamed && last > newest)))
        {
            return Problems.Refused(http, [RequestRefusals.EventsGone(last, oldest, newest)]);
        }

        return streamed ? await streams.SendAsync(http, after ?? newest).ConfigureAwait(false) : Show(http.Request, after ?? 0, store, observer);
    }

    private static IResult Show(HttpRequest request, long after, IStore store, Observer observer)
    {
        int limit = (int)request.Number("limit", 100, 1, 1000);
        IReadOnlyList<Event> found = store.ListEvents(after, limit + 1);
        string host = observer.World.Host.Host;
        return TypedResults.Json(
            new Page<EventResource>(
                [.. found.Take(limit).Select(happened => EventResource.From(happened, host))],
                found.Count > limit ? found[limit - 1].Id.ToString(CultureInfo.InvariantCulture) : null),
            ApiJson.Wire.PageEventResource);
    }

    private static long? Id(string? text, string field) => text is null ? null
        : long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out long id) ? id
        : throw BadRequestException.Of(field, "has to be the id of an event");
}
