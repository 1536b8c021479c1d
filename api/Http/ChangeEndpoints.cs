// How every change is answered: 200 with the plan for a dry run, 202 with the operation, or the resource when the client waits.

using AssignHub.Api.Operations;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Http;

/// <summary>What an endpoint that changes something needs.</summary>
/// <param name="coordinator">Takes the change in.</param>
/// <param name="ledger">Knows the operations.</param>
/// <param name="observer">Knows the world.</param>
public sealed class ChangeEndpoints(Coordinator coordinator, Ledger ledger, Observer observer)
{
    /// <summary>The header that names the operation of a change that was waited for.</summary>
    public const string OperationHeader = "AssignHub-Operation";

    /// <summary>Submits a change and answers as the client asked.</summary>
    /// <param name="http">The request: <c>?dryRun=true</c>, <c>Prefer: wait=N</c>.</param>
    /// <param name="change">The change.</param>
    /// <param name="resource">The resource after the change, and where it is.</param>
    /// <param name="tag">The ETag of the resource that <c>If-Match</c> is about; null where there is none.</param>
    public async Task<IResult> SubmitAsync(HttpContext http, Change change, Func<World, IResult> resource, Func<World, string?>? tag = null)
    {
        var keyed = http.Features.Get<KeyedRequest>();
        if (keyed?.Operation is { } begun)
        {
            return ledger.Find(begun) is { } known
                ? await AnswerAsync(http, known, resource).ConfigureAwait(false)
                : Problems.Refused(http, [RequestRefusals.OperationNotFound(begun.ToString(System.Globalization.CultureInfo.InvariantCulture))]);
        }

        var request = new Request(http.User.Identity?.Name ?? "anonymous")
        {
            Key = keyed?.Key,
            DryRun = http.Request.Flag("dryRun"),
            Precondition = tag is null ? null : EntityTags.Precondition(http.Request, tag),
        };
        Submission submission = await coordinator.SubmitAsync(change, request, http.RequestAborted).ConfigureAwait(false);
        if (submission.Decision.Plan is not { } plan)
        {
            return Problems.Refused(http, submission.Decision.Refusals);
        }

        if (request.DryRun)
        {
            return TypedResults.Json(PlanResource.From(plan), ApiJson.Wire.PlanResource);
        }

        if (!submission.InTheWay.IsEmpty)
        {
            return Problems.Refused(http, [.. submission.InTheWay.Select(id => RequestRefusals.Busy(change, id))]);
        }

        return submission.Operation is { } operation
            ? await AnswerAsync(http, operation, resource).ConfigureAwait(false)
            : resource(observer.World);
    }

    private async Task<IResult> AnswerAsync(HttpContext http, Operation operation, Func<World, IResult> resource)
    {
        http.Response.Headers[OperationHeader] = $"/v1/operations/{operation.Id}";
        if (http.Request.PreferredWait() is not { } wait)
        {
            return Accepted(operation);
        }

        using var timer = CancellationTokenSource.CreateLinkedTokenSource(http.RequestAborted);
        timer.CancelAfter(wait);
        Operation now = await ledger.WaitAsync(operation.Id, timer.Token).ConfigureAwait(false) ?? operation;
        http.Response.Headers["Preference-Applied"] = $"wait={wait.TotalSeconds:0}";
        return now.State switch
        {
            OperationState.Succeeded => resource(observer.World),
            OperationState.Failed or OperationState.Cancelled => Problems.Failed(http, now.Error!),
            _ => Accepted(now),
        };
    }

    private IResult Accepted(Operation operation) =>
        TypedResults.Accepted($"/v1/operations/{operation.Id}", OperationResource.From(operation, observer.World.Host.Host));
}
