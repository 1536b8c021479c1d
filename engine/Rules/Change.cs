// What someone asks for. Every change, from any side, is one of these, and is what the journal keeps of a request.

using System.Text.Json.Serialization;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>A change that was asked for. Planning it again where it was interrupted gives the steps that remain.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "kind")]
[JsonDerivedType(typeof(ClaimGroup), "claimGroup")]
[JsonDerivedType(typeof(ReleaseContainer), "releaseContainer")]
[JsonDerivedType(typeof(ResetBridge), "resetBridge")]
[JsonDerivedType(typeof(ResetDevice), "resetDevice")]
[JsonDerivedType(typeof(ClearQuarantine), "clearQuarantine")]
[JsonDerivedType(typeof(CreateGuest), "createGuest")]
[JsonDerivedType(typeof(DeleteGuest), "deleteGuest")]
[JsonDerivedType(typeof(StartGuest), "startGuest")]
[JsonDerivedType(typeof(StopGuest), "stopGuest")]
[JsonDerivedType(typeof(PauseGuest), "pauseGuest")]
[JsonDerivedType(typeof(ResumeGuest), "resumeGuest")]
[JsonDerivedType(typeof(AttachDevice), "attachDevice")]
[JsonDerivedType(typeof(DetachDevice), "detachDevice")]
[JsonDerivedType(typeof(SettleGuest), "settleGuest")]
[JsonDerivedType(typeof(SetOverride), "setOverride")]
[JsonDerivedType(typeof(ClearOverride), "clearOverride")]
[JsonDerivedType(typeof(SetVirtualFunctions), "setVirtualFunctions")]
[JsonDerivedType(typeof(AlignContainer), "alignContainer")]
[JsonDerivedType(typeof(AcceptContainer), "acceptContainer")]
public abstract record Change
{
    /// <summary>When it was asked for; marks what it creates.</summary>
    public DateTimeOffset At { get; init; }

    /// <summary>What it is called in operations: <c>claimGroup</c>.</summary>
    [JsonIgnore]
    public string Kind => char.ToLowerInvariant(GetType().Name[0]) + GetType().Name[1..];

    /// <summary>What it concerns.</summary>
    [JsonIgnore]
    public abstract string Subject { get; }
}

/// <summary>Take a whole group, named by its number, or by one device in it, or by both.</summary>
public sealed record ClaimGroup(int? Group, PciAddress? Device, string? Guest = null, bool Keep = false) : Change
{
    /// <inheritdoc/>
    public override string Subject => Group is { } number ? Names.Group(number) : Device!.Value.ToString();
}

/// <summary>Give a group back to the drivers that it came from.</summary>
public sealed record ReleaseContainer(string Container) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Container(Container);
}

/// <summary>Reset all that is below a bridge; with <paramref name="Evict"/> running guests give up their devices for it and get them back.</summary>
public sealed record ResetBridge(PciAddress Bridge, bool Evict = false) : Change
{
    /// <inheritdoc/>
    public override string Subject => Bridge.ToString();
}

/// <summary>Reset one function.</summary>
public sealed record ResetDevice(PciAddress Device) : Change
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Let a quarantined device be assigned again.</summary>
public sealed record ClearQuarantine(PciAddress Device) : Change
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Record a guest and reserve its devices.</summary>
public sealed record CreateGuest(GuestSpec Spec) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Spec.Name);
}

/// <summary>Forget a guest and give its devices back; with <paramref name="Force"/> even while it runs.</summary>
public sealed record DeleteGuest(string Guest, bool Force = false) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>Launch a guest with its devices.</summary>
public sealed record StartGuest(string Guest) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>End a guest; its devices stay reserved. With <paramref name="Force"/> without asking it.</summary>
public sealed record StopGuest(string Guest, bool Force = false) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>Hold a guest's CPUs.</summary>
public sealed record PauseGuest(string Guest) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>Let a guest's CPUs run again.</summary>
public sealed record ResumeGuest(string Guest) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>Give a device to a guest, at once if it runs.</summary>
public sealed record AttachDevice(string Guest, PciAddress Device) : Change
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Take a device out of a guest; with <paramref name="Force"/> whether the guest lets go or not.</summary>
public sealed record DetachDevice(string Guest, PciAddress Device, bool Force = false) : Change
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Bring the record of a guest in line with its process, which ended or lost a device by itself; no last words if it shut down as it should.</summary>
public sealed record SettleGuest(string Guest, string? LastWords) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Guest(Guest);
}

/// <summary>Let a device be taken for a while although the host uses it.</summary>
public sealed record SetOverride(PciAddress Device, string Reason, string Actor, TimeSpan For) : Change
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>End that before its time.</summary>
public sealed record ClearOverride(PciAddress Device) : Change
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Have so many virtual functions of a physical one; 0 removes them.</summary>
/// <param name="Device">The physical function.</param>
/// <param name="Count">How many.</param>
/// <param name="Former">How many there were when it was first planned, for the way back; nobody asks for it.</param>
public sealed record SetVirtualFunctions(PciAddress Device, int Count, int? Former = null) : Change
{
    /// <inheritdoc/>
    public override string Subject => Device.ToString();
}

/// <summary>Bring a container in line with its hardware: fenced if that changed, prepared again if it is as it was claimed.</summary>
public sealed record AlignContainer(string Container) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Container(Container);
}

/// <summary>Take a fenced container's group as it is now.</summary>
public sealed record AcceptContainer(string Container) : Change
{
    /// <inheritdoc/>
    public override string Subject => Names.Container(Container);
}

/// <summary>How subjects are written, in refusals, steps, operations and holds alike.</summary>
public static class Names
{
    /// <summary><c>group 7</c></summary>
    public static string Group(int number) => $"group {number}";

    /// <summary><c>guest web01</c></summary>
    public static string Guest(string name) => $"guest {name}";

    /// <summary><c>container c-0000-03-01-0</c></summary>
    public static string Container(string id) => $"container {id}";
}
