// What the engine measures of itself, as instruments of System.Diagnostics.Metrics: whoever listens decides what becomes of them.

using System.Diagnostics.Metrics;
using AssignHub.Engine.Rules;

namespace AssignHub.Engine.Operations;

/// <summary>The instruments, of a meter by the name <see cref="MeterName"/>.</summary>
public sealed class Measures
{
    /// <summary>The meter's name.</summary>
    public const string MeterName = "AssignHub";

    private readonly Histogram<double> _operations;
    private readonly Histogram<double> _steps;
    private readonly Counter<long> _resets;
    private readonly Counter<long> _refusals;

    /// <summary>Makes the instruments.</summary>
    public Measures(IMeterFactory factory)
    {
        Meter meter = factory.Create(MeterName);
        _operations = meter.CreateHistogram<double>("assignhub.operation.duration", "s", "Operations from their acceptance to their end.");
        _steps = meter.CreateHistogram<double>("assignhub.step.duration", "s", "Steps of operations: calls of the kernel and of QEMU.");
        _resets = meter.CreateCounter<long>("assignhub.resets", description: "Resets of functions and of buses.");
        _refusals = meter.CreateCounter<long>("assignhub.refusals", description: "Reasons for which requests were refused or failed, each counted.");
    }

    /// <summary>An operation has ended.</summary>
    public void Ended(Operation operation) => _operations.Record(
        (operation.FinishedAt - operation.CreatedAt)?.TotalSeconds ?? 0, new("kind", operation.Change.Kind), new("outcome", Word(operation.State)));

    /// <summary>A step has ended.</summary>
    public void Ended(Step step, TimeSpan took, bool succeeded)
    {
        string outcome = Word(succeeded ? StepState.Succeeded : StepState.Failed);
        _steps.Record(took.TotalSeconds, new("action", step.Action), new("outcome", outcome));
        if (step is ResetBelow or ResetFunction)
        {
            _resets.Add(1, new("kind", step is ResetBelow ? "bus" : "function"), new("outcome", outcome));
        }
    }

    /// <summary>A request was refused, or failed.</summary>
    /// <param name="code">The reason's code, as the wire has it.</param>
    public void Refused(string code) => _refusals.Add(1, new KeyValuePair<string, object?>("code", code));

    private static string Word<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();
}
