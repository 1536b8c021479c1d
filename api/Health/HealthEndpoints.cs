// /healthz and /readyz: whether the service lives, and whether it can do its work.

using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Health;

internal static class HealthEndpoints
{
    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/healthz", () => TypedResults.Text("ok\n")).WithTags("Service").WithName("getHealth").WithSummary("Whether the service lives")
            .Produces<string>(contentType: "text/plain").AllowAnonymous();
        routes.MapGet("/readyz", Ready).WithTags("Service").WithName("getReadiness").WithSummary("Whether the service can assign devices")
            .Produces<string>(contentType: "text/plain").Produces<string>(StatusCodes.Status503ServiceUnavailable, "text/plain").AllowAnonymous();
    }

    private static IResult Ready(Observer observer)
    {
        World world = observer.World;
        string? lack = !world.Host.Vfio.IommuEnabled ? "the IOMMU is off" : !world.Host.Vfio.Available ? "the kernel offers no VFIO" : null;
        return TypedResults.Text(lack is null ? "ready\n" : $"not ready: {lack}\n",
            statusCode: lack is null ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable);
    }
}
