// A reset that hits a running guest: refused, or with evict the device leaves before and comes back after.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Unit.Rules;

public sealed class EvictionTests
{
    private static readonly PciAddress Bridge = PciAddress.Parse("0000:00:01.0");
    private static readonly PciAddress Nic = PciAddress.Parse("0000:01:00.0");

    [Fact]
    public void Reset_HitsARunningGuest_RefusalNamesTheWayOut()
    {
        Refusal refusal = Assert.Single(Planner.Decide(RunningGuest(), new ResetBridge(Bridge)).Refusals);

        Assert.Equal(ProblemCode.ResetBlocked, refusal.Code);
        Assert.Equal($"{Nic}, guest web01", string.Join(", ", refusal.BlockedBy));
        Assert.Contains("evict=true", refusal.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void Evict_RunningGuest_UnplugsResetsChecksAndPlugsBack()
    {
        Plan plan = Planner.Decide(RunningGuest(), new ResetBridge(Bridge, Evict: true)).Plan!;

        Assert.Collection(
            plan.Steps,
            step => Assert.True(Assert.IsType<UnplugDevice>(step).Returns),
            step => Assert.Equal(Bridge, Assert.IsType<ResetBelow>(step).Bridge),
            step => Assert.Equal(Nic, Assert.Single(Assert.IsType<CheckDevices>(step).Devices).Address),
            step => Assert.Equal(Nic, Assert.IsType<PlugDevice>(step).Device));
        Assert.Contains("guest web01", plan.Touches);
    }

    [Fact]
    public void Evict_PausedGuest_IsRefused()
    {
        World world = Run(RunningGuest(), new PauseGuest("web01"));

        Assert.Equal(ProblemCode.ResetBlocked, Assert.Single(Planner.Decide(world, new ResetBridge(Bridge, Evict: true)).Refusals).Code);
    }

    [Fact]
    public void Evict_ResetFails_DeviceGoesBackToItsGuest()
    {
        var change = new ResetBridge(Bridge, Evict: true);
        World world = RunningGuest();
        Plan plan = Planner.Decide(world, change).Plan!;
        world = ModelHost.Apply(world with { Inventory = plan.Reserved }, plan.Steps[0]);
        Assert.Empty(world.Guests["web01"].Devices);

        Plan back = Planner.Undo(world, change, "the reset failed");

        Assert.Equal(Nic, Assert.IsType<PlugDevice>(Assert.Single(back.Steps)).Device);
    }

    [Fact]
    public void Evict_DeviceQuarantinedByTheReset_StaysOutAndRecorded()
    {
        var change = new ResetBridge(Bridge, Evict: true);
        World world = RunningGuest();
        Plan plan = Planner.Decide(world, change).Plan!;
        world = ModelHost.Apply(world with { Inventory = plan.Reserved }, plan.Steps[0]);
        world = world with { Inventory = world.Inventory with { Quarantined = world.Inventory.Quarantined.Add(Nic, new Quarantine(Nic, "vendor id ffff", ModelHost.Start)) } };

        Plan back = Planner.Undo(world, change, "the device does not answer");

        Assert.Empty(back.Steps);
        Assert.Equal(GuestDeviceState.Pending, back.Reserved.Guests["web01"].Devices[Nic].State);
    }

    private static World RunningGuest()
    {
        var bridge = new PciDevice
        {
            Address = Bridge, VendorId = 0x1b36, ClassCode = 0x060400, Bridge = new BridgeBuses(1, 1), Driver = "pcieport", CanResetSubordinate = true,
        };
        var nic = new PciDevice { Address = Nic, VendorId = 0x8086, DeviceId = 0x10d3, ClassCode = 0x020000, Driver = "e1000e", Group = 1, ParentBridge = Bridge };
        HostState host = new()
        {
            Host = "model",
            ReadAt = ModelHost.Start,
            Devices = new[] { bridge, nic }.ToImmutableSortedDictionary(device => device.Address, device => device),
            Groups = ImmutableSortedDictionary<int, IommuGroup>.Empty.Add(1, new IommuGroup(1, [Nic], "DMA", [])),
            Vfio = new VfioSupport { IommuEnabled = true, Available = true },
        };
        World world = Run(new World(host, Inventory.Empty), new CreateGuest(new GuestSpec { Name = "web01", Devices = [Nic] }));
        return Run(world, new StartGuest("web01"));
    }

    private static World Run(World world, Change change)
    {
        Plan plan = Planner.Decide(world, change with { At = ModelHost.Start }).Plan!;
        return plan.Steps.Aggregate(world with { Inventory = plan.Reserved }, ModelHost.Apply);
    }
}
