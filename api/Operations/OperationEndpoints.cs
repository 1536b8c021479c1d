// /v1/operations: what is under way and what became of it.

using System.Globalization;
using AssignHub.Api.Http;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Operations;

internal static class OperationEndpoints
{
    private const int LongestWaitSeconds = 300;

    public static void Map(RouteGroupBuilder v1)
    {
        RouteGroupBuilder operations = v1.MapGroup("/operations").WithTags("Operations");
        operations.MapGet("", List).NeedsRole(Role.Viewer).WithName("listOperations").WithSummary("List operations, newest first")
            .WithDescription("Every change that was begun, with its steps and what became of them.")
            .Produces<Page<OperationResource>>().WithParameters(Parameters.Paging).WithProblems(ProblemCode.ValidationFailed);
        operations.MapGet("/{id}", GetAsync).NeedsRole(Role.Viewer).WithName("getOperation").WithSummary("Get an operation, waiting for its end if asked to")
            .WithDescription("With each step as it runs, those of the way back included.")
            .Produces<OperationResource>().WithParameters(Parameters.Wait).WithProblems(ProblemCode.ValidationFailed, ProblemCode.OperationNotFound);
        operations.MapDelete("/{id}", Cancel).NeedsRole(Role.Operator).WithName("cancelOperation").WithSummary("Cancel an operation")
            .WithDescription("It ends at its next step and takes the way back; one that has ended stays as it is.")
            .Produces<OperationResource>().Produces<OperationResource>(StatusCodes.Status202Accepted)
            .WithProblems(ProblemCode.OperationNotFound);
    }

    private static IResult List(HttpRequest request, Ledger ledger, IStore store, Observer observer)
    {
        long limit = request.Number("limit", 50, 1, 500);
        long before = request.Number("cursor", long.MaxValue, 1, long.MaxValue);
        IReadOnlyList<Operation> found = store.ListOperations(before, (int)limit + 1);
        string host = observer.World.Host.Host;
        return TypedResults.Json(
            new Page<OperationResource>(
                [.. found.Take((int)limit).Select(operation => OperationResource.From(ledger.Find(operation.Id) ?? operation, host))],
                found.Count > limit ? found[(int)limit - 1].Id.ToString(CultureInfo.InvariantCulture) : null),
            ApiJson.Wire.PageOperationResource);
    }

    private static async Task<IResult> GetAsync(HttpContext http, string id, Ledger ledger, Observer observer)
    {
        long number = Number(id);
        long wait = http.Request.Number("wait", 0, 0, LongestWaitSeconds);
        Operation? operation = ledger.Find(number);
        if (wait > 0 && operation is { IsFinished: false })
        {
            using var timer = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted);
            timer.CancelAfter(TimeSpan.FromSeconds(wait));
            operation = await ledger.WaitAsync(number, timer.Token).ConfigureAwait(false);
        }

        return operation is null
            ? Problems.Refused(http, [RequestRefusals.OperationNotFound(id)])
            : TypedResults.Json(OperationResource.From(operation, observer.World.Host.Host), ApiJson.Wire.OperationResource);
    }

    private static IResult Cancel(HttpContext http, string id, Ledger ledger, Coordinator coordinator, Observer observer)
    {
        long number = Number(id);
        bool cancelled = coordinator.Cancel(number);
        if (cancelled)
        {
            ledger.Tell("cancelRequested", ledger.Find(number)!.Change.Subject, http.User.Identity!.Name!, null, number);
        }

        return ledger.Find(number) is { } operation
            ? TypedResults.Json(OperationResource.From(operation, observer.World.Host.Host), ApiJson.Wire.OperationResource,
                statusCode: cancelled && !operation.IsFinished ? StatusCodes.Status202Accepted : StatusCodes.Status200OK)
            : Problems.Refused(http, [RequestRefusals.OperationNotFound(id)]);
    }

    private static long Number(string id) => long.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out long number) ? number : 0;
}
