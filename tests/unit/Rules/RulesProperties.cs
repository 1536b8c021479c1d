// The promises of the rules, over generated hosts and generated histories: with failures at any step, crashes at any step, and a host that begins
// and ends to use its devices meanwhile.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using FsCheck;
using FsCheck.Fluent;

namespace AssignHub.Tests.Unit.Rules;

public sealed class RulesProperties
{
    private const int ChangesPerHistory = 25;
    private static readonly string[] Guests = ["a", "b"];

    /// <summary>What may happen to a plan on its way.</summary>
    public enum Mishap
    {
        None,
        FailingSteps,
        Crashes,
        SilentDevices,
    }

    [Theory]
    [InlineData(Mishap.None)]
    [InlineData(Mishap.FailingSteps)]
    [InlineData(Mishap.Crashes)]
    [InlineData(Mishap.SilentDevices)]
    public void History_AnyChanges_KeepsEveryPromise(Mishap mishap)
    {
        // The short run is the same each time; the long one looks elsewhere each time.
        if (Environment.GetEnvironmentVariable("ASSIGNHUB_TESTS_LONG") is null)
        {
            for (int seed = 0; seed < 500; seed++)
            {
                Live(new Random(seed), mishap);
            }

            return;
        }

        Prop.ForAll(Gen.Choose(0, int.MaxValue - 1).ToArbitrary(), seed => Live(new Random(seed), mishap)).Check(Config.QuickThrowOnFailure.WithMaxTest(10_000));
    }

    private static void Live(Random random, Mishap mishap)
    {
        World born = ModelHost.Generate(random);
        World world = born;
        for (int i = 0; i < ChangesPerHistory; i++)
        {
            DateTimeOffset now = ModelHost.Start.AddSeconds(i + 1);
            world = ModelHost.Stir(world, random) with { Host = world.Host with { ReadAt = now } };
            Change change = AnyChange(random, world) with { At = now };
            Decision decision = Planner.Decide(world, change);
            if (decision.Plan is { } plan)
            {
                Assert.Equal(plan.Steps.Select(Told), Planner.Decide(world, change).Plan!.Steps.Select(Told));
                world = Execute(world, plan, random, mishap);
            }
            else
            {
                Assert.NotEmpty(decision.Refusals);
                Assert.All(decision.Refusals, refusal => Assert.NotEqual("", refusal.Remedy));
            }

            CheckPromises(world, born);
        }

        foreach (string guest in world.Inventory.Guests.Keys)
        {
            world = Execute(world, Accepted(world, new DeleteGuest(guest, Force: true)), random, Mishap.None);
        }

        foreach (string container in world.Inventory.Containers.Keys)
        {
            world = Execute(world, Accepted(world, new ReleaseContainer(container)), random, Mishap.None);
        }

        // Nothing of the host is in the way at last.
        world = world with
        {
            Host = world.Host with { Devices = world.Host.Devices.ToImmutableSortedDictionary(device => device.Key, device => device.Value with { HostUses = [] }) },
        };
        foreach (PciDevice physical in world.Host.Devices.Values.Where(device => device.Sriov is { NumVfs: > 0 }))
        {
            world = Execute(world, Accepted(world, new SetVirtualFunctions(physical.Address, 0)), random, Mishap.None);
        }

        Assert.Equal(born.Host.Devices.Select(Driver), world.Host.Devices.Select(Driver));
        Assert.Empty(world.Inventory.Containers);
        Assert.Empty(world.Guests);
    }

    private static Plan Accepted(World world, Change change)
    {
        Decision decision = Planner.Decide(world, change with { At = ModelHost.Start.AddHours(1) });
        Assert.True(decision.Plan is not null, string.Join("; ", decision.Refusals));
        return decision.Plan;
    }

