// A claimed group that changed: what is said of it, what is refused, and the two ways out.

using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Unit.Rules;

public sealed class DriftTests
{
    private const string Id = "c-0000-01-00-0";
    private static readonly PciAddress Nic = PciAddress.Parse("0000:01:00.0");
    private static readonly PciAddress Second = PciAddress.Parse("0000:01:00.1");
    private static readonly AlignContainer Align = new(Id);
    private static readonly AcceptContainer Accept = new(Id);

    [Fact]
    public void Align_NothingChanged_HasNothingToDo()
    {
        World world = Claimed();

        Plan plan = Planner.Decide(world, Align).Plan!;

        Assert.Empty(plan.Steps);
        Assert.Equal(world.Inventory, plan.Reserved);
    }

    [Fact]
    public void Align_DeviceMissing_FencesWithTheDifferenceAndForgetsTheNumber()
    {
        World world = Run(Without(Claimed(), Nic), Align);

        Container container = world.Inventory.Containers[Id];
        Assert.Equal((ContainerState.Fenced, $"{Nic} is missing from the host", null), (container.Shown, container.Fence, container.Group));
    }

    [Fact]
    public void Align_AnotherDevice_FencesWithBothSerials()
    {
        World world = Run(With(Claimed(), Device(Nic) with { Serial = "B" }), Align);

        Assert.Equal($"{Nic} is 8086:10d3 with serial B and was 8086:10d3 with serial A", world.Inventory.Containers[Id].Fence);
    }

    [Fact]
    public void Align_NewMember_Fences() =>
        Assert.Equal($"{Second} is new in the group", Run(With(Claimed(), Device(Second)), Align).Inventory.Containers[Id].Fence);

    [Fact]
    public void Align_BackAsItWas_IsPreparedAgainUnderItsNewNumber()
    {
        World missing = Run(Without(Claimed(), Nic), Align);

        World back = Run(With(missing, Device(Nic) with { Group = 7 }), Align);

        Container container = back.Inventory.Containers[Id];
        Assert.Equal((ContainerState.Ready, 7, null), (container.Shown, container.Group!.Value, container.Fence));
        Assert.Equal("vfio-pci", back.Host.Devices[Nic].Driver);
    }

    [Fact]
    public void Align_BackAndUsedByTheHost_StaysFencedAndSaysSo()
    {
        World world = With(Run(Without(Claimed(), Nic), Align), Device(Nic) with
        {
            HostUses = [new HostUse(HostUseKind.Network, "eth0 is up", "ip link set eth0 down")],
        });

        world = Run(world, Align);

        Assert.Contains("eth0 is up", world.Inventory.Containers[Id].Fence, StringComparison.Ordinal);
        Assert.Equal("e1000e", world.Host.Devices[Nic].Driver);
    }

    [Fact]
    public void Align_BackAndItsSerialNotToldYet_WaitsForIt()
    {
        // An NVMe disk's serial is known when its own driver has asked it; until then it may be its twin.
        World world = Run(With(Claimed(), Device(Nic) with { Serial = null, Driver = null }), Align);

        Assert.Contains("does not tell its serial", world.Inventory.Containers[Id].Fence, StringComparison.Ordinal);
    }

    [Fact]
    public void Align_ServiceStartedAnewAndSerialOnlyItsDriverTells_IsTheSame()
    {
        World world = Claimed();
        world = With(world, world.Host.Devices[Nic] with { Serial = null });

        Assert.Empty(Planner.Decide(world, Align).Plan!.Steps);
    }

    [Fact]
    public void Align_WhileTheKernelIsAtTheDevice_LooksAwayUntilItIsDone()
    {
        World world = Claimed();
        world = With(world, world.Host.Devices[Nic] with { Driver = null, Busy = true });

        Assert.Empty(Planner.Decide(world, Align).Plan!.Steps);
    }

