// What QEMU refused or failed at, with its own words kept.

namespace AssignHub.Engine.Guests;

/// <summary>One failure that QEMU told, or that stands for its silence.</summary>
/// <param name="Command">The QMP command that was sent, or <c>start</c> for the process itself.</param>
/// <param name="Class">QMP's error class (<c>GenericError</c>, <c>DeviceNotFound</c>, …) or one of the constants here.</param>
/// <param name="Description">QEMU's own words.</param>
public sealed record QemuFault(string Command, string Class, string Description)
{
    /// <summary>QMP's class for everything that has none of its own.</summary>
    public const string GenericError = "GenericError";
    /// <summary>QMP's class for a device id that QEMU does not have.</summary>
    public const string DeviceNotFound = "DeviceNotFound";
    /// <summary>The connection ended before the answer.</summary>
    public const string Closed = "Closed";
    /// <summary>No answer within the deadline.</summary>
    public const string Timeout = "Timeout";
    /// <summary>The process did not come up.</summary>
    public const string StartFailed = "StartFailed";
    /// <summary>The guest did not let go of a device within the deadline.</summary>
    public const string UnplugTimeout = "UnplugTimeout";

    /// <summary>What QEMU's words mean.</summary>
    public QemuCause Cause => Class switch
    {
        UnplugTimeout => QemuCause.GuestKeepsDevice,
        DeviceNotFound => QemuCause.DeviceNotInGuest,
        _ => QemuErrors.Explain(Description),
    };

    /// <summary>The public contract's code for it.</summary>
    public string Code => QemuErrors.Code(Cause);
}

/// <summary>QEMU refused a command, or did not answer it.</summary>
/// <param name="fault">What it said.</param>
/// <param name="inner">The exception that told it, if one did.</param>
public sealed class QemuException(QemuFault fault, Exception? inner = null)
    : Exception($"QEMU, {fault.Command}: {fault.Description}", inner)
{
    /// <summary>What it said.</summary>
    public QemuFault Fault { get; } = fault;
}
