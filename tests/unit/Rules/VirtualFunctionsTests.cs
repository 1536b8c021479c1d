// Virtual functions: the way from one number to another, what keeps it from being taken, and the way back.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Unit.Rules;

public sealed class VirtualFunctionsTests
{
    private static readonly PciAddress Nic = PciAddress.Parse("0000:01:00.0");
    private static readonly PciAddress First = PciAddress.Parse("0000:01:10.0");
    private static readonly PciAddress Second = PciAddress.Parse("0000:01:11.0");
    private static readonly PciAddress Plain = PciAddress.Parse("0000:01:01.0");

    [Fact]
    public void Set_FromNone_IsOneStep()
    {
        Plan plan = Accepted(Host(), new SetVirtualFunctions(Nic, 2));

        Assert.Equal(2, Assert.IsType<SetNumVfs>(Assert.Single(plan.Steps)).Count);
        Assert.Equal(["group 1"], plan.Touches);
    }

    [Fact]
    public void Set_ToAnotherNumber_GoesByWayOfNoneAndHoldsWhatGoes()
    {
        Plan plan = Accepted(WithVfs(2), new SetVirtualFunctions(Nic, 3));

        Assert.Equal([0, 3], plan.Steps.Cast<SetNumVfs>().Select(step => step.Count));
        Assert.Equal(["group 1", $"group {GroupOf(First)}", $"group {GroupOf(Second)}"], plan.Touches);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(2)]
    public void Set_ToWhatIs_IsNothingToDo(int count) =>
        Assert.Empty(Accepted(count == 0 ? Host() : WithVfs(count), new SetVirtualFunctions(Nic, count)).Steps);

