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
        HostFault fault => new Problem(ProblemCode.HostFault, fault.Message) { Operation = fault.Operation, Errno = fault.Errno.ToString() },
        QemuException qemu => new Problem(CodeOf(qemu.Fault), $"{step.Action} of {step.Subject}: {qemu.Message}") { Qemu = qemu.Fault.Description },
        StoreConflictException conflict => new Problem(ProblemCode.ContainerExists, conflict.Message),
        OperationCanceledException => new Problem(ProblemCode.Busy, $"Cancelled during {step.Action} of {step.Subject}."),
        _ => new Problem(ProblemCode.InternalError, $"{step.Action} of {step.Subject} failed inside AssignHub: {error.Message}"),
    };

    /// <summary>The contract's name for QEMU's fault, as a code.</summary>
    public static ProblemCode CodeOf(QemuFault fault) =>
        Enum.GetValues<ProblemCode>().FirstOrDefault(code => JsonNamingPolicy.SnakeCaseLower.ConvertName(code.ToString()) == fault.Code, ProblemCode.QemuError);
}
