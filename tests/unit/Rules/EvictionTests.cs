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
    private static readonly ResetBridge Evict = new(Bridge, Evict: true);

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
        Plan plan = Planner.Decide(RunningGuest(), Evict).Plan!;

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
        World world = ModelHost.Run(RunningGuest(), new PauseGuest("web01"));

        Assert.Equal(ProblemCode.ResetBlocked, Assert.Single(Planner.Decide(world, Evict).Refusals).Code);
    }

    [Fact]
    public void Evict_ResetFails_DeviceIsCheckedAndGoesBackToItsGuest()
    {
        Plan back = Planner.Undo(Evicted(), Evict, "the reset failed");

        Assert.Collection(
            back.Steps,
            step => Assert.Equal(Nic, Assert.Single(Assert.IsType<CheckDevices>(step).Devices).Address),
            step => Assert.Equal(Nic, Assert.IsType<PlugDevice>(step).Device));
    }

    [Fact]
    public void Evict_DeviceDoesNotGetBack_WaitsForTheNextStartAndHoldsNoPort()
    {
        Plan back = Planner.Undo(Evicted(), Evict, "the reset failed");

        GuestDevice device = Effects.Fail(back.Reserved, back.Steps[^1]).Guests["web01"].Devices[Nic];

        Assert.Equal((GuestDeviceState.Pending, null), (device.State, device.Bus));
    }

    [Fact]
    public void Reset_Fails_WhatItHitIsChecked()
    {
        World world = ModelHost.Run(RunningGuest(), new StopGuest("web01", Force: true));

        Plan back = Planner.Undo(world, new ResetBridge(Bridge), "the reset failed");

        Assert.Equal(Nic, Assert.Single(Assert.IsType<CheckDevices>(Assert.Single(back.Steps)).Devices).Address);
    }

    [Fact]
    public void Evict_DeviceQuarantinedByTheReset_IsNotPluggedBackAndItsGroupIsClosed()
    {
        World world = Quarantined(Evicted());

        Refusal? refusal = Planner.RefusalOf(world.Inventory, new PlugDevice("web01", Nic, "hp0", null, "it was there before"));
        Plan back = Planner.Undo(world, Evict, "the device does not answer");

        Assert.Equal(ProblemCode.DeviceQuarantined, refusal?.Code);
        Assert.Collection(
            back.Steps,
            step => Assert.IsType<CheckDevices>(step),
            step => Assert.Equal(1, Assert.IsType<RevokeGroup>(step).Group));
        Assert.Equal(GuestDeviceState.Pending, back.Reserved.Guests["web01"].Devices[Nic].State);
    }

    [Fact]
    public void Start_GuestWithAQuarantinedDevice_IsRefusedUntilItIsCleared()
    {
        World world = Quarantined(ModelHost.Run(RunningGuest(), new StopGuest("web01", Force: true)));

        Assert.Equal(ProblemCode.DeviceQuarantined, Assert.Single(Planner.Decide(world, new StartGuest("web01")).Refusals).Code);
        Assert.NotNull(Planner.Decide(ModelHost.Run(world, new ClearQuarantine(Nic)), new StartGuest("web01")).Plan);
    }

    /// <summary>The guest runs, and gave its device up for a reset that has yet to be done.</summary>
    private static World Evicted()
    {
        World world = RunningGuest();
        Plan plan = Planner.Decide(world, Evict).Plan!;
        world = ModelHost.Apply(world with { Inventory = plan.Reserved }, plan.Steps[0]);
        Assert.Empty(world.Guests["web01"].Devices);
        return world;
    }

    private static World Quarantined(World world) => world with
    {
        Inventory = world.Inventory with { Quarantined = world.Inventory.Quarantined.Add(Nic, new Quarantine(Nic, "vendor id ffff", ModelHost.Start)) },
    };

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
        World world = ModelHost.Run(new World(host, Inventory.Empty), new CreateGuest(new GuestSpec { Name = "web01", Devices = [Nic] }));
        return ModelHost.Run(world, new StartGuest("web01"));
    }
}
