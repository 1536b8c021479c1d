// Every failure's document (RFC 9457), and the one place that turns failures into it.

using System.Collections.Immutable;
using System.Diagnostics;
using System.Text.Json;
using AssignHub.Engine;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;
using Microsoft.AspNetCore.Diagnostics;
using Microsoft.AspNetCore.Http.Features;
using EngineRefusals = AssignHub.Engine.Rules.Refusals;

namespace AssignHub.Api.Http;

/// <summary>A problem, as <c>application/problem+json</c>.</summary>
public sealed record ProblemDocument
{
    /// <summary>A URI that names the kind of problem.</summary>
    public required string Type { get; init; }
    /// <summary>The kind of problem in words.</summary>
    public required string Title { get; init; }
    /// <summary>The HTTP status.</summary>
    public required int Status { get; init; }
    /// <summary>What happened, in words.</summary>
    public required string Detail { get; init; }
    /// <summary>The kind of problem, by a name that does not change.</summary>
    public required ProblemCode Code { get; init; }
    /// <summary>Every reason that applies, with what would clear it.</summary>
    public ImmutableArray<Refusal> Refusals { get; init; } = [];
    /// <summary>Of <c>validation_failed</c>: what is wrong with which field.</summary>
    public ImmutableSortedDictionary<string, string[]>? Errors { get; init; }
    /// <summary>Of <c>host_fault</c>: what was tried.</summary>
    public string? Operation { get; init; }
    /// <summary>Of <c>host_fault</c>: the kernel's error.</summary>
    public string? Errno { get; init; }
    /// <summary>Of <c>qemu_error</c>: QEMU's own words.</summary>
    public string? Qemu { get; init; }
    /// <summary>Names this request in the service's log.</summary>
    public required string TraceId { get; init; }
}

/// <summary>A request that is malformed: field by field.</summary>
/// <param name="errors">What is wrong with which field.</param>
/// <param name="code">The kind, where it is not the fields.</param>
public sealed class BadRequestException(ImmutableSortedDictionary<string, string[]> errors, ProblemCode code = ProblemCode.ValidationFailed)
    : Exception(string.Join("; ", errors.Select(error => $"{error.Key}: {string.Join(", ", error.Value)}")))
{
    /// <summary>What is wrong with which field.</summary>
    public ImmutableSortedDictionary<string, string[]> Errors { get; } = errors;

    /// <summary>The kind.</summary>
    public ProblemCode Code { get; } = code;

    /// <summary>One field is wrong.</summary>
    public static BadRequestException Of(string field, string error) =>
        new(ImmutableSortedDictionary<string, string[]>.Empty.Add(field, [error]));
}

/// <summary>Turns refusals, faults and exceptions into problem documents. Nothing else in the service does.</summary>
public static partial class Problems
{
    /// <summary>The HTTP status of each code.</summary>
    public static int StatusOf(ProblemCode code) => code switch
    {
        ProblemCode.ValidationFailed => StatusCodes.Status400BadRequest,
        ProblemCode.Unauthenticated => StatusCodes.Status401Unauthorized,
        ProblemCode.Forbidden => StatusCodes.Status403Forbidden,
        ProblemCode.NotFound or ProblemCode.DeviceNotFound or ProblemCode.GroupNotFound or ProblemCode.BridgeNotFound
            or ProblemCode.ContainerNotFound or ProblemCode.GuestNotFound or ProblemCode.OperationNotFound or ProblemCode.TokenNotFound => StatusCodes.Status404NotFound,
        ProblemCode.MethodNotAllowed => StatusCodes.Status405MethodNotAllowed,
        ProblemCode.EventsGone => StatusCodes.Status410Gone,
        ProblemCode.RateLimited => StatusCodes.Status429TooManyRequests,
        ProblemCode.PreconditionFailed => StatusCodes.Status412PreconditionFailed,
        ProblemCode.BodyTooLarge => StatusCodes.Status413PayloadTooLarge,
        ProblemCode.IdempotencyMismatch => StatusCodes.Status422UnprocessableEntity,
        ProblemCode.UnsupportedMediaType => StatusCodes.Status415UnsupportedMediaType,
        ProblemCode.QemuError => StatusCodes.Status502BadGateway,
        ProblemCode.UnplugTimeout => StatusCodes.Status504GatewayTimeout,
        ProblemCode.HostFault or ProblemCode.InternalError => StatusCodes.Status500InternalServerError,
        _ => StatusCodes.Status409Conflict,
    };

    /// <summary>The answer to a refused change. A missing resource outranks the rest.</summary>
    public static IResult Refused(HttpContext http, ImmutableArray<Refusal> refusals)
    {
        Refusal first = refusals.FirstOrDefault(refusal => StatusOf(refusal.Code) == StatusCodes.Status404NotFound) ?? refusals[0];
        string detail = refusals.Length == 1 ? first.Message : $"{refusals.Length} reasons: {string.Join(" ", refusals.Select(refusal => refusal.Message))}";
        // A field that only the rules can judge is told as one that is malformed.
        ImmutableSortedDictionary<string, string[]> errors = refusals.Where(refusal => refusal.Code == ProblemCode.ValidationFailed)
            .GroupBy(refusal => refusal.Subject).ToImmutableSortedDictionary(field => field.Key, field => field.Select(refusal => refusal.Message).ToArray());
        return Answer(http, Document(http, first.Code, detail) with { Refusals = refusals, Errors = errors.IsEmpty ? null : errors });
    }

