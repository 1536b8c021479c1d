// /healthz and /readyz: whether the service lives, and whether it can do its work.

namespace AssignHub.Api.Health;

internal static class HealthEndpoints
{
    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/healthz", () => TypedResults.Text("ok\n")).WithTags("Service").WithName("getHealth").WithSummary("Whether the service lives")
            .WithDescription("It answers, so it does. Needs no token.")
            .Produces<string>(contentType: "text/plain").AllowAnonymous();
        routes.MapGet("/readyz", Ready).WithTags("Service").WithName("getReadiness").WithSummary("Whether the service can assign devices")
            .WithDescription("The IOMMU and VFIO are there, the store can be written, and the reconciler comes round; else each that is lacking.")
            .Produces<string>(contentType: "text/plain").Produces<string>(StatusCodes.Status503ServiceUnavailable, "text/plain").AllowAnonymous();
    }

    private static IResult Ready(Readiness readiness)
    {
        IReadOnlyList<string> lacks = readiness.Lacks();
        return lacks.Count == 0
            ? TypedResults.Text("ready\n")
            : TypedResults.Text($"not ready: {string.Join("; ", lacks)}\n", statusCode: StatusCodes.Status503ServiceUnavailable);
    }
}
