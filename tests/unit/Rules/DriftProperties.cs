// The promises of the rules where hardware comes, goes and changes at any moment, also between the steps of a plan, and the reconciler looks now and then.

using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using FsCheck;
using FsCheck.Fluent;

namespace AssignHub.Tests.Unit.Rules;

public sealed class DriftProperties
{
    private const int ChangesPerHistory = 30;
    private const int MostRounds = 6;
    private static readonly string[] Guests = ["a", "b"];

    [Fact]
    public void History_MovingHardware_KeepsEveryPromise()
    {
        if (Environment.GetEnvironmentVariable("ASSIGNHUB_TESTS_LONG") is null)
        {
            for (int seed = 0; seed < 500; seed++)
            {
                Live(seed);
            }

            return;
        }

        Prop.ForAll(Gen.Choose(0, int.MaxValue - 1).ToArbitrary(), Live).Check(Config.QuickThrowOnFailure.WithMaxTest(10_000));
    }

    private static void Live(int seed)
    {
        var random = new Random(seed);
        World world = ModelHost.Generate(random);
        var hardware = new ModelHardware(world);
        DateTimeOffset now = ModelHost.Start;
        for (int i = 0; i < ChangesPerHistory; i++)
        {
            now = now.AddSeconds(1);
            if (random.Next(3) == 0)
            {
                world = hardware.Move(world, random);
            }

            world = Try(world, AnyChange(random, world) with { At = now }, hardware, random);
            CheckNumbers(world);
            if (random.Next(2) == 0)
            {
                world = Reconcile(world, hardware);
                CheckPromises(world, hardware);
            }
        }

        foreach (string guest in world.Inventory.Guests.Keys)
        {
            world = Accepted(world, new DeleteGuest(guest, Force: true) { At = now.AddHours(1) }, hardware);
        }

        foreach (string container in world.Inventory.Containers.Keys)
        {
            world = Accepted(world, new ReleaseContainer(container) { At = now.AddHours(1) }, hardware);
        }

        Assert.Empty(world.Inventory.Containers);
        Assert.Empty(world.Guests);
        Assert.All(world.Host.Devices.Values, device => Assert.Contains(device.Driver ?? "", hardware.Home[device.Address]));
    }

    private static World Try(World world, Change change, ModelHardware hardware, Random random)
    {
        Decision decision = Planner.Decide(world, change);
        if (decision.Plan is not { } plan)
        {
            Assert.NotEmpty(decision.Refusals);
            Assert.All(decision.Refusals, refusal => Assert.NotEqual("", refusal.Remedy));
            return world;
        }

        CheckPlan(world, plan);
        return Execute(world, plan, hardware, random);
    }

    private static World Accepted(World world, Change change, ModelHardware hardware)
    {
        Decision decision = Planner.Decide(world, change);
        Assert.True(decision.Plan is not null, string.Join("; ", decision.Refusals));
        return Execute(world, decision.Plan, hardware, random: null);
    }

    /// <summary>What the reconciler does, until nothing is left to be done.</summary>
    private static World Reconcile(World world, ModelHardware hardware)
    {
        for (int round = 0; round < MostRounds; round++)
        {
            World before = world;
            Change[] changes =
            [
                .. world.Inventory.Guests.Values.Where(guest => guest.State is GuestState.Running or GuestState.Paused).Select(guest => new SettleGuest(guest.Name, "gone")),
                .. world.Inventory.Containers.Values.Where(container => container.State is ContainerState.Ready or ContainerState.Attached).Select(container => new AlignContainer(container.Id)),
            ];
            foreach (Change change in changes)
            {
                world = Accepted(world, change, hardware);
            }

            if (world.Inventory == before.Inventory)
            {
                return world;
            }
        }

        Assert.Fail("the reconciler comes to no end");
        return world;
    }

    /// <param name="world">The world.</param>
    /// <param name="plan">The plan.</param>
    /// <param name="hardware">The hardware.</param>
    /// <param name="random">Moves hardware between the steps; null for none.</param>
    private static World Execute(World world, Plan plan, ModelHardware hardware, Random? random)
    {
        world = world with { Inventory = plan.Reserved };
        foreach (Step step in plan.Steps)
        {
            if (random?.Next(12) == 0)
            {
                world = hardware.Move(world, random);
            }

            if (Planner.RefusalOf(world.Inventory, step) is not null || !ModelHardware.CanDo(world, step))
            {
                return Undo(world, plan.Change);
            }

            world = ModelHost.Apply(world, step);
        }

        return world;
    }

    /// <summary>The way back as the coordinator takes it: every step is tried, and what could not be given back whole is kept.</summary>
    private static World Undo(World world, Change change)
    {
        Plan back = Planner.Undo(world, change, "it failed");
        world = world with { Inventory = back.Reserved };
        List<string> stranded = [];
        bool lost = false;
        foreach (Step step in back.Steps)
        {
            if (lost && step is DropContainer or DropGuest)
            {
                stranded.AddRange(step is DropContainer drop ? [drop.Container] : []);
                continue;
            }

            lost |= !ModelHardware.CanDo(world, step);
            world = ModelHardware.CanDo(world, step) ? ModelHost.Apply(world, step) : world;
        }

        return world with { Inventory = Effects.Strand(world.Inventory, stranded, "it failed") };
    }