    [Fact]
    public void Claim_NumberOfAMissingGroupUsedAgain_IsAnotherContainer()
    {
        World world = Without(Claimed(), Nic);
        var other = PciAddress.Parse("0000:02:00.0");

        world = Run(With(world, Device(other)), new ClaimGroup(1, null));

        Assert.Equal(1, world.Inventory.Containers["c-0000-02-00-0"].Group);
        Assert.Null(world.Inventory.Containers[Id].Group);
    }

    public static TheoryData<Change> Uses => [new ClaimGroup(null, Nic, "web01"), new AttachDevice("web01", Nic), new StartGuest("web01")];

    [Theory]
    [MemberData(nameof(Uses))]
    public void Use_OfAChangedGroup_IsRefusedWithTheDifferenceAndTheWaysOut(Change change)
    {
        World reserved = Run(ModelWorld(), new CreateGuest(new GuestSpec { Name = "web01", Devices = [Nic] }));
        foreach (World world in (World[])[Without(reserved, Nic), With(reserved, Device(Nic) with { Serial = "B" }), With(reserved, Device(Second))])
        {
            Refusal refusal = Assert.Single(Planner.Decide(world, change).Refusals);

            Assert.Equal(ProblemCode.GroupChanged, refusal.Code);
            Assert.Contains(Identity.DifferenceFrom(world, world.Inventory.Containers[Id])!, refusal.Message, StringComparison.Ordinal);
            Assert.Contains($"POST /v1/containers/{Id}/accept", refusal.Remedy, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Accept_AnotherDeviceAndANewOne_TakesBothAndRemembersTheirDrivers()
    {
        World world = With(With(Claimed(), Device(Nic) with { Serial = "B" }), Device(Second) with { Driver = "igb" });

        world = Run(Run(world, Align), Accept);

        Container container = world.Inventory.Containers[Id];
        Assert.Equal(ContainerState.Ready, container.Shown);
        Assert.Equal([("B", "e1000e"), ("A", "igb")], container.Members.Select(member => (member.Serial, member.OriginalDriver)));
        Assert.All(container.Members, member => Assert.Equal("vfio-pci", world.Host.Devices[member.Address].Driver));
        World released = Run(world, new ReleaseContainer(Id));
        Assert.Equal(["e1000e", "igb"], released.Host.Devices.Values.Select(device => device.Driver));
    }

    [Fact]
    public void Accept_NewMembersThatMayNotBeTaken_NamesAllReasonsAndChangesNothing()
    {
        HostUse up = new(HostUseKind.Network, "eth1 is up", "ip link set eth1 down");
        World world = With(With(Claimed(), Device(Nic) with { Serial = "B", HostUses = [up] }), Device(Second) with { Sriov = new SriovState(8, 2, null) });

        Decision decision = Planner.Decide(world, Accept);

        Assert.Equal([ProblemCode.DeviceInUseByHost, ProblemCode.GroupNotViable], decision.Refusals.Select(refusal => refusal.Code));
    }

    [Fact]
    public void Accept_NothingLeft_IsRefused() =>
        Assert.Equal(ProblemCode.GroupChanged, Assert.Single(Planner.Decide(Without(Claimed(), Nic), Accept).Refusals).Code);

    [Fact]
    public void Accept_NothingChanged_SucceedsUnchanged() => Assert.Empty(Planner.Decide(Claimed(), Accept).Plan!.Steps);

    [Fact]
    public void Accept_Fails_ContainerHasFailedAndReleaseGivesAllBack()
    {
        World world = With(Claimed(), Device(Nic) with { Serial = "B" });
        Plan plan = Planner.Decide(world, Accept).Plan!;
        world = world with { Inventory = plan.Reserved };

        world = world with { Inventory = Planner.Undo(world, Accept, "bind: EINVAL").Reserved };

        Assert.Equal(ContainerState.Failed, world.Inventory.Containers[Id].Shown);
        Assert.Equal("e1000e", Run(world, new ReleaseContainer(Id)).Host.Devices[Nic].Driver);
    }

    [Fact]
    public void Release_AnotherDeviceInItsPlace_LeavesThatAlone()
    {
        World world = With(Claimed(), Device(Nic) with { Serial = "B", Driver = "igb" });

        Plan plan = Planner.Decide(world, new ReleaseContainer(Id)).Plan!;

        Assert.IsType<DropContainer>(Assert.Single(plan.Steps));
    }

    [Fact]
    public void Settle_QemuGaveADeviceUp_DeviceWaitsAndItsGroupIsClosed()
    {
        World world = Run(Run(ModelWorld(), new CreateGuest(new GuestSpec { Name = "web01", Devices = [Nic] })), new StartGuest("web01"));
        world = Without(world, Nic);
        world = world with { Guests = world.Guests.SetItem("web01", world.Guests["web01"] with { Devices = [] }) };

        Plan plan = Planner.Decide(world, new SettleGuest("web01", null)).Plan!;
        world = Run(world, new SettleGuest("web01", null));

        Assert.Collection(plan.Steps, step => Assert.IsType<LoseDevice>(step), step => Assert.Null(Assert.IsType<RevokeGroup>(step).Group));
        Assert.Equal(GuestState.Running, world.Inventory.Guests["web01"].State);
        Assert.Equal(GuestDeviceState.Pending, world.Inventory.Guests["web01"].Devices[Nic].State);
        Assert.Equal(ContainerState.Ready, world.Inventory.Containers[Id].State);
    }

    [Fact]
    public void Attach_DeviceThatCameBackToARunningGuest_IsPluggedAgain()
    {
        World world = Run(Run(ModelWorld(), new CreateGuest(new GuestSpec { Name = "web01", Devices = [Nic] })), new StartGuest("web01"));
        world = Without(world, Nic);
        world = world with { Guests = world.Guests.SetItem("web01", world.Guests["web01"] with { Devices = [] }) };
        world = Run(With(Run(world, new SettleGuest("web01", null)), Device(Nic) with { Group = 4 }), Align);

        world = Run(world, new AttachDevice("web01", Nic));

        Assert.Equal(GuestDeviceState.Attached, world.Inventory.Guests["web01"].Devices[Nic].State);
        Assert.Contains(Nic, world.Guests["web01"].Devices);
    }

    private static PciDevice Device(PciAddress address) => new()
    {
        Address = address,
        VendorId = 0x8086,
        DeviceId = 0x10d3,
        ClassCode = 0x020000,
        Serial = "A",
        Driver = "e1000e",
        Group = 1,
    };

    private static World ModelWorld() => With(
        new World(
            new HostState { Host = "model", ReadAt = ModelHost.Start, Vfio = new VfioSupport { IommuEnabled = true, Available = true } },
            Inventory.Empty),
        Device(Nic));

    private static World Claimed() => Run(ModelWorld(), new ClaimGroup(null, Nic));

    private static World With(World world, PciDevice device)
    {
        IommuGroup group = world.Host.Groups.GetValueOrDefault(device.Group!.Value) ?? new IommuGroup(device.Group.Value, [], "DMA", []);
        return world with
        {
            Host = world.Host with
            {
                Devices = world.Host.Devices.SetItem(device.Address, device),
                Groups = world.Host.Groups.SetItem(group.Number, group with { Devices = [.. group.Devices.Remove(device.Address).Add(device.Address).Order()] }),
            },
        };
    }

    private static World Without(World world, PciAddress device) => world with
    {
        Host = world.Host with
        {
            Devices = world.Host.Devices.Remove(device),
            Groups = world.Host.Groups.Remove(world.Host.Devices[device].Group!.Value),
        },
    };

    private static World Run(World world, Change change)
    {
        Decision decision = Planner.Decide(world, change with { At = ModelHost.Start.AddTicks(world.Inventory.Containers.Count + 1) });
        Assert.True(decision.Plan is not null, string.Join("; ", decision.Refusals));
        return decision.Plan.Steps.Aggregate(world with { Inventory = decision.Plan.Reserved }, ModelHost.Apply);
    }
}
