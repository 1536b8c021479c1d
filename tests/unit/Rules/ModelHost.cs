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
                    HostUses = used ? [new HostUse(HostUseKind.Network, "eth0 is up", "ip link set eth0 down")] : [],
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
                Vfio = new VfioSupport { IommuEnabled = true, Available = true },
            },
            Inventory.Empty);
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
            LaunchGuest launch => world with { Guests = world.Guests.SetItem(launch.Guest, new GuestView(false, [], 0)) },
            EndGuest end => world with { Guests = world.Guests.Remove(end.Guest) },
            RunGuest run => world with { Guests = world.Guests.SetItem(run.Guest, world.Guests[run.Guest] with { Running = true }) },
            HoldGuest hold => world with { Guests = world.Guests.SetItem(hold.Guest, world.Guests[hold.Guest] with { Running = false }) },
            PlugDevice plug => Plug(world, plug.Guest, view => view with { Devices = view.Devices.Add(plug.Device) }),
            UnplugDevice unplug => Plug(world, unplug.Guest, view => view with { Devices = view.Devices.Remove(unplug.Device) }),
            _ => world,
        };
        StepOutcome outcome = step switch
        {
            ProveContainer => new StepOutcome { Iommu = new IommuReport { Backend = "type1v2" } },
            LaunchGuest => new StepOutcome { Process = new GuestProcess(1000, 1, 64000) },
            CheckDevices check => new StepOutcome
            {
                Quarantined = [.. check.Devices.Where(device => world.Host.Devices.ContainsKey(device.Address) && !answers(device.Address)).Select(device => new Quarantine(device.Address, "vendor id ffff", Start))],
            },
            _ => StepOutcome.Done,
        };
        return after with { Inventory = Effects.Apply(after.Inventory, step, outcome) };
    }

    private static World Move(World world, PciAddress device, string? driver, string? held) => world with
    {
        Host = world.Host with { Devices = world.Host.Devices.SetItem(device, world.Host.Devices[device] with { Driver = driver, DriverOverride = held }) },
    };

    private static World Plug(World world, string guest, Func<GuestView, GuestView> change) =>
        world with { Guests = world.Guests.SetItem(guest, change(world.Guests[guest])) };
}
