// What the host uses is not taken; what an override lifts, for which device, until when, and what it never lifts.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Unit.Rules;

public sealed class OverrideTests
{
    private static readonly PciAddress Bridge = PciAddress.Parse("0000:00:01.0");
    private static readonly PciAddress Disk = PciAddress.Parse("0000:01:00.0");
    private static readonly PciAddress Nic = PciAddress.Parse("0000:01:01.0");
    private static readonly HostUse Mounted = new(HostUseKind.Storage, "nvme0n1 is mounted at /srv", "umount /srv");
    private static readonly HostUse Up = new(HostUseKind.Network, "eth0 is up with 192.0.2.2", "ip link set eth0 down");
    private static readonly ClaimGroup Claim = new(1, null);
    private static readonly SetOverride Lift = new(Disk, "the disk moves to web01", "admin", TimeSpan.FromHours(1));

    [Fact]
    public void Claim_UsedDeviceOverridden_IsPlannedAndSaysWhatBreaks()
    {
        Plan plan = Planner.Decide(ModelHost.Run(World(disk: [Mounted]), Lift), Claim).Plan!;

        Assert.Contains(plan.Steps, step => step is BindVfio bind && bind.Device == Disk);
        string warning = Assert.Single(plan.Warnings);
        Assert.StartsWith("The host uses 0000:01:00.0: nvme0n1 is mounted at /srv. admin overrode that until 2026-01-01T01:00:00Z (the disk moves to web01).", warning, StringComparison.Ordinal);
        Assert.Contains("umount /srv", warning, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(3599, true)]
    [InlineData(3600, false)]
    public void Claim_UsedDeviceOverridden_OnlyUntilItExpires(int seconds, bool allowed)
    {
        World world = At(ModelHost.Run(World(disk: [Mounted]), Lift), seconds);

        Assert.Equal(allowed, Planner.Decide(world, Claim).Plan is not null);
    }

    [Fact]
    public void Claim_NeighbourUsedToo_IsRefusedForTheNeighbour()
    {
        World world = ModelHost.Run(World(disk: [Mounted], nic: [Up]), Lift);

        Refusal refusal = Assert.Single(Planner.Decide(world, Claim).Refusals);

        Assert.Equal((ProblemCode.DeviceInUseByHost, Nic.ToString(), Up.Remedy), (refusal.Code, refusal.Subject, refusal.Remedy));
    }

    [Fact]
    public void Claim_EssentialUseBegunSinceTheOverride_IsRefused()
    {
        World world = Use(ModelHost.Run(World(disk: [Mounted]), Lift), Disk, Mounted with { Essential = "the root file system" });

        Assert.Equal(ProblemCode.DeviceInUseByHost, Assert.Single(Planner.Decide(world, Claim).Refusals).Code);
    }

    [Fact]
    public void Set_EssentialUse_IsRefusedAndSaysWhy()
    {
        World world = World(disk: [Mounted with { Essential = "AssignHub's data directory" }]);

        Refusal refusal = Assert.Single(Planner.Decide(world, Lift).Refusals);

        Assert.Equal(ProblemCode.DeviceInUseByHost, refusal.Code);
        Assert.Equal("The host uses 0000:01:00.0: nvme0n1 is mounted at /srv. No override lifts that, for AssignHub's data directory is there.", refusal.Message);
    }

    [Fact]
    public void Set_UsedDevice_IsOneStepWithReasonAndWarning()
    {
        Plan plan = Planner.Decide(World(disk: [Mounted]), Lift with { At = ModelHost.Start }).Plan!;

        Assert.Equal("the disk moves to web01 (until 2026-01-01T01:00:00Z)", Assert.IsType<RecordOverride>(Assert.Single(plan.Steps)).Reason);
        Assert.Contains("/srv", Assert.Single(plan.Warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void Set_UnusedDevice_WarnsOfUsesToCome() =>
        Assert.Contains("A use that it begins before 2026-01-01T01:00:00Z", Assert.Single(Planner.Decide(World(), Lift with { At = ModelHost.Start }).Plan!.Warnings), StringComparison.Ordinal);

    [Fact]
    public void Set_BridgeOrNothing_IsRefused()
    {
        Assert.Equal(ProblemCode.DeviceIsBridge, Assert.Single(Planner.Decide(World(), Lift with { Device = Bridge }).Refusals).Code);
        Assert.Equal(ProblemCode.DeviceNotFound, Assert.Single(Planner.Decide(World(), Lift with { Device = new PciAddress(0, 9, 0, 0) }).Refusals).Code);
    }

    [Fact]
    public void Clear_Override_ClosesTheDeviceAgain()
    {
        World world = ModelHost.Run(ModelHost.Run(World(disk: [Mounted]), Lift), new ClearOverride(Disk));

        Assert.Empty(world.Inventory.Overrides);
        Assert.NotEmpty(Planner.Decide(world, Claim).Refusals);
        Assert.Empty(Planner.Decide(world, new ClearOverride(Disk)).Plan!.Steps);
        Assert.Equal(ProblemCode.DeviceNotFound, Assert.Single(Planner.Decide(world, new ClearOverride(new PciAddress(0, 9, 0, 0))).Refusals).Code);
    }

    [Fact]
    public void Reset_UsedDeviceOverridden_IsStillRefused()
    {
        World world = ModelHost.Run(World(disk: [Mounted]), Lift);

        Assert.Equal(ProblemCode.ResetBlocked, Assert.Single(Planner.Decide(world, new ResetDevice(Disk)).Refusals).Code);
        Assert.All(Planner.Decide(world, new ResetBridge(Bridge)).Refusals, refusal => Assert.Equal(ProblemCode.ResetBlocked, refusal.Code));
    }

    [Fact]
    public void Claim_OfAReservedGroupWhoseDeviceTheHostUsesSinceABoot_IsRefused()
    {
        World world = Use(Booted(ModelHost.Run(World(), Claim), "nvme"), Disk, Mounted);

        Assert.Equal(Mounted.Remedy, Assert.Single(Planner.Decide(world, Claim).Refusals).Remedy);
        Assert.NotNull(Planner.Decide(ModelHost.Run(world, Lift), Claim).Plan);
    }

    [Fact]
    public void Release_DeviceThatTheHostUsesOnAnotherDriverSinceABoot_StaysThere()
    {
        World world = Use(Booted(ModelHost.Run(World(), Claim), "another"), Disk, Mounted);

        RestoreDriver restore = Planner.Decide(world, new ReleaseContainer(Assert.Single(world.Inventory.Containers.Keys))).Plan!
            .Steps.OfType<RestoreDriver>().Single(step => step.Device == Disk);

        Assert.Equal("another", restore.Driver);
    }

    /// <summary>A bridge with a disk and a NIC below it, which are one group.</summary>
    private static World World(ImmutableArray<HostUse>? disk = null, ImmutableArray<HostUse>? nic = null)
    {
        PciDevice[] devices =
        [
            new() { Address = Bridge, VendorId = 0x1b36, ClassCode = 0x060400, Bridge = new BridgeBuses(1, 1), Driver = "pcieport", CanResetSubordinate = true },
            new() { Address = Disk, ClassCode = 0x010802, Driver = "nvme", Group = 1, ParentBridge = Bridge, HostUses = disk ?? [], ResetMethods = ["flr"] },
            new() { Address = Nic, ClassCode = 0x020000, Driver = "e1000", Group = 1, ParentBridge = Bridge, HostUses = nic ?? [] },
        ];
        return new World(
            new HostState
            {
                Host = "model",
                ReadAt = ModelHost.Start,
                Devices = devices.ToImmutableSortedDictionary(device => device.Address, device => device),
                Groups = ImmutableSortedDictionary<int, IommuGroup>.Empty.Add(1, new IommuGroup(1, [Disk, Nic], "DMA", [])),
                Vfio = new VfioSupport { IommuEnabled = true, Available = true },
            },
            Inventory.Empty);
    }

    private static World At(World world, int seconds) => world with { Host = world.Host with { ReadAt = ModelHost.Start.AddSeconds(seconds) } };

    private static World Booted(World world, string driver) => Change(Change(world, Disk, disk => disk with { Driver = driver }), Nic, nic => nic with { Driver = "e1000" });

    private static World Use(World world, PciAddress device, params HostUse[] uses) => Change(world, device, found => found with { HostUses = [.. uses] });

    private static World Change(World world, PciAddress device, Func<PciDevice, PciDevice> change) =>
        world with { Host = world.Host with { Devices = world.Host.Devices.SetItem(device, change(world.Host.Devices[device])) } };
}
