// The road that every change takes: observe, plan, journal, execute, observe again.

using System.Collections.Concurrent;
using System.Collections.Immutable;
using AssignHub.Engine.Rules;
using Microsoft.Extensions.Logging;

namespace AssignHub.Engine.Operations;

/// <summary>What became of a request for a change.</summary>
/// <param name="Decision">The plan, or the refusals.</param>
/// <param name="Operation">The operation that began; null for a dry run, a refusal, or where everything is as asked already.</param>
/// <param name="InTheWay">Operations that hold what the plan needs, and did not end in time.</param>
public sealed record Submission(Decision Decision, Operation? Operation, ImmutableArray<long> InTheWay);

/// <summary>Takes changes in and sees them through. Deciding is serial; executing is parallel, except on the same subjects.</summary>
public sealed partial class Coordinator(Ledger ledger, Observer observer, StepRunner runner, Measures measures, TimeProvider clock, ILogger<Coordinator> logger)
{
    /// <summary>How long a change waits for others that hold what it needs.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly ConcurrentDictionary<long, (Task Task, CancellationTokenSource Cancel)> _running = new();

    /// <summary>Decides a change and begins it.</summary>
    /// <param name="change">What is asked for.</param>
    /// <param name="request">Who asks, and on which terms.</param>
    /// <param name="cancellation">Ends the wait for others; what began goes on.</param>
    /// <param name="patience">How long to wait for others; <see cref="Patience"/> if left out.</param>
    public async Task<Submission> SubmitAsync(Change change, Request request, CancellationToken cancellation, TimeSpan? patience = null)
    {
        change = change with { At = clock.GetUtcNow() };
        long deadline = clock.GetTimestamp();
        while (true)
        {
            World world = await observer.ObserveAsync(change, cancellation).ConfigureAwait(false);
            if (request.DryRun)
            {
                return new Submission(Decide(world, change, request), null, []);
            }

            Task released = ledger.Released;
            (Decision decision, Operation? begun, ImmutableArray<long> inTheWay) =
                ledger.Begin(inventory => Decide(world with { Inventory = inventory }, change, request), request.Actor, resumed: null, request.Key);
            if (begun is not null)
            {
                Execute(begun);
            }

            TimeSpan left = (patience ?? Patience) - clock.GetElapsedTime(deadline);
            if (inTheWay.IsEmpty || left <= TimeSpan.Zero)
            {
                return new Submission(decision, begun, inTheWay);
            }

            await Task.WhenAny(released, Task.Delay(left, clock, cancellation)).ConfigureAwait(false);
            cancellation.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Carries on with an operation that was under way when the service last ended.</summary>
    public async Task ResumeAsync(Operation operation, CancellationToken cancellation)
    {
        World world = await observer.ObserveAsync(operation.Change, cancellation).ConfigureAwait(false);
        Task released = ledger.Released;
        (Decision decision, Operation? begun, ImmutableArray<long> inTheWay) =
            ledger.Begin(inventory => Planner.Decide(world with { Inventory = inventory }, operation.Change), operation.Actor, operation);
        if (begun is not null)
        {
            Execute(begun);
        }
        else if (!inTheWay.IsEmpty)
        {
            // Others that were taken up before hold what it needs; being in the way is no reason to undo it.
            await released.WaitAsync(cancellation).ConfigureAwait(false);
            await ResumeAsync(operation, cancellation).ConfigureAwait(false);
        }
        else
        {
            // The world moved on while the service was away: what was asked for is no longer possible, so all is given back.
            var problem = new Problem(ProblemCode.HostFault, "The service ended while this was under way, and it can no longer be done: "
                + string.Join(" ", decision.Refusals.Select(refusal => refusal.Message))) { Refusals = decision.Refusals };
            Track(operation.Id, cancel => UndoAsync(operation, problem, OperationState.Failed, cancel));
        }
    }

    /// <summary>Ends an operation at its next step and takes the way back.</summary>
    /// <returns>False if it is not under way.</returns>
    public bool Cancel(long id)
    {
        if (!_running.TryGetValue(id, out var running))
        {
            return false;
        }

        running.Cancel.Cancel();
        return true;
    }

    /// <summary>Waits for what is under way; what does not end by then is taken up at the next start.</summary>
    public async Task DrainAsync(CancellationToken cancellation)
    {
        Task all = Task.WhenAll(_running.Values.Select(running => running.Task));
        await Task.WhenAny(all, Task.Delay(Timeout.Infinite, cancellation)).ConfigureAwait(false);
    }

    /// <summary>Decides on the request's terms. What is not there at all is said before that it is not as it was.</summary>
    private Decision Decide(World world, Change change, Request request)
    {
        Decision decision = Planner.Decide(world, change);
        // Others may have ended since this request looked: the condition is on what is shown now, not on what it saw.
        return request.Precondition?.Invoke(observer.World with { Inventory = world.Inventory }) is { } failed
            && !decision.Refusals.Any(refusal => refusal.Code is ProblemCode.DeviceNotFound or ProblemCode.ContainerNotFound or ProblemCode.GuestNotFound)
            ? new Decision(null, [failed])
            : decision;
    }

    private void Execute(Operation operation) => Track(operation.Id, cancel => ExecuteAsync(operation, cancel));

    private void Track(long id, Func<CancellationToken, Task> work)
    {
        var cancel = new CancellationTokenSource();
        var registered = new TaskCompletionSource();
        Task task = Task.Run(async () =>
        {
            await registered.Task.ConfigureAwait(false);
            try
            {
                await work(cancel.Token).ConfigureAwait(false);
            }
            catch (Exception error)
            {
                // The store could not be written: the journal still says where it was, and the next start takes it up.
                LogLost(logger, error, id);
            }
            finally
            {
                _running.TryRemove(id, out _);
                cancel.Dispose();
            }
        });
        _running[id] = (task, cancel);
        registered.SetResult();
    }

    private async Task ExecuteAsync(Operation operation, CancellationToken cancel)
    {
        LogBegun(logger, operation.Id, operation.Change.Kind, operation.Change.Subject, operation.Actor);
        for (int i = 0; i < operation.Steps.Length; i++)
        {
            if (operation.Steps[i].State is not (StepState.Pending or StepState.Running))
            {
                continue;
            }

            if (cancel.IsCancellationRequested)
            {
                await UndoAsync(operation, new Problem(ProblemCode.Busy, "Cancelled."), OperationState.Cancelled, CancellationToken.None).ConfigureAwait(false);
                return;
            }

            (operation, Problem? problem) = await RunStepAsync(operation, i, cancel).ConfigureAwait(false);
            if (problem is not null)
            {
                OperationState end = cancel.IsCancellationRequested ? OperationState.Cancelled : OperationState.Failed;
                await UndoAsync(operation, problem, end, CancellationToken.None).ConfigureAwait(false);
                return;
            }
        }

        await observer.ObserveAgainAsync(operation.Change, CancellationToken.None).ConfigureAwait(false);
        ledger.Finish(operation with { State = OperationState.Succeeded, FinishedAt = clock.GetUtcNow() }, inventory => inventory);
        LogSucceeded(logger, operation.Id);
    }

    /// <summary>Takes the way back: every step of it is tried, for one device that fails must not keep another from its driver.</summary>
    private async Task UndoAsync(Operation operation, Problem problem, OperationState end, CancellationToken cancel)
    {
        LogUndo(logger, operation.Id, problem.Detail);
        World world = await observer.ObserveAsync(operation.Change, cancel).ConfigureAwait(false);
        int first = operation.Steps.Length;
        operation = ledger.Amend(operation with
        {
            State = OperationState.Running,
            Error = problem,
            Steps = [.. operation.Steps.Select(step => step.State is StepState.Pending or StepState.Running ? step with { State = StepState.Skipped, StartedAt = null } : step)],
        }, inventory => Planner.Undo(world with { Inventory = inventory }, operation.Change, problem.Detail));

        string? lost = null;
        for (int i = first; i < operation.Steps.Length; i++)
        {
            if (lost is not null && operation.Steps[i].Step is DropContainer or DropGuest)
            {
                operation = operation.With(i, operation.Steps[i] with { State = StepState.Skipped, StartedAt = null });
                continue;
            }

            (operation, Problem? another) = await RunStepAsync(operation, i, cancel).ConfigureAwait(false);
            lost ??= another?.Detail;
        }

        await observer.ObserveAgainAsync(operation.Change, cancel).ConfigureAwait(false);
        ImmutableArray<string> stranded =
            [.. operation.Steps.Skip(first).Where(step => step.State == StepState.Skipped).Select(step => step.Step).OfType<DropContainer>().Select(drop => drop.Container)];
        ledger.Finish(operation with { State = end, FinishedAt = clock.GetUtcNow() }, inventory => Effects.Strand(inventory, stranded, lost));
    }

    private async Task<(Operation Operation, Problem? Problem)> RunStepAsync(Operation operation, int index, CancellationToken cancel)
    {
        OperationStep step = operation.Steps[index];
        if (step.State != StepState.Running)
        {
            operation = ledger.Commit(operation.Starting(index, clock.GetUtcNow()), inventory => inventory);
            step = operation.Steps[index];
        }

        if (Planner.RefusalOf(ledger.Inventory, step.Step) is { } refusal)
        {
            return Failed(operation, index, step, new Problem(refusal.Code, refusal.Message) { Refusals = [refusal] });
        }

        StepOutcome outcome;
        long begun = clock.GetTimestamp();
        try
        {
            outcome = await runner.RunAsync(step.Step, cancel).ConfigureAwait(false);
        }
        catch (Exception error) when (StepFailures.Explain(error, step.Step) is { } problem)
        {
            measures.Ended(step.Step, clock.GetElapsedTime(begun), succeeded: false);
            LogStepFailed(logger, error, operation.Id, step.Step.Action, step.Step.Subject);
            return Failed(operation, index, step, problem);
        }

        measures.Ended(step.Step, clock.GetElapsedTime(begun), succeeded: true);

        // That this step is done and that the next is about to be done is written at once: a write less a step.
        DateTimeOffset now = clock.GetUtcNow();
        step = step with { State = StepState.Succeeded, FinishedAt = now };
        operation = ledger.Commit(operation.With(index, step).Starting(index + 1, now), inventory => Effects.Apply(inventory, step.Step, outcome),
            step.Step.Action, step.Step.Subject, step.Step.Reason);
        return (operation, null);
    }

    private (Operation Operation, Problem? Problem) Failed(Operation operation, int index, OperationStep step, Problem problem)
    {
        step = step with { State = StepState.Failed, FinishedAt = clock.GetUtcNow(), Error = problem.Detail };

        // On the way forward the undoing sets the record right; on the way back nothing comes after it.
        return (ledger.Commit(operation.With(index, step), inventory => operation.Error is null ? inventory : Effects.Fail(inventory, step.Step)), problem);
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Operation {Operation}: {Kind} {Subject} for {Actor}")]
    private static partial void LogBegun(ILogger logger, long operation, string kind, string subject, string actor);

    [LoggerMessage(Level = LogLevel.Information, Message = "Operation {Operation} succeeded")]
    private static partial void LogSucceeded(ILogger logger, long operation);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Operation {Operation} takes the way back: {Detail}")]
    private static partial void LogUndo(ILogger logger, long operation, string detail);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Operation {Operation}: {Action} {Subject} failed")]
    private static partial void LogStepFailed(ILogger logger, Exception error, long operation, string action, string subject);

    [LoggerMessage(Level = LogLevel.Error, Message = "Operation {Operation} is left where the journal has it")]
    private static partial void LogLost(ILogger logger, Exception error, long operation);
}
