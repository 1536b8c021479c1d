// The refusals that a request meets before any rule does: who asks, where, in which form, and when. The rules' own are in engine/Rules/Refusals.cs.

using AssignHub.Engine.Rules;

namespace AssignHub.Api.Http;

/// <summary>Makes them.</summary>
public static class RequestRefusals
{
    private const string Subject = "request";

    /// <summary>The request is malformed.</summary>
    public static Refusal Malformed(string message) => new(
        ProblemCode.ValidationFailed, Subject, message, "Correct what is named, in errors field by field; /openapi.yaml has the form of every request.");

    /// <summary>No token, or none that is known.</summary>
    public static Refusal Unauthenticated() => new(
        ProblemCode.Unauthenticated, Subject, "The request has no valid bearer token.",
        "Send Authorization: Bearer TOKEN; the first token is in admin.token in the data directory, and assignhub token create makes others.");

    /// <summary>The token's role does not reach that far.</summary>
    public static Refusal Forbidden(string role, string needed) => new(
        ProblemCode.Forbidden, Subject, $"The token's role is {role.ToLowerInvariant()}; this needs {needed.ToLowerInvariant()}.",
        $"Use a token with the role {needed.ToLowerInvariant()}: an administrator makes one with POST /v1/tokens or assignhub token create.");

    /// <summary>No such token.</summary>
    public static Refusal TokenNotFound(string id) => new(
        ProblemCode.TokenNotFound, $"token {id}", $"There is no token {id}.", "List the tokens at /v1/tokens.");

    /// <summary>No such path.</summary>
    public static Refusal NotFound(string path) => new(
        ProblemCode.NotFound, Subject, $"There is nothing at {path}.", "/openapi.yaml lists every path.");

    /// <summary>The path has other verbs.</summary>
    public static Refusal MethodNotAllowed(string path, string method) => new(
        ProblemCode.MethodNotAllowed, Subject, $"{path} has no {method}.", "/openapi.yaml lists the verbs of every path.");

    /// <summary>The body is too long.</summary>
    public static Refusal BodyTooLarge() => new(ProblemCode.BodyTooLarge, Subject, "The body is larger than 1 MiB.", "Send at most 1 MiB.");

    /// <summary>The body is not JSON.</summary>
    public static Refusal UnsupportedMediaType() => new(
        ProblemCode.UnsupportedMediaType, Subject, "The body is not application/json.", "Send JSON, with Content-Type: application/json.");

    /// <summary>No such operation.</summary>
    public static Refusal OperationNotFound(string id) => new(
        ProblemCode.OperationNotFound, $"operation {id}", $"There is no operation {id}.", "List the operations at /v1/operations.");

    /// <summary>The resource is no longer as the client saw it.</summary>
    public static Refusal PreconditionFailed(string path, string? tag) => new(
        ProblemCode.PreconditionFailed, path, tag is null ? "There is none of the resource that If-Match asks for." : $"The resource is not as If-Match has it: its ETag is now {tag}.",
        "Get it again, see what has changed, and send the request with the new ETag if it still holds.");

    /// <summary>The key came with another request before.</summary>
    public static Refusal KeyMismatch(string key) => new(
        ProblemCode.IdempotencyMismatch, Subject, $"Idempotency-Key {key} came with another path or body before.", "Use a new key for a new request.");

    /// <summary>The request with this key is not answered yet.</summary>
    public static Refusal KeyUnderWay(string key) => new(
        ProblemCode.Busy, Subject, $"The first request with Idempotency-Key {key} is under way.", "Send it again in a while; the answer will be that of the first.");

    /// <summary>The events after this one are not all there.</summary>
    public static Refusal EventsGone(long after, long oldest, long newest) => new(
        ProblemCode.EventsGone, $"event {after}",
        after > newest ? $"There is no event {after} yet: the newest is {newest}, so the log was begun anew." : $"Events after {after} are gone: the oldest that is kept is {oldest}.",
        "Read anew what you keep a copy of, then the events without Last-Event-ID and cursor.");

    /// <summary>The client has as many event streams as it may.</summary>
    public static Refusal TooManyStreams(int most) => new(
        ProblemCode.RateLimited, Subject, $"This client has {most} event streams open, and may have no more.", "Close one, or read /v1/events page by page.");

    /// <summary>Another change is under way on what this one needs.</summary>
    public static Refusal Busy(Change change, long operation) => new(
        ProblemCode.Busy, change.Subject, $"Operation {operation} holds what this needs.", $"Wait for it: GET /v1/operations/{operation}?wait=60.")
    {
        BlockedBy = [$"operation {operation}"],
    };
}
