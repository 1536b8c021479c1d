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
    /// <summary>What: <c>operationStarted</c>, <c>operationSucceeded</c>, <c>operationFailed</c>, or the action of a step that was done.</summary>
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
    public static void Map(RouteGroupBuilder v1) => v1.MapGet("/events", List).WithTags("Operations").WithName("listEvents").WithSummary("List what happened, oldest first")
        .Produces<Page<EventResource>>().WithParameters(Parameters.Paging).WithProblems(ProblemCode.ValidationFailed);

    private static IResult List(HttpRequest request, IStore store, Observer observer)
    {
        int limit = (int)request.Number("limit", 100, 1, 1000);
        long after = request.Number("cursor", 0, 0, long.MaxValue);
        IReadOnlyList<Event> found = store.ListEvents(after, limit + 1);
        string host = observer.World.Host.Host;
        return TypedResults.Json(
            new Page<EventResource>(
                [.. found.Take(limit).Select(happened => EventResource.From(happened, host))],
                found.Count > limit ? found[limit - 1].Id.ToString(CultureInfo.InvariantCulture) : null),
            ApiJson.Wire.PageEventResource);
    }
}