    private static World Execute(World world, Plan plan, Random random, Mishap mishap)
    {
        world = world with { Inventory = plan.Reserved };
        int mishapAt = plan.Steps.IsEmpty || mishap is Mishap.None or Mishap.SilentDevices ? -1 : random.Next(plan.Steps.Length * 2);
        for (int i = 0; i < plan.Steps.Length; i++)
        {
            CheckStep(world, plan, plan.Steps[i]);
            if (Planner.RefusalOf(world.Inventory, plan.Steps[i]) is not null)
            {
                return Undo(world, plan.Change);
            }

            if (i == mishapAt)
            {
                return mishap == Mishap.FailingSteps ? Undo(world, plan.Change) : Restart(world, plan.Steps[i], plan.Change, random);
            }

            world = ModelHost.Apply(world, plan.Steps[i], _ => mishap != Mishap.SilentDevices || random.Next(3) > 0);
        }

        return world;
    }

    private static World Undo(World world, Change change)
    {
        Plan back = Planner.Undo(world, change, "it failed");
        world = world with { Inventory = back.Reserved };
        foreach (Step step in back.Steps)
        {
            CheckStep(world, back, step);
            world = ModelHost.Apply(world, step);
        }

        return world;
    }

    /// <summary>The service is killed at a step, which the kernel may have done but the journal does not know, and starts again.</summary>
    private static World Restart(World world, Step step, Change change, Random random)
    {
        if (random.Next(2) == 0)
        {
            world = ModelHost.Apply(world, step) with { Inventory = world.Inventory };
        }

        world = ModelHost.Stir(world, random);
        Decision again = Planner.Decide(world, change);
        return again.Plan is { } plan ? Execute(world, plan, random, Mishap.None) : Undo(world, change);
    }

    /// <summary>Nothing that the host uses is taken from its driver or reset; but for one device with an override in force, and then the plan says what breaks.</summary>
    private static void CheckStep(World world, Plan plan, Step step)
    {
        switch (step)
        {
            case BindVfio bind:
                PciDevice taken = world.Host.Devices[bind.Device];
                bool lifted = world.Inventory.Overrides.TryGetValue(taken.Address, out Override? given) && given.Until > world.Host.ReadAt;
                Assert.False(taken.IsBridge);
                Assert.True(taken.HostUses.IsEmpty || lifted, $"{taken.Address} is taken although the host uses it");
                Assert.All(taken.HostUses, use => Assert.Null(use.Essential));
                Assert.All(taken.HostUses, use => Assert.Contains(plan.Warnings, warning => warning.Contains(use.Detail, StringComparison.Ordinal)));
                break;
            case RestoreDriver restore:
                PciDevice back = world.Host.Devices[restore.Device];
                Assert.True(back.HostUses.IsEmpty || back.Driver == restore.Driver, $"{back.Address} is taken from {back.Driver} although the host uses it");
                break;
            case ResetBelow reset:
                Assert.All(Resets.Below(world.Host, world.Host.Devices[reset.Bridge]), hit => Assert.Empty(world.Host.Devices[hit].HostUses));
                break;
            case ResetFunction reset:
                Assert.Empty(world.Host.Devices[reset.Device].HostUses);
                break;
        }
    }

    private static (string Action, string Subject, string Reason) Told(Step step) => (step.Action, step.Subject, step.Reason);

    private static void CheckPromises(World world, World born)
    {
        Container[] containers = [.. world.Inventory.Containers.Values];
        Assert.Equal(containers.Length, containers.Select(container => container.Group).Distinct().Count());
        foreach (Container container in containers)
        {
            Assert.Equal(world.Host.Groups[container.Group!.Value].Devices, container.Members.Select(member => member.Address));
            Assert.NotEqual(ContainerState.Preparing, container.State);
            Assert.NotEqual(ContainerState.Releasing, container.State);
            if (container.State is ContainerState.Ready or ContainerState.Attached)
            {
                Assert.All(container.Endpoints, member => Assert.Equal("vfio-pci", world.Host.Devices[member.Address].Driver));
            }

            Assert.True(container.Guest is null || world.Inventory.Guests.ContainsKey(container.Guest));
            Assert.Equal(container.State == ContainerState.Attached,
                container.Members.Any(member => world.Guests.Values.Any(view => view.Devices.Contains(member.Address))));
        }

        foreach (PciDevice device in world.Host.Devices.Values)
        {
            Assert.False(device.Sriov is { NumVfs: > 0 } && VfioDrivers.IsVfio(device.Driver), $"{device.Address} is taken although it has virtual functions");
            if (world.Inventory.ContainerOf(device.Address) is null)
            {
                Assert.Equal(born.Host.Devices.TryGetValue(device.Address, out PciDevice? before) ? before.Driver : ModelHost.VfDriver, device.Driver);
            }
        }

        CheckGuests(world);
    }

