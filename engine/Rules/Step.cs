// What a plan is made of: one small, idempotent act on the host, as data.

using System.Collections.Immutable;
using System.Text.Json.Serialization;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>One act on the host. Doing it again where it was done already changes nothing.</summary>
/// <param name="Reason">Why the plan has it, in words.</param>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "action")]
[JsonDerivedType(typeof(LoadDriver), "loadDriver")]
[JsonDerivedType(typeof(BindVfio), "bindVfio")]
[JsonDerivedType(typeof(ProveContainer), "proveContainer")]
[JsonDerivedType(typeof(RestoreDriver), "restoreDriver")]
[JsonDerivedType(typeof(DropContainer), "dropContainer")]
[JsonDerivedType(typeof(FenceContainer), "fenceContainer")]
[JsonDerivedType(typeof(UnfenceContainer), "unfenceContainer")]
[JsonDerivedType(typeof(GrantGroup), "grantGroup")]
[JsonDerivedType(typeof(RevokeGroup), "revokeGroup")]
[JsonDerivedType(typeof(LaunchGuest), "launchGuest")]
[JsonDerivedType(typeof(PlugDevice), "plugDevice")]
[JsonDerivedType(typeof(UnplugDevice), "unplugDevice")]
[JsonDerivedType(typeof(LoseDevice), "loseDevice")]
[JsonDerivedType(typeof(RunGuest), "runGuest")]
[JsonDerivedType(typeof(HoldGuest), "holdGuest")]
[JsonDerivedType(typeof(EndGuest), "endGuest")]
[JsonDerivedType(typeof(DropGuest), "dropGuest")]
[JsonDerivedType(typeof(ResetBelow), "resetBelow")]
[JsonDerivedType(typeof(ResetFunction), "resetFunction")]
[JsonDerivedType(typeof(CheckDevices), "checkDevices")]
[JsonDerivedType(typeof(RecordOverride), "recordOverride")]
[JsonDerivedType(typeof(DropOverride), "dropOverride")]
[JsonDerivedType(typeof(SetNumVfs), "setNumVfs")]
public abstract record Step(string Reason)
{
    /// <summary>What it is called: <c>bindVfio</c>.</summary>
    [JsonIgnore]
    public string Action => char.ToLowerInvariant(GetType().Name[0]) + GetType().Name[1..];

    /// <summary>What it acts on.</summary>
    [JsonIgnore]
    public abstract string Subject { get; }

    /// <summary>How long it may take before it counts as stuck.</summary>
    [JsonIgnore]
    public virtual TimeSpan Deadline => TimeSpan.FromSeconds(30);
}

/// <summary>Have a kernel module there.</summary>
public sealed record LoadDriver(string Module, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Module;
}

/// <summary>Move a device from <paramref name="From"/> to vfio-pci.</summary>
public sealed record BindVfio(PciAddress Device, string? From, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Open the container in the kernel, with the devices too unless QEMU is about to (each opening resets the device).</summary>
public sealed record ProveContainer(string Container, int Group, ImmutableArray<PciAddress> Devices, bool OpenDevices, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Container(Container);
}

/// <summary>Put a device back on <paramref name="Driver"/>, or on none.</summary>
public sealed record RestoreDriver(PciAddress Device, string? Driver, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Forget a container whose devices went back.</summary>
public sealed record DropContainer(string Container, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Container(Container);
}

/// <summary>Let nothing be started on a container; the reason is what its group differs in from the one that was claimed.</summary>
public sealed record FenceContainer(string Container, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Container(Container);
}

/// <summary>Lift that.</summary>
public sealed record UnfenceContainer(string Container, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Container(Container);
}

/// <summary>Let a guest's process open the group.</summary>
public sealed record GrantGroup(string Container, int Group, string Guest, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Group(Group);
}

/// <summary>
/// Take that right back, once the kernel shows the group closed; with <paramref name="Free"/> the container is no guest's after. A group
/// that is not there any more has no file to take back.
/// </summary>
public sealed record RevokeGroup(string Container, int? Group, bool Free, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Group is { } number ? Names.Group(number) : Names.Container(Container);
}

/// <summary>Start QEMU, paused and without devices.</summary>
public sealed record LaunchGuest(string Guest, bool WithIommu, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>Hot-add a device.</summary>
public sealed record PlugDevice(string Guest, PciAddress Device, string Bus, int? Slot, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Hot-remove a device: ask the guest, repeat, and wait until it let go.</summary>
/// <param name="Guest">The guest.</param>
/// <param name="Device">The device.</param>
/// <param name="Reason">Why.</param>
public sealed record UnplugDevice(string Guest, PciAddress Device, string Reason) : Step(Reason)
{
    /// <summary>Whether to pull it out of a guest that does not let go.</summary>
    public bool Force { get; init; }
    /// <summary>Whether it stays the guest's and comes back to it later in the plan.</summary>
    public bool Returns { get; init; }
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
    /// <inheritdoc/>
    public override TimeSpan Deadline => TimeSpan.FromSeconds(60);
}

/// <summary>Write down that a guest gave a device up by itself; it stays the guest's and waits.</summary>
public sealed record LoseDevice(string Guest, PciAddress Device, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Let a guest's CPUs run.</summary>
public sealed record RunGuest(string Guest, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>Hold a guest's CPUs.</summary>
public sealed record HoldGuest(string Guest, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>End a guest's process: by its power button first, unless <paramref name="Force"/>.</summary>
/// <param name="Guest">The guest.</param>
/// <param name="Force">Whether not to ask it.</param>
/// <param name="Error">Its last words, where it did not end as asked; null makes it <c>stopped</c>, not <c>failed</c>.</param>
/// <param name="Reason">Why.</param>
public sealed record EndGuest(string Guest, bool Force, string? Error, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
    /// <inheritdoc/>
    public override TimeSpan Deadline => TimeSpan.FromSeconds(60);
}

/// <summary>Forget a guest.</summary>
public sealed record DropGuest(string Guest, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>Reset the bus below a bridge.</summary>
public sealed record ResetBelow(PciAddress Bridge, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Bridge.ToString();
}

/// <summary>Reset one function by the kernel's best method.</summary>
public sealed record ResetFunction(PciAddress Device, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>See that devices answer as they did before; those that do not are quarantined.</summary>
public sealed record CheckDevices(ImmutableArray<CheckedDevice> Devices, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => string.Join(' ', Devices.Select(device => device.Address));
}

/// <summary>Write down that a device may be taken although the host uses it; the step's event is the audit's record.</summary>
public sealed record RecordOverride(Override Override, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Override.Address.ToString();
}

/// <summary>Forget that.</summary>
public sealed record DropOverride(PciAddress Device, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Have the kernel make <paramref name="Count"/> virtual functions, or with 0 remove them all.</summary>
public sealed record SetNumVfs(PciAddress Device, int Count, string Reason) : Step(Reason)
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
    /// <summary>The kernel's write ends when every new function was offered to a driver, which takes hardware up to a second each.</summary>
    public override TimeSpan Deadline => base.Deadline + TimeSpan.FromSeconds(2 * Count);
}

/// <summary>A device and how it has to answer.</summary>
/// <param name="Address">The device.</param>
/// <param name="VendorId">Its vendor id.</param>
/// <param name="CapabilityFingerprint">Its capability lists.</param>
public sealed record CheckedDevice(PciAddress Address, ushort VendorId, string CapabilityFingerprint);