    [Fact]
    public void Set_NumberAboveTheMost_NamesTheField()
    {
        Refusal refusal = Refused(Host(), new SetVirtualFunctions(Nic, 4));

        Assert.Equal((ProblemCode.ValidationFailed, "numVfs"), (refusal.Code, refusal.Subject));
        Assert.Contains("0 to 3", refusal.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void Set_OfWhatHasNoSriov_IsRefused()
    {
        Refusal plain = Refused(Host(), new SetVirtualFunctions(Plain, 1));
        Refusal function = Refused(WithVfs(1), new SetVirtualFunctions(First, 1));
        Refusal missing = Refused(Host(), new SetVirtualFunctions(PciAddress.Parse("0000:09:00.0"), 1));

        Assert.Equal((ProblemCode.ValidationFailed, "address"), (plain.Code, plain.Subject));
        Assert.Contains($"/v1/devices/{Nic}/sriov", function.Remedy, StringComparison.Ordinal);
        Assert.Equal(ProblemCode.DeviceNotFound, missing.Code);
    }

    [Theory]
    [InlineData(null, "no driver")]
    [InlineData("vfio-pci", "vfio-pci")]
    public void Set_OffItsDriver_SaysHowItComesBack(string? driver, string named)
    {
        Refusal refusal = Refused(With(Host(), Nic, device => device with { Driver = driver }), new SetVirtualFunctions(Nic, 1));

        Assert.Equal(ProblemCode.GroupNotViable, refusal.Code);
        Assert.Contains(named, refusal.Message, StringComparison.Ordinal);
        Assert.Contains($"echo {Nic} > /sys/bus/pci/drivers_probe", refusal.Remedy, StringComparison.Ordinal);
    }

    [Fact]
    public void Set_OfAClaimedDevice_NamesTheContainer()
    {
        Refusal refusal = Refused(ModelHost.Run(Host(), new ClaimGroup(null, Nic)), new SetVirtualFunctions(Nic, 1));

        Assert.Equal((ProblemCode.GroupOwned, "container c-0000-01-00-0"), (refusal.Code, refusal.BlockedBy.Single()));
    }

    [Fact]
    public void Set_EveryFunctionInSomebodysHands_NamesAllAtOnce()
    {
        World world = WithVfs(3);
        world = ModelHost.Run(world, new CreateGuest(new GuestSpec { Name = "web01", Devices = [First] }));
        world = With(world, Second, device => device with { HostUses = [new HostUse(HostUseKind.Network, "eth5 is up", "ip link set eth5 down")] });
        PciAddress third = PciAddress.Parse("0000:01:12.0");
        world = With(world, third, device => device with { Driver = "vfio-pci" });
        world = world with { Host = world.Host with { Holders = world.Host.Holders.Add(GroupOf(third), new GroupHolder(4242, "testpmd")) } };

        ImmutableArray<Refusal> refusals = Planner.Decide(world, new SetVirtualFunctions(Nic, 0)).Refusals;

        Assert.Equal([ProblemCode.GroupOwned, ProblemCode.DeviceInUseByHost, ProblemCode.GroupForeign], refusals.Select(refusal => refusal.Code));
        Assert.Equal($"{First}, container c-0000-01-10-0, guest web01", string.Join(", ", refusals[0].BlockedBy));
        Assert.Contains($"DELETE /v1/guests/web01/devices/{First}", refusals[0].Remedy, StringComparison.Ordinal);
        Assert.Contains("ip link set eth5 down", refusals[1].Remedy, StringComparison.Ordinal);
        Assert.Equal($"{third}, pid 4242", string.Join(", ", refusals[2].BlockedBy));

        // Another number goes by way of none, so they are in its way as well; to what is asked already, nothing is.
        Assert.Equal(refusals.Select(refusal => refusal.Message), Planner.Decide(world, new SetVirtualFunctions(Nic, 2)).Refusals.Select(refusal => refusal.Message));
        Assert.Empty(Accepted(world, new SetVirtualFunctions(Nic, 3)).Steps);
    }

    [Fact]
    public void Set_UsedByTheHost_IsAllowedWithAWarning()
    {
        World world = With(Host(), Nic, device => device with { HostUses = [new HostUse(HostUseKind.Network, "eth0 is up", "ip link set eth0 down")] });

        Assert.Contains("eth0 is up", Assert.Single(Accepted(world, new SetVirtualFunctions(Nic, 1)).Warnings), StringComparison.Ordinal);
    }

    [Fact]
    public void Undo_AfterTheFormerOnesWent_PutsTheFormerNumberBack()
    {
        Plan plan = Accepted(WithVfs(2), new SetVirtualFunctions(Nic, 3));
        World world = ModelHost.Apply(WithVfs(2), plan.Steps[0]);

        Plan back = Planner.Undo(world, plan.Change, "the second step failed");

        Assert.Equal(2, Assert.IsType<SetNumVfs>(Assert.Single(back.Steps)).Count);
    }

    [Fact]
    public void Undo_SomebodyTookANewOne_LeavesThemAll()
    {
        Plan plan = Accepted(Host(), new SetVirtualFunctions(Nic, 3));
        World world = ModelHost.Run(ModelHost.Apply(Host(), plan.Steps[0]), new ClaimGroup(null, First));

        Assert.Empty(Planner.Undo(world, plan.Change, "it was cancelled").Steps);
    }

    [Fact]
    public void Resume_AfterACrashInBetween_RemembersTheFormerNumber()
    {
        Plan plan = Accepted(WithVfs(2), new SetVirtualFunctions(Nic, 3));
        Plan resumed = Accepted(ModelHost.Apply(WithVfs(2), plan.Steps[0]), plan.Change);

        Assert.Equal(3, Assert.IsType<SetNumVfs>(Assert.Single(resumed.Steps)).Count);
        Assert.Equal(2, Assert.IsType<SetVirtualFunctions>(resumed.Change).Former);
    }

    [Fact]
    public void Claim_OfADeviceWithFunctions_SaysHowTheyGo()
    {
        Refusal refusal = Refused(WithVfs(1), new ClaimGroup(null, Nic));

        Assert.Contains($"PUT /v1/devices/{Nic}/sriov", refusal.Remedy, StringComparison.Ordinal);
    }

    private static World Host()
    {
        PciDevice nic = new()
        {
            Address = Nic, VendorId = 0x8086, DeviceId = 0x10c9, ClassCode = 0x020000, Driver = "igb", Group = 1, Sriov = new SriovState(ModelHost.MostVfs, 0, null),
        };
        PciDevice plain = nic with { Address = Plain, Group = 2, Sriov = null };
        return new World(
            new HostState
            {
                Host = "model",
                ReadAt = ModelHost.Start,
                Devices = new[] { nic, plain }.ToImmutableSortedDictionary(device => device.Address, device => device),
                Groups = new[] { nic, plain }.ToImmutableSortedDictionary(device => device.Group!.Value, device => new IommuGroup(device.Group!.Value, [device.Address], "DMA", [])),
                Vfio = new VfioSupport { IommuEnabled = true, Available = true },
            },
            Inventory.Empty);
    }

    private static World WithVfs(int count) => ModelHost.Run(Host(), new SetVirtualFunctions(Nic, count));

    private static World With(World world, PciAddress address, Func<PciDevice, PciDevice> change) =>
        world with { Host = world.Host with { Devices = world.Host.Devices.SetItem(address, change(world.Host.Devices[address])) } };

    private static int GroupOf(PciAddress function) => WithVfs(ModelHost.MostVfs).Host.Devices[function].Group!.Value;

    private static Plan Accepted(World world, Change change)
    {
        Decision decision = Planner.Decide(world, change with { At = ModelHost.Start });
        Assert.True(decision.Plan is not null, string.Join("; ", decision.Refusals));
        return decision.Plan;
    }

    private static Refusal Refused(World world, Change change) => Assert.Single(Planner.Decide(world, change).Refusals);
}