    private static void CheckGuests(World world)
    {
        foreach (Guest guest in world.Inventory.Guests.Values)
        {
            Assert.Equal(guest.IsActive, world.Guests.ContainsKey(guest.Name));
            Assert.Equal(guest.Spec.Devices.Order(), guest.Devices.Keys);
            ImmutableHashSet<PciAddress> had = world.Guests.GetValueOrDefault(guest.Name)?.Devices ?? [];
            Assert.Equal(guest.Devices.Values.Where(device => device.State == GuestDeviceState.Attached).Select(device => device.Address), had.Order());
            // A running guest has all its devices, but for one that did not survive a reset.
            Assert.All(guest.Devices.Values.Where(device => !world.Inventory.Quarantined.ContainsKey(device.Address)), device =>
                Assert.Equal((device.Address, guest.IsActive ? GuestDeviceState.Attached : GuestDeviceState.Pending), (device.Address, device.State)));
            foreach (PciAddress address in had)
            {
                // The whole group is this guest's, what is plugged of it and what is parked.
                Container container = world.Inventory.ContainerOf(address)!;
                Assert.Equal(guest.Name, container.Guest);
                Assert.All(container.Members, member => Assert.DoesNotContain(world.Guests.Where(other => other.Key != guest.Name), other => other.Value.Devices.Contains(member.Address)));
            }
        }
    }

    private static Change AnyChange(Random random, World world)
    {
        PciAddress device = Pick(random, world.Host.Devices.Keys);
        string guest = Pick(random, Guests);
        return random.Next(18) switch
        {
            0 => new ClaimGroup(Pick(random, world.Host.Groups.Keys), null, random.Next(2) == 0 ? guest : null, random.Next(2) == 0),
            1 => new ClaimGroup(null, device, random.Next(2) == 0 ? guest : null, random.Next(2) == 0),
            2 => new ReleaseContainer(world.Inventory.Containers.IsEmpty ? "c-none" : Pick(random, world.Inventory.Containers.Keys)),
            3 or 4 => new CreateGuest(new GuestSpec { Name = guest, Devices = random.Next(2) == 0 ? [device] : [], GuestIommu = random.Next(4) == 0 ? GuestIommu.Off : GuestIommu.Auto }),
            5 or 6 => new StartGuest(guest),
            7 => new StopGuest(guest, random.Next(2) == 0),
            8 => new AttachDevice(guest, device),
            9 => new DetachDevice(guest, world.Inventory.Guests.TryGetValue(guest, out Guest? found) && !found.Devices.IsEmpty ? Pick(random, found.Devices.Keys) : device),
            10 => new DeleteGuest(guest, random.Next(3) == 0),
            11 => new ClearQuarantine(device),
            12 or 13 => new SetOverride(device, "because", "somebody", TimeSpan.FromSeconds(random.Next(1, 10))),
            14 => new ClearOverride(device),
            15 or 16 => new SetVirtualFunctions(device, random.Next(ModelHost.MostVfs + 2)),
            _ => random.Next(2) == 0 ? new PauseGuest(guest) : new ResetBridge(device, random.Next(2) == 0),
        };
    }

    private static T Pick<T>(Random random, IEnumerable<T> items)
    {
        T[] all = [.. items];
        return all[random.Next(all.Length)];
    }

    private static (PciAddress Address, string? Driver) Driver(KeyValuePair<PciAddress, PciDevice> device) => (device.Key, device.Value.Driver);
}
