// The journal's records: an operation, its steps as they run, what went wrong, and the events that tell of it after.

using System.Collections.Immutable;
using AssignHub.Engine.Rules;

namespace AssignHub.Engine.Operations;

/// <summary>A change on its way, or what became of one.</summary>
public sealed record Operation
{
    /// <summary>Its id: ascending numbers.</summary>
    public required long Id { get; init; }
    /// <summary>What was asked for.</summary>
    public required Change Change { get; init; }
    /// <summary>Who asked.</summary>
    public required string Actor { get; init; }
    /// <summary>How far it is.</summary>
    public OperationState State { get; init; }
    /// <summary>Its steps, those of the way back included.</summary>
    public ImmutableArray<OperationStep> Steps { get; init; } = [];
    /// <summary>Why it failed, if it did.</summary>
    public Problem? Error { get; init; }
    /// <summary>What was worth knowing before.</summary>
    public ImmutableArray<string> Warnings { get; init; } = [];
    /// <summary>When it was asked for.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
    /// <summary>When it ended.</summary>
    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>Whether it has ended.</summary>
    public bool IsFinished => State is OperationState.Succeeded or OperationState.Failed or OperationState.Cancelled;

    /// <summary>This operation with one step replaced.</summary>
    public Operation With(int index, OperationStep step) => this with { Steps = Steps.SetItem(index, step) };

    /// <summary>This operation with one step begun, if there is one there that has not.</summary>
    public Operation Starting(int index, DateTimeOffset now) => index < Steps.Length && Steps[index].State == StepState.Pending
        ? With(index, Steps[index] with { State = StepState.Running, StartedAt = now })
        : this;
}

/// <summary>How far an operation is.</summary>
public enum OperationState
{
    /// <summary>Journaled, and not begun.</summary>
    Pending,
    /// <summary>At work.</summary>
    Running,
    /// <summary>All steps are done.</summary>
    Succeeded,
    /// <summary>A step failed; the way back was taken.</summary>
    Failed,
    /// <summary>Ended because someone asked; the way back was taken.</summary>
    Cancelled,
}

/// <summary>A step of an operation.</summary>
/// <param name="Step">What it does.</param>
/// <param name="State">How far it is.</param>
/// <param name="StartedAt">When it began.</param>
/// <param name="FinishedAt">When it ended.</param>
/// <param name="Error">What went wrong.</param>
public sealed record OperationStep(
    Step Step, StepState State = StepState.Pending, DateTimeOffset? StartedAt = null, DateTimeOffset? FinishedAt = null, string? Error = null);

/// <summary>How far a step is.</summary>
public enum StepState
{
    /// <summary>Not begun.</summary>
    Pending,
    /// <summary>At work.</summary>
    Running,
    /// <summary>Done.</summary>
    Succeeded,
    /// <summary>Failed.</summary>
    Failed,
    /// <summary>Not done, because one before it failed or the service ended and planned anew.</summary>
    Skipped,
}

/// <summary>What went wrong, as it is told to whoever asked.</summary>
/// <param name="Code">Its kind.</param>
/// <param name="Detail">In words.</param>
public sealed record Problem(ProblemCode Code, string Detail)
{
    /// <summary>Every reason that applies, with what would clear it.</summary>
    public ImmutableArray<Refusal> Refusals { get; init; } = [];
    /// <summary>Of a host fault: what was tried.</summary>
    public string? Operation { get; init; }
    /// <summary>Of a host fault: the kernel's error name (<c>EBUSY</c>).</summary>
    public string? Errno { get; init; }
    /// <summary>Of a QEMU error: its own words.</summary>
    public string? Qemu { get; init; }
}

/// <summary>Something that happened.</summary>
/// <param name="Id">Ascending without gaps; the store gives it, and 0 is one that is not written yet.</param>
/// <param name="Time">When.</param>
/// <param name="Kind">What: <c>operationStarted</c>, <c>operationSucceeded</c>, <c>operationFailed</c>, or the action of a step that was done.</param>
/// <param name="Subject">On what.</param>
/// <param name="Operation">As part of which operation.</param>
/// <param name="Actor">Asked for by whom.</param>
/// <param name="Data">In words.</param>
public sealed record Event(long Id, DateTimeOffset Time, string Kind, string Subject, long? Operation, string Actor, string? Data);
