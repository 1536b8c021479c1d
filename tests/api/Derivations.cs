// What a good request becomes when its form is made wrong in one way: the statuses that every operation has in common.

namespace AssignHub.Tests.Api;

internal static class Derivations
{
    /// <summary>The request that brings an operation to a status; null if its form alone does not.</summary>
    public static Asked? Of(DocumentedOperation operation, Asked good, int status) => status switch
    {
        401 or 403 => good with { Given = [], Before = null, Path = Unknown(operation) },
        304 or 422 => good,
        400 => Malformed(operation, good),
        404 => operation.Path.Contains('{', StringComparison.Ordinal) ? good with { Given = [], Before = null, Path = Unknown(operation) } : null,
        412 => good with { Headers = [("If-Match", "\"stale\"")] },
        413 => good with { Given = [], Before = null, Path = Unknown(operation), Body = $$"""{ "name": "{{new string('x', 2 << 20)}}" }""" },
        415 => good with { Given = [], Before = null, Path = Unknown(operation), Body = good.Body ?? "{}" },
        // Without Prefer the same request is accepted only.
        202 when good.Status < 300 && Takes(operation, "Prefer") => good with { Path = good.Path.Split('?')[0] },
        200 when good.Status < 300 && Takes(operation, "dryRun") => good with { Path = $"{good.Path}?dryRun=true" },
        _ => null,
    };

    private static Asked? Malformed(DocumentedOperation operation, Asked good) =>
        Takes(operation, "limit") ? good with { Path = good.Path.Replace("limit=1", "limit=0", StringComparison.Ordinal) }
        : Takes(operation, "wait") ? good with { Path = $"{good.Path}?wait=soon" }
        : Takes(operation, "dryRun") ? good with { Path = $"{good.Path.Split('?')[0]}?dryRun=perhaps" }
        : Takes(operation, "Idempotency-Key") ? good with { Headers = [("Idempotency-Key", "")] }
        : operation.Path.Contains("{address}", StringComparison.Ordinal) ? good with { Path = operation.Path.Replace("{address}", "3:1.0", StringComparison.Ordinal).Replace("{name}", "web01", StringComparison.Ordinal) }
        : operation.Path.Contains("{id}", StringComparison.Ordinal) ? good with { Path = operation.Path.Replace("{id}", "none", StringComparison.Ordinal) }
        : null;

    private static string Unknown(DocumentedOperation operation) => operation.Path.Replace("{address}", "0000:7f:00.0", StringComparison.Ordinal)
        .Replace("{id}", "4711", StringComparison.Ordinal).Replace("{name}", "nobody", StringComparison.Ordinal);

    private static bool Takes(DocumentedOperation operation, string parameter) => operation.Takes(parameter);
}
