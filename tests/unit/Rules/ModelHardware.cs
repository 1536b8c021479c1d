// Hardware of the model host that is pulled out and put in while everything runs, with the kernel's rules for what comes back: it has a
// new life (no driver_override), the group has its old number only if it lived on, and no host driver gets it while a guest has its group.

using System.Collections.Immutable;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Unit.Rules;

internal sealed class ModelHardware(World born)
{
    private readonly Dictionary<PciAddress, PciDevice> _out = [];
    private readonly Dictionary<PciAddress, int> _groups = born.Host.Devices.Values.Where(device => device.Group is not null)
        .ToDictionary(device => device.Address, device => device.Group!.Value);

    /// <summary>Devices that were ever pulled out.</summary>
    public HashSet<PciAddress> Moved { get; } = [];

    /// <summary>The drivers that a device may have while it is nobody's: those of its lives, for it may have been pulled out and put back while it was taken.</summary>
    public Dictionary<PciAddress, HashSet<string>> Home { get; } =
        born.Host.Devices.Values.ToDictionary(device => device.Address, device => new HashSet<string> { device.Driver ?? "" });

    /// <summary>Pulls something out, puts it back, puts another one in its place, or adds one to a group.</summary>
    public World Move(World world, Random random)
    {
        PciAddress[] present = [.. world.Host.Devices.Values.Where(device => !device.IsBridge).Select(device => device.Address)];
        switch (random.Next(5))
        {
            case 0 or 1 when present.Length > 0:
                return Pull(world, present[random.Next(present.Length)]);
            case 2 or 3 when _out.Count > 0:
                PciDevice back = _out.Values.ElementAt(random.Next(_out.Count));
                return Put(world, random.Next(3) > 0 ? back : Another(back), random);
            case 4 when present.Length > 0 && random.Next(4) == 0:
                return Add(world, world.Host.Devices[present[random.Next(present.Length)]], random);
            default:
                return world;
        }
    }

    /// <summary>Whether the kernel or QEMU could do a step now.</summary>
    public static bool CanDo(World world, Step step) => step switch
    {
        BindVfio bind => world.Host.Devices.ContainsKey(bind.Device),
        RestoreDriver restore => world.Host.Devices.ContainsKey(restore.Device),
        ResetFunction reset => world.Host.Devices.ContainsKey(reset.Device),
        GrantGroup grant => world.Host.Groups.ContainsKey(grant.Group),
        ProveContainer prove => world.Host.Groups.ContainsKey(prove.Group) && prove.Devices.All(device => IsOnVfio(world, device))
            && !world.Guests.Values.Any(view => prove.Devices.Any(view.Devices.Contains)),
        PlugDevice plug => IsOnVfio(world, plug.Device),
        _ => true,
    };

    private World Pull(World world, PciAddress address)
    {
        PciDevice device = world.Host.Devices[address];
        int number = device.Group!.Value;
        _out[address] = device;
        Moved.Add(address);
        IommuGroup group = world.Host.Groups[number];
        group = group with { Devices = group.Devices.Remove(address) };
        return world with
        {
            Host = world.Host with
            {
                Devices = world.Host.Devices.Remove(address),
                Groups = group.Devices.IsEmpty ? world.Host.Groups.Remove(number) : world.Host.Groups.SetItem(number, group),
            },
            // The kernel asks for it, and QEMU gives it up by itself.
            Guests = world.Guests.ToImmutableDictionary(guest => guest.Key, guest => guest.Value with { Devices = guest.Value.Devices.Remove(address) }),
        };
    }

    private World Put(World world, PciDevice device, Random random)
    {
        PciAddress[] mates = [.. _groups.Where(mate => mate.Value == _groups[device.Address]).Select(mate => mate.Key)];
        // The number of a group that lives on, or the lowest that is free, which another group may have had.
        int number = mates.Select(mate => world.Host.Devices.GetValueOrDefault(mate)?.Group).FirstOrDefault(mate => mate is not null)
            ?? Enumerable.Range(0, int.MaxValue).First(free => !world.Host.Groups.ContainsKey(free));
        IommuGroup group = world.Host.Groups.GetValueOrDefault(number) ?? new IommuGroup(number, [], "DMA", []);
        string? original = born.Host.Devices.GetValueOrDefault(device.Address)?.Driver;
        bool isOpen = world.Guests.Values.Any(view => view.Devices.Any(group.Devices.Contains));
        string? driver = isOpen || original == "vfio-pci" || random.Next(5) == 0 ? null : original;
        bool isUsed = driver is not null && random.Next(4) == 0;
        Home.TryAdd(device.Address, []);
        Home[device.Address].UnionWith(["", driver ?? "", original ?? ""]);
        _out.Remove(device.Address);
        return world with
        {
            Host = world.Host with
            {
                Devices = world.Host.Devices.SetItem(device.Address, device with
                {
                    Group = number,
                    Driver = driver,
                    DriverOverride = null,
                    HostUses = isUsed ? [new HostUse(HostUseKind.Storage, "sda1 is mounted at /mnt", "umount /mnt")] : [],
                }),
                Groups = world.Host.Groups.SetItem(number, group with { Devices = [.. group.Devices.Add(device.Address).Order()] }),
            },
        };
    }

    private static PciDevice Another(PciDevice device) =>
        device.Serial is { } serial ? device with { Serial = serial + "'" } : device with { DeviceId = (ushort)(device.DeviceId + 1) };

    private World Add(World world, PciDevice mate, Random random)
    {
        var address = new PciAddress(mate.Address.Domain, mate.Address.Bus, (byte)random.Next(8, 16), 0);
        if (world.Host.Devices.ContainsKey(address) || _out.ContainsKey(address))
        {
            return world;
        }

        _groups[address] = _groups[mate.Address];
        return Put(world, mate with { Address = address, Serial = "new" }, random);
    }

    private static bool IsOnVfio(World world, PciAddress device) => world.Host.Devices.TryGetValue(device, out PciDevice? found) && found.Driver == "vfio-pci";
}