    /// <summary>Nothing that the host uses is taken, and nothing of a group that is not the one that was claimed goes into a guest.</summary>
    private static void CheckPlan(World world, Plan plan)
    {
        foreach (Step step in plan.Steps)
        {
            if (step is BindVfio bind)
            {
                Assert.True(world.Host.Devices[bind.Device].HostUses.IsEmpty, $"{bind.Device} is taken although the host uses it");
                Assert.False(world.Host.Devices[bind.Device].IsBridge);
            }

            if (step is PlugDevice plug)
            {
                Container container = plan.Reserved.Containers[plan.Reserved.Guests[plug.Guest].Devices[plug.Device].Container];
                Assert.Null(Identity.DifferenceFrom(world, container));
                Assert.Contains(container.Members, member => member.Address == plug.Device);
            }

            if (step is GrantGroup grant)
            {
                Assert.Equal(world.Host.Groups[grant.Group].Devices, plan.Reserved.Containers[grant.Container].Members.Select(member => member.Address));
            }
        }
    }

    /// <summary>A group has one container and a number one group, whatever the reconciler has seen yet.</summary>
    private static void CheckNumbers(World world)
    {
        int[] numbers = [.. world.Inventory.Containers.Values.Select(container => container.Group).OfType<int>()];
        Assert.Equal(numbers.Length, numbers.Distinct().Count());
        PciAddress[] members = [.. world.Inventory.Containers.Values.SelectMany(container => container.Members).Select(member => member.Address)];
        Assert.Equal(members.Length, members.Distinct().Count());
    }

    private static void CheckPromises(World world, ModelHardware hardware)
    {
        foreach (Container container in world.Inventory.Containers.Values)
        {
            Assert.Contains(container.Shown, (ContainerState[])[ContainerState.Ready, ContainerState.Attached, ContainerState.Fenced, ContainerState.Failed]);
            Assert.Equal(container.State == ContainerState.Attached,
                container.Members.Any(member => world.Guests.Values.Any(view => view.Devices.Contains(member.Address))));
            if (container.Shown is ContainerState.Ready or ContainerState.Attached)
            {
                IommuGroup group = world.Host.Groups[container.Group!.Value];
                Assert.Equal(group.Devices, container.Members.Select(member => member.Address));
                Assert.All(container.Members, member => Assert.Equal((member.DeviceId, member.Serial), (world.Host.Devices[member.Address].DeviceId, world.Host.Devices[member.Address].Serial)));
                Assert.All(container.Endpoints, member => Assert.Equal("vfio-pci", world.Host.Devices[member.Address].Driver));
            }
            else if (container.Shown == ContainerState.Fenced)
            {
                CheckFence(world, container);
            }
        }

        foreach (PciDevice device in world.Host.Devices.Values.Where(device => world.Inventory.ContainerOf(device.Address) is null))
        {
            Assert.Contains(device.Driver ?? "", hardware.Home[device.Address]);
        }

        foreach (Guest guest in world.Inventory.Guests.Values)
        {
            PciAddress[] had = [.. (world.Guests.GetValueOrDefault(guest.Name)?.Devices ?? []).Order()];
            Assert.Equal(guest.Devices.Values.Where(device => device.State == GuestDeviceState.Attached).Select(device => device.Address), had);
            // A device waits only where it, or one that it shares its group with, went: what was out for a reset does not go back into a changed group.
            Assert.All(guest.Devices.Values.Where(device => guest.IsActive && device.State != GuestDeviceState.Attached), device =>
                Assert.Contains(world.Inventory.Containers[device.Container].Members.Select(member => member.Address).Append(device.Address), hardware.Moved.Contains));
            Assert.All(had, address => Assert.Equal(guest.Name, world.Inventory.ContainerOf(address)!.Guest));
        }
    }

    /// <summary>What a fence says is so, and nothing gets past it but who accepts it or gives the group up.</summary>
    private static void CheckFence(World world, Container container)
    {
        string? difference = Identity.DifferenceFrom(world, container);
        Assert.True(difference is null || difference == container.Fence);
        Guest? guest = container.Guest is { } name ? world.Inventory.Guests[name] : null;
        foreach (ContainerMember member in container.Endpoints)
        {
            Assert.NotEmpty(Planner.Decide(world, new ClaimGroup(null, member.Address, container.Guest, container.Keep)).Refusals.Concat(
                container.State == ContainerState.Attached && difference is null ? [Refusals.DeviceNotFound(member.Address)] : []));
            if (guest is { IsActive: false } && guest.Devices.ContainsKey(member.Address))
            {
                Assert.NotEmpty(Planner.Decide(world, new StartGuest(guest.Name)).Refusals);
            }
        }
    }

    private static Change AnyChange(Random random, World world)
    {
        PciAddress device = Pick(random, world.Host.Devices.Keys.Concat(world.Inventory.Containers.Values.SelectMany(one => one.Members).Select(member => member.Address)));
        string container = world.Inventory.Containers.IsEmpty ? "c-none" : Pick(random, world.Inventory.Containers.Keys);
        string guest = Pick(random, Guests);
        return random.Next(14) switch
        {
            0 or 1 => new ClaimGroup(null, device, random.Next(2) == 0 ? guest : null, random.Next(2) == 0),
            2 => new ReleaseContainer(container),
            3 => new CreateGuest(new GuestSpec { Name = guest, Devices = random.Next(2) == 0 ? [device] : [] }),
            4 or 5 or 6 => new StartGuest(guest),
            7 => new StopGuest(guest, Force: true),
            8 or 9 => new AttachDevice(guest, device),
            10 => new DetachDevice(guest, world.Inventory.Guests.TryGetValue(guest, out Guest? found) && !found.Devices.IsEmpty ? Pick(random, found.Devices.Keys) : device),
            11 => random.Next(3) == 0 ? new DeleteGuest(guest, Force: true) : new ResetBridge(new PciAddress(0, 0, device.Bus, 0), Evict: true),
            _ => new AcceptContainer(container),
        };
    }

    private static T Pick<T>(Random random, IEnumerable<T> items)
    {
        T[] all = [.. items];
        return all[random.Next(all.Length)];
    }
}
