// A host as the rules see it, made from a seed, and what a step does to it: the kernel and QEMU as pure functions.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;

namespace AssignHub.Tests.Unit.Rules;

internal static partial class ModelHost
{
    public static readonly DateTimeOffset Start = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <summary>The driver that takes every new virtual function.</summary>
    public const string VfDriver = "igbvf";

    /// <summary>The virtual functions that a physical one can have.</summary>
    public const int MostVfs = 3;

    private static readonly string?[] Drivers = ["e1000e", "nvme", "xhci_hcd", null, null, "vfio-pci"];

    /// <summary>Groups of any shape: alone, several endpoints, with a bridge, with a bridge on a driver that blocks, with a used member.</summary>
    public static World Generate(Random random)
    {
        var devices = ImmutableSortedDictionary.CreateBuilder<PciAddress, PciDevice>();
        var groups = ImmutableSortedDictionary.CreateBuilder<int, IommuGroup>();
        int count = random.Next(1, 8);
        for (int number = 0; number < count; number++)
        {
            var root = new PciAddress(0, 0, (byte)(number + 1), 0);
            byte bus = (byte)(number + 1);
            bool bridgeInGroup = random.Next(3) == 0;
            devices[root] = new PciDevice
            {
                Address = root,
                VendorId = 0x1b36,
                ClassCode = 0x060400,
                Bridge = new BridgeBuses(bus, bus),
                Driver = bridgeInGroup && random.Next(3) == 0 ? "shpchp" : "pcieport",
                Group = bridgeInGroup ? number : null,
                CanResetSubordinate = true,
            };
            int endpoints = random.Next(1, 5);
            for (int i = 0; i < endpoints; i++)
            {
                var address = new PciAddress(0, bus, (byte)i, 0);
                string? driver = Drivers[random.Next(Drivers.Length)];
                bool used = driver is "e1000e" or "nvme" && random.Next(4) == 0;
                devices[address] = new PciDevice
                {
                    Address = address,
                    VendorId = 0x8086,
                    DeviceId = 0x10d3,
                    Serial = i % 2 == 0 ? $"{number}-{i}" : null,
                    ClassCode = 0x020000,
                    Driver = driver,
                    Group = number,
                    ParentBridge = root,
                    ResetMethods = random.Next(2) == 0 ? ["flr"] : [],
                    Sriov = random.Next(3) == 0 ? new SriovState(MostVfs, 0, null) : null,
                    HostUses = used ? AnyUses(random) : [],
                };
            }

            groups[number] = new IommuGroup(number, [.. devices.Values.Where(device => device.Group == number).Select(device => device.Address)], "DMA", []);
        }

        return new World(
            new HostState
            {
                Host = "model",
                ReadAt = Start,
                Devices = devices.ToImmutable(),
                Groups = groups.ToImmutable(),
                Vfio = new VfioSupport { IommuEnabled = true, Available = true, Backend = random.Next(2) == 0 ? "iommufd" : "type1v2" },
            },
            Inventory.Empty);
    }

    /// <summary>The world in which the host begins to use a device that it drives, or ends its use of one.</summary>
    public static World Stir(World world, Random random)
    {
        PciDevice device = world.Host.Devices.ElementAt(random.Next(world.Host.Devices.Count)).Value;
        return device.IsBridge || device.Driver is null || VfioDrivers.IsVfio(device.Driver)
            ? world
            : With(world, device with { HostUses = device.HostUses.IsEmpty ? AnyUses(random) : [] });
    }

    private static ImmutableArray<HostUse> AnyUses(Random random)
    {
        var up = new HostUse(HostUseKind.Network, "eth0 is up", "ip link set eth0 down");
        var mounted = new HostUse(HostUseKind.Storage, "nvme0n1 is mounted at /srv", "umount /srv");
        return random.Next(4) switch
        {
            0 => [up],
            1 => [mounted],
            2 => [mounted, up],
            _ => [mounted with { Essential = "the root file system" }],
        };
    }

    /// <summary>The world after a step: what the kernel and QEMU did, and what the ledger wrote. Every device answers after a reset.</summary>
    public static World Apply(World world, Step step) => Apply(world, step, _ => true);

