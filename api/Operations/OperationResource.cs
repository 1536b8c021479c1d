// Operations and plans as clients see them.

using System.Collections.Immutable;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Operations;

/// <summary>A change on its way, or what became of one.</summary>
public sealed record OperationResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>Its id.</summary>
    public required string Id { get; init; }
    /// <summary>What was asked for: <c>claimGroup</c>, <c>attachDevice</c>, …</summary>
    public required string Kind { get; init; }
    /// <summary>On what.</summary>
    public required string Subject { get; init; }
    /// <summary>Who asked.</summary>
    public required string Actor { get; init; }
    /// <summary>How far it is.</summary>
    public required OperationState State { get; init; }
    /// <summary>Its steps, in order, those of the way back included.</summary>
    public required ImmutableArray<StepResource> Steps { get; init; }
    /// <summary>What was worth knowing before.</summary>
    public ImmutableArray<string> Warnings { get; init; } = [];
    /// <summary>Why it failed, if it did.</summary>
    public Problem? Error { get; init; }
    /// <summary>When it was asked for.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
    /// <summary>When it ended.</summary>
    public DateTimeOffset? FinishedAt { get; init; }

    /// <summary>Shows an operation.</summary>
    public static OperationResource From(Operation operation, string host) => new()
    {
        Host = host,
        Id = operation.Id.ToString(System.Globalization.CultureInfo.InvariantCulture),
        Kind = operation.Change.Kind,
        Subject = operation.Change.Subject,
        Actor = operation.Actor,
        State = operation.State,
        Steps = [.. operation.Steps.Select(StepResource.From)],
        Warnings = operation.Warnings,
        Error = operation.Error,
        CreatedAt = operation.CreatedAt,
        FinishedAt = operation.FinishedAt,
    };
}

/// <summary>A step of an operation or plan.</summary>
public sealed record StepResource
{
    /// <summary>What it does: <c>bindVfio</c>, <c>plugDevice</c>, …</summary>
    public required string Action { get; init; }
    /// <summary>On what.</summary>
    public required string Subject { get; init; }
    /// <summary>Why.</summary>
    public required string Reason { get; init; }
    /// <summary>How far it is.</summary>
    public StepState State { get; init; }
    /// <summary>When it began.</summary>
    public DateTimeOffset? StartedAt { get; init; }
    /// <summary>When it ended.</summary>
    public DateTimeOffset? FinishedAt { get; init; }
    /// <summary>What went wrong.</summary>
    public string? Error { get; init; }

    /// <summary>Shows a step.</summary>
    public static StepResource From(OperationStep step) => new()
    {
        Action = step.Step.Action,
        Subject = step.Step.Subject,
        Reason = step.Step.Reason,
        State = step.State,
        StartedAt = step.StartedAt,
        FinishedAt = step.FinishedAt,
        Error = step.Error,
    };
}

/// <summary>What a change would do: the answer to <c>?dryRun=true</c>.</summary>
public sealed record PlanResource
{
    /// <summary>What was asked for.</summary>
    public required string Kind { get; init; }
    /// <summary>On what.</summary>
    public required string Subject { get; init; }
    /// <summary>The steps, in order; none if everything is as asked already.</summary>
    public required ImmutableArray<StepResource> Steps { get; init; }
    /// <summary>The groups, guests and devices that it would hold meanwhile.</summary>
    public required ImmutableArray<string> Touches { get; init; }
    /// <summary>What is worth knowing before.</summary>
    public required ImmutableArray<string> Warnings { get; init; }

    /// <summary>Shows a plan.</summary>
    public static PlanResource From(Plan plan) => new()
    {
        Kind = plan.Change.Kind,
        Subject = plan.Change.Subject,
        Steps = [.. plan.Steps.Select(step => StepResource.From(new OperationStep(step)))],
        Touches = [.. plan.Touches],
        Warnings = plan.Warnings,
    };
}