    /// <summary>The answer to a change that failed on its way.</summary>
    public static IResult Failed(HttpContext http, Problem problem) => Answer(http, Document(http, problem.Code, problem.Detail) with
    {
        Refusals = problem.Refusals,
        Operation = problem.Operation,
        Errno = problem.Errno,
        Qemu = problem.Qemu,
    });

    /// <summary>Whatever was thrown on the way to an answer.</summary>
    public static async Task OnExceptionAsync(HttpContext http)
    {
        Exception error = http.Features.GetRequiredFeature<IExceptionHandlerFeature>().Error;
        ProblemDocument document = error switch
        {
            BadRequestException { Code: ProblemCode.UnsupportedMediaType } => Document(http, RequestRefusals.UnsupportedMediaType()),
            BadRequestException bad => Document(http, RequestRefusals.Malformed(bad.Message)) with { Errors = bad.Errors },
            BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } => Document(http, RequestRefusals.BodyTooLarge()),
            BadHttpRequestException bad => Document(http, RequestRefusals.Malformed(bad.Message)),
            QemuException qemu => Document(http, EngineRefusals.QemuFailed(ProblemCode.QemuError, "qemu", qemu.Message)) with { Qemu = qemu.Fault.Description },
            HostFault fault => Document(http, EngineRefusals.HostFailed(fault.Subject, fault.Message)) with
            {
                Operation = fault.Operation, Errno = fault.Errno.ToString(),
            },
            _ => Document(http, EngineRefusals.Bug("request", "AssignHub failed at this request; the log has the trace id.")),
        };
        if (document.Code == ProblemCode.InternalError)
        {
            LogFailure(http.RequestServices.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(Problems)), error, http.Request.Method, http.Request.Path, document.TraceId);
        }

        await Answer(http, document).ExecuteAsync(http).ConfigureAwait(false);
    }

    /// <summary>The bodies of answers that the framework gives without one.</summary>
    public static Task OnStatusAsync(HttpContext http)
    {
        Refusal refusal = http.Response.StatusCode switch
        {
            StatusCodes.Status401Unauthorized => RequestRefusals.Unauthenticated(),
            StatusCodes.Status403Forbidden => RequestRefusals.Forbidden(
                http.User.FindFirst(System.Security.Claims.ClaimTypes.Role)?.Value ?? "none", http.GetEndpoint()?.Metadata.GetMetadata<NeededRole>()?.Role.ToString() ?? "another"),
            StatusCodes.Status404NotFound => RequestRefusals.NotFound(http.Request.Path),
            StatusCodes.Status405MethodNotAllowed => RequestRefusals.MethodNotAllowed(http.Request.Path, http.Request.Method),
            StatusCodes.Status413PayloadTooLarge => RequestRefusals.BodyTooLarge(),
            StatusCodes.Status415UnsupportedMediaType => RequestRefusals.UnsupportedMediaType(),
            _ => RequestRefusals.Malformed("The request is malformed."),
        };
        return Answer(http, Document(http, refusal) with { Status = http.Response.StatusCode }).ExecuteAsync(http);
    }

    private static ProblemDocument Document(HttpContext http, Refusal refusal) => Document(http, refusal.Code, refusal.Message) with { Refusals = [refusal] };

    private static ProblemDocument Document(HttpContext http, ProblemCode code, string detail) => new()
    {
        Type = $"urn:assignhub:problem:{NameOf(code)}",
        Title = Title(code),
        Status = StatusOf(code),
        Detail = detail,
        Code = code,
        TraceId = Activity.Current?.TraceId.ToHexString() ?? http.TraceIdentifier,
    };

    private static IResult Answer(HttpContext http, ProblemDocument document)
    {
        var measures = http.RequestServices.GetRequiredService<Measures>();
        foreach (ProblemCode code in document.Refusals.Select(refusal => refusal.Code).DefaultIfEmpty(document.Code))
        {
            measures.Refused(NameOf(code));
        }

        return TypedResults.Json(document, ApiJson.Wire.ProblemDocument, "application/problem+json", document.Status);
    }

    private static string NameOf(ProblemCode code) => JsonNamingPolicy.SnakeCaseLower.ConvertName(code.ToString());

    private static string Title(ProblemCode code)
    {
        string words = NameOf(code).Replace('_', ' ');
        return char.ToUpperInvariant(words[0]) + words[1..];
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "{Method} {Path} failed, trace {TraceId}")]
    private static partial void LogFailure(ILogger logger, Exception error, string method, string path, string traceId);
}
