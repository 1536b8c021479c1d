// Virtual functions of SR-IOV: how many a physical function has, and what keeps that number as it is.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The rules and plans of virtual functions.</summary>
public static class VirtualFunctions
{
    /// <summary>The virtual functions that a physical one has now, in bus order.</summary>
    public static ImmutableArray<PciDevice> Of(HostState host, PciAddress physical) =>
        [.. host.Devices.Values.Where(device => device.Sriov?.PhysicalFunction == physical)];

    internal static void Plan(Draft draft, SetVirtualFunctions set)
    {
        if (!draft.World.Host.Devices.TryGetValue(set.Device, out PciDevice? device))
        {
            draft.Refuse(Refusals.DeviceNotFound(set.Device));
            return;
        }

        if (device.Sriov is not { PhysicalFunction: null } sriov)
        {
            draft.Refuse(Refusals.NotPhysicalFunction(device));
            return;
        }

        if (sriov.NumVfs == set.Count)
        {
            return;
        }

        if (set.Count > sriov.TotalVfs)
        {
            draft.Refuse(Refusals.TooManyVfs(device, set.Count));
        }

        draft.Refuse(Blockers(draft.World, device));
        foreach (HostUse use in device.HostUses)
        {
            draft.Warn($"The host uses {device.Address}: {use.Detail}. Its driver may interrupt that for a moment.");
        }

        draft.Change = set with { Former = set.Former ?? sriov.NumVfs };
        AddSteps(draft, device, set.Count);
    }

    /// <summary>Puts the former number back, unless something of what is there now is in use.</summary>
    internal static void Undo(Draft draft, SetVirtualFunctions set)
    {
        if (set.Former is { } former && draft.World.Host.Devices.TryGetValue(set.Device, out PciDevice? device)
            && device.Sriov is { PhysicalFunction: null } sriov && sriov.NumVfs != former
            && Blockers(draft.World with { Inventory = draft.Inventory }, device).IsEmpty)
        {
            AddSteps(draft, device, former);
        }
    }

    /// <summary>Adds the steps from the number that there is to another.</summary>
    private static void AddSteps(Draft draft, PciDevice device, int count)
    {
        ImmutableArray<PciDevice> present = Of(draft.World.Host, device.Address);
        Resets.Hold(draft, [device.Address, .. present.Select(function => function.Address)]);
        if (device.Sriov!.NumVfs > 0)
        {
            draft.Do(new SetNumVfs(device.Address, 0, count == 0
                ? $"{string.Join(", ", present.Select(function => function.Address))} go"
                : "the kernel goes from one number to another only by way of none"));
        }

        if (count > 0)
        {
            draft.Do(new SetNumVfs(device.Address, count, $"{device.Driver} makes them, {device.Sriov.TotalVfs} at most"));
        }
    }

    /// <summary>Everything against changing the number: from one to another goes by way of none, so every function that is there counts.</summary>
    private static ImmutableArray<Refusal> Blockers(World world, PciDevice device)
    {
        var refusals = ImmutableArray.CreateBuilder<Refusal>();
        if (world.Inventory.ContainerOf(device.Address) is { } owner)
        {
            refusals.Add(Refusals.GroupOwned(owner));
        }
        else if (device.Driver is null || VfioDrivers.IsVfio(device.Driver))
        {
            if (HolderOf(world, device) is { } holder)
            {
                refusals.Add(Refusals.GroupForeign(device.Group!.Value, holder));
            }

            refusals.Add(Refusals.NoSriovDriver(device));
        }

        foreach (PciDevice function in Of(world.Host, device.Address))
        {
            if (world.Inventory.ContainerOf(function.Address) is { } container)
            {
                refusals.Add(Refusals.VfOwned(function, container));
            }
            else if (HolderOf(world, function) is { } holder)
            {
                refusals.Add(Refusals.VfForeign(function, holder));
            }

            refusals.AddRange(function.HostUses.Select(use => Refusals.InUseByHost(function, use)));
        }

        return refusals.ToImmutable();
    }

    private static GroupHolder? HolderOf(World world, PciDevice device) =>
        device.Group is { } group ? world.Host.Holders.GetValueOrDefault(group) : null;
}