    /// <summary>The same, where not every device has to answer when it is checked.</summary>
    public static World Apply(World world, Step step, Func<PciAddress, bool> answers)
    {
        World after = step switch
        {
            BindVfio bind => Move(world, bind.Device, "vfio-pci", "vfio-pci"),
            RestoreDriver restore => Move(world, restore.Device, restore.Driver, null),
            LaunchGuest launch => world with { Guests = world.Guests.SetItem(launch.Guest, new GuestView(false, [], 0) { HasIommu = launch.WithIommu }) },
            EndGuest end => world with { Guests = world.Guests.Remove(end.Guest) },
            RunGuest run => world with { Guests = world.Guests.SetItem(run.Guest, world.Guests[run.Guest] with { Running = true }) },
            HoldGuest hold => world with { Guests = world.Guests.SetItem(hold.Guest, world.Guests[hold.Guest] with { Running = false }) },
            SetNumVfs set => SetVfs(world, world.Host.Devices[set.Device], set.Count),
            PlugDevice plug => Plug(world, plug.Guest, view => view with { Devices = view.Devices.Add(plug.Device) }),
            UnplugDevice unplug => Plug(world, unplug.Guest, view => view with { Devices = view.Devices.Remove(unplug.Device) }),
            _ => world,
        };
        StepOutcome outcome = step switch
        {
            ProveContainer => new StepOutcome { Iommu = new IommuReport { Backend = world.Host.Vfio.Backend ?? "type1v2" } },
            LaunchGuest => new StepOutcome { Process = new GuestProcess(1000, 1, 64000) },
            CheckDevices check => new StepOutcome
            {
                Quarantined = [.. check.Devices.Where(device => world.Host.Devices.ContainsKey(device.Address) && !answers(device.Address)).Select(device => new Quarantine(device.Address, "vendor id ffff", Start))],
            },
            _ => StepOutcome.Done,
        };
        return after with { Inventory = Effects.Apply(after.Inventory, step, outcome) };
    }

    /// <summary>The world after a change, which has to be accepted.</summary>
    public static World Run(World world, Change change)
    {
        Decision decision = Planner.Decide(world, change with { At = Start });
        Assert.Empty(decision.Refusals);
        return decision.Plan!.Steps.Aggregate(world with { Inventory = decision.Plan.Reserved }, Apply);
    }

    // Nothing is left standing on a device that changed its driver.
    private static World Move(World world, PciAddress device, string? driver, string? held) => world.Host.Devices[device] is { } moved
        ? With(world, moved with { Driver = driver, DriverOverride = held, HostUses = moved.Driver == driver ? moved.HostUses : [] })
        : world;

    private static World With(World world, PciDevice device) =>
        world with { Host = world.Host with { Devices = world.Host.Devices.SetItem(device.Address, device) } };

    /// <summary>What sriov_numvfs does; where the kernel would fail, or a function go that is somebody's, the rules have let through what they must not.</summary>
    private static World SetVfs(World world, PciDevice physical, int count)
    {
        Assert.True(count == 0 || physical.Sriov!.NumVfs == 0, "EBUSY: only from none to some and back");
        Assert.True(physical.Driver is not null && !VfioDrivers.IsVfio(physical.Driver), "ENOENT: only a host driver makes virtual functions");
        ImmutableSortedDictionary<PciAddress, PciDevice> devices = world.Host.Devices.SetItem(
            physical.Address, physical with { Sriov = physical.Sriov! with { NumVfs = count } });
        ImmutableSortedDictionary<int, IommuGroup> groups = world.Host.Groups;
        foreach (PciDevice gone in VirtualFunctions.Of(world.Host, physical.Address))
        {
            Assert.Null(world.Inventory.ContainerOf(gone.Address));
            devices = devices.Remove(gone.Address);
            groups = groups.Remove(gone.Group!.Value);
        }

        for (int i = 0; i < count; i++)
        {
            PciAddress address = physical.Address with { Slot = (byte)(16 + physical.Address.Slot * MostVfs + i) };
            int group = 1000 + address.Bus * 32 + address.Slot;
            devices = devices.SetItem(address, physical with
            {
                Address = address, Driver = VfDriver, Group = group, HostUses = [], Sriov = new SriovState(0, 0, physical.Address),
            });
            groups = groups.SetItem(group, new IommuGroup(group, [address], "DMA", []));
        }

        return world with { Host = world.Host with { Devices = devices, Groups = groups } };
    }

    private static World Plug(World world, string guest, Func<GuestView, GuestView> change) =>
        world with { Guests = world.Guests.SetItem(guest, change(world.Guests[guest])) };
}
