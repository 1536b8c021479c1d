// A "no", as a value: which rule, on what, what is in the way, and what would clear it.

using System.Collections.Immutable;

namespace AssignHub.Engine.Rules;

/// <summary>One reason why a change is refused. All that apply are reported together, before anything was touched.</summary>
/// <param name="Code">The rule, by a name that does not change.</param>
/// <param name="Subject">What it concerns: a device's address, <c>group 7</c>, <c>guest web01</c>; of <c>validation_failed</c> the field.</param>
/// <param name="Message">The cause, in a sentence.</param>
/// <param name="Remedy">What would clear it, to be followed literally.</param>
public sealed record Refusal(ProblemCode Code, string Subject, string Message, string Remedy)
{
    /// <summary>The objects in the way.</summary>
    public ImmutableArray<string> BlockedBy { get; init; } = [];
}

/// <summary>Every kind of problem that AssignHub tells; on the wire in snake_case (<c>group_owned</c>). Names never change.</summary>
public enum ProblemCode
{
    /// <summary>The request is malformed.</summary>
    ValidationFailed,
    /// <summary>No valid token.</summary>
    Unauthenticated,
    /// <summary>The token does not allow this.</summary>
    Forbidden,
    /// <summary>There is nothing at this path.</summary>
    NotFound,
    /// <summary>The resource has no such verb.</summary>
    MethodNotAllowed,
    /// <summary>The body is larger than is read.</summary>
    BodyTooLarge,
    /// <summary>The body is not JSON.</summary>
    UnsupportedMediaType,
    /// <summary>No such device.</summary>
    DeviceNotFound,
    /// <summary>No such group.</summary>
    GroupNotFound,
    /// <summary>No such bridge.</summary>
    BridgeNotFound,
    /// <summary>No such container.</summary>
    ContainerNotFound,
    /// <summary>No such guest.</summary>
    GuestNotFound,
    /// <summary>No such operation.</summary>
    OperationNotFound,
    /// <summary>No such token.</summary>
    TokenNotFound,
    /// <summary>The resource is no longer as the request's If-Match has it.</summary>
    PreconditionFailed,
    /// <summary>The Idempotency-Key was used for another request.</summary>
    IdempotencyMismatch,
    /// <summary>The events after this one are no longer kept.</summary>
    EventsGone,
    /// <summary>The client does too much at once.</summary>
    RateLimited,
    /// <summary>The group belongs to another owner.</summary>
    GroupOwned,
    /// <summary>A process that AssignHub did not start holds the group.</summary>
    GroupForeign,
    /// <summary>A member keeps the group from being given away.</summary>
    GroupNotViable,
    /// <summary>The claimed group is no longer what it was.</summary>
    GroupChanged,
    /// <summary>The group has a container already, with other settings.</summary>
    ContainerExists,
    /// <summary>A container holds exactly one group.</summary>
    ContainerSingleGroup,
    /// <summary>The host needs the device.</summary>
    DeviceInUseByHost,
    /// <summary>The device did not answer after a reset.</summary>
    DeviceQuarantined,
    /// <summary>Bridges are not given away.</summary>
    DeviceIsBridge,
    /// <summary>The reset would hit what is in use.</summary>
    ResetBlocked,
    /// <summary>The kernel has no reset for it.</summary>
    ResetUnsupported,
    /// <summary>The guest runs.</summary>
    GuestRunning,
    /// <summary>The guest does not run.</summary>
    GuestNotRunning,
    /// <summary>More than one group needs a guest with an emulated IOMMU.</summary>
    GuestIommuRequired,
    /// <summary>The guest has no free slot.</summary>
    NoFreeSlot,
    /// <summary>The memory-lock limit does not allow what the containers pin.</summary>
    MemoryLockExceeded,
    /// <summary>A container without an IOMMU was not allowed.</summary>
    NoiommuRefused,
    /// <summary>The kernel offers no VFIO.</summary>
    VfioUnavailable,
    /// <summary>The IOMMU is off.</summary>
    IommuDisabled,
    /// <summary>Another operation holds what this one needs.</summary>
    Busy,
    /// <summary>The host failed.</summary>
    HostFault,
    /// <summary>QEMU failed.</summary>
    QemuError,
    /// <summary>The guest did not let go in time.</summary>
    UnplugTimeout,
    /// <summary>AssignHub failed; a bug.</summary>
    InternalError,
}
