// What a failed step is told as. Exceptions that are not the host's or QEMU's are bugs; they are said so, and take the way back too.

using System.Text.Json;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Rules;

namespace AssignHub.Engine.Operations;

internal static class StepFailures
{
    /// <summary>The problem that an exception of a step is.</summary>
    public static Problem Explain(Exception error, Step step) => error switch
    {
        HostFault fault => Of(Refusals.HostFailed(step.Subject, fault.Message)) with { Operation = fault.Operation, Errno = fault.Errno.ToString() },
        QemuException { Fault.Cause: QemuCause.GuestKeepsDevice } kept when step is UnplugDevice unplug =>
            Of(Refusals.UnplugTimeout(unplug.Guest, unplug.Device)) with { Qemu = kept.Fault.Description },
        QemuException qemu => Of(Refusals.QemuFailed(CodeOf(qemu.Fault), step.Subject, $"{step.Action} of {step.Subject}: {qemu.Message}")) with
        {
            Qemu = qemu.Fault.Description,
        },
        StoreConflictException conflict => new Problem(ProblemCode.ContainerExists, conflict.Message),
        OperationCanceledException => new Problem(ProblemCode.Busy, $"Cancelled during {step.Action} of {step.Subject}."),
        _ => Of(Refusals.Bug(step.Subject, $"{step.Action} of {step.Subject} failed inside AssignHub: {error.Message}")),
    };

    private static Problem Of(Refusal refusal) => new(refusal.Code, refusal.Message) { Refusals = [refusal] };

    /// <summary>The contract's name for QEMU's fault, as a code.</summary>
    public static ProblemCode CodeOf(QemuFault fault) =>
        Enum.GetValues<ProblemCode>().FirstOrDefault(code => JsonNamingPolicy.SnakeCaseLower.ConvertName(code.ToString()) == fault.Code, ProblemCode.QemuError);
}
