// How far a change can reach: what has to be observed afresh before deciding it.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The parts of the world that the decision of a change looks at.</summary>
public static class Scope
{
    /// <summary>The devices that it names, with the members of their groups, and all that its reset would hit.</summary>
    public static ImmutableArray<PciAddress> DevicesOf(World world, Change change)
    {
        ImmutableArray<PciAddress> named = change switch
        {
            ClaimGroup { Device: { } device } => [device],
            ClaimGroup { Group: { } number } when world.Host.Groups.TryGetValue(number, out IommuGroup? group) => group.Devices,
            ReleaseContainer release => Members(world, release.Container),
            AlignContainer align => Members(world, align.Container),
            AcceptContainer accept => Members(world, accept.Container),
            ResetBridge reset when world.Host.Devices.TryGetValue(reset.Bridge, out PciDevice? bridge) => [reset.Bridge, .. Resets.Below(world.Host, bridge)],
            ResetBridge reset => [reset.Bridge],
            ResetDevice reset => [reset.Device, .. VirtualFunctions.Of(world.Host, reset.Device).Select(function => function.Address)],
            SetVirtualFunctions set => [set.Device, .. VirtualFunctions.Of(world.Host, set.Device).Select(function => function.Address)],
            AttachDevice attach => [attach.Device],
            DetachDevice detach => [detach.Device],
            SetOverride set => [set.Device],
            CreateGuest create => create.Spec.Devices,
            _ when GuestOf(change) is { } name && world.Inventory.Guests.TryGetValue(name, out Guest? guest) => [.. guest.Devices.Keys],
            _ => [],
        };
        return [.. named.Concat(named.SelectMany(device => world.GroupOf(device)?.Devices ?? [])).Distinct()];
    }

    /// <summary>Whether it concerns devices that nobody can name before: functions that it makes, or that someone made since the last scan.</summary>
    public static bool IsWholeHost(Change change) => change is SetVirtualFunctions;

    /// <summary>
    /// Whether its decision depends on who holds groups. Only a device on vfio-pci has a group file that somebody could hold. Who holds a
    /// group that is claimed, the last scan knows well enough, for the kernel lets only one open it; a reset asks the kernel for no such leave.
    /// </summary>
    public static bool AsksForHolders(World world, Change change, ImmutableArray<PciAddress> devices) => devices.Any(device =>
        world.Host.Devices.TryGetValue(device, out PciDevice? found) && VfioDrivers.IsVfio(found.Driver)
        && (change is ResetBridge or ResetDevice or AlignContainer or AcceptContainer || world.Inventory.ContainerOf(device) is null));

    /// <summary>The guests whose processes it concerns.</summary>
    public static ImmutableArray<string> GuestsOf(World world, Change change) => change switch
    {
        ResetBridge { Evict: true } reset => [.. Resets.Evicted(world, reset.Bridge).Select(evicted => evicted.Guest.Name).Distinct()],
        _ when GuestOf(change) is { } name => [name],
        _ => [],
    };

    private static string? GuestOf(Change change) => change switch
    {
        StartGuest start => start.Guest,
        StopGuest stop => stop.Guest,
        PauseGuest pause => pause.Guest,
        ResumeGuest resume => resume.Guest,
        DeleteGuest delete => delete.Guest,
        AttachDevice attach => attach.Guest,
        DetachDevice detach => detach.Guest,
        SettleGuest settle => settle.Guest,
        _ => null,
    };

    private static ImmutableArray<PciAddress> Members(World world, string container) =>
        world.Inventory.Containers.TryGetValue(container, out Container? found) ? [.. found.Members.Select(member => member.Address)] : [];
}
