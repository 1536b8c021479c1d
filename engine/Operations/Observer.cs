// Keeps the last observation of the host and renews as much of it as a decision needs.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Engine.Operations;

/// <summary>What is, as last observed. Reads are served from it; decisions renew what they look at first.</summary>
public sealed class Observer(HostScanner scanner, DoctorReader doctor, GroupHolders holders, OpenDeviceFiles files, GuestSupervisor guests, Ledger ledger)
{
    private readonly Lock _gate = new();
    private readonly Lock _examining = new();
    private World? _last;
    private HostFacts? _facts;

    /// <summary>The world as last observed, with what is asked for now.</summary>
    public World World => (Volatile.Read(ref _last) ?? Scan()) with { Inventory = ledger.Inventory };

    /// <summary>What the host brings along beyond its devices, as read when it was first asked for, or by <see cref="Examine"/> since.</summary>
    public HostFacts Facts
    {
        get
        {
            if (Volatile.Read(ref _facts) is { } known)
            {
                return known;
            }

            // QEMU is asked for it, which takes a moment: who comes meanwhile waits for the same answer.
            lock (_examining)
            {
                return _facts ?? Examine();
            }
        }
    }

    /// <summary>Reads anew what the host brings along beyond its devices.</summary>
    public HostFacts Examine()
    {
        lock (_examining)
        {
            HostFacts facts = doctor.Read();
            Volatile.Write(ref _facts, facts);
            return facts;
        }
    }

    /// <summary>Reads the whole host again.</summary>
    public World Scan()
    {
        HostState host = scanner.Scan();
        host = host with { Holders = Foreign(host) };
        lock (_gate)
        {
            return _last = new World(host, ledger.Inventory) { Guests = _last?.Guests ?? ImmutableDictionary<string, GuestView>.Empty };
        }
    }

    /// <summary>Renews all that the decision of a change looks at: its devices, their groups and who holds them, and its guests.</summary>
    public Task<World> ObserveAsync(Change change, CancellationToken cancellation) => ObserveAsync(change, withProcesses: true, cancellation);

    /// <summary>Renews what a change touched. Who holds files is not looked for: nothing is decided by it that takes from anyone.</summary>
    public Task<World> ObserveAgainAsync(Change change, CancellationToken cancellation) => ObserveAsync(change, withProcesses: false, cancellation);

    /// <summary>Renews what is known of one guest's process.</summary>
    /// <exception cref="QemuException">It lives and does not answer.</exception>
    public async Task<World> ObserveAsync(Guest guest, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(guest);
        GuestView? view = await guests.ViewAsync(guest, cancellation).ConfigureAwait(false);
        lock (_gate)
        {
            World last = World;
            return _last = last with { Guests = view is null ? last.Guests.Remove(guest.Name) : last.Guests.SetItem(guest.Name, view) };
        }
    }

    private async Task<World> ObserveAsync(Change change, bool withProcesses, CancellationToken cancellation)
    {
        World last = World;
        ImmutableArray<PciAddress> devices = Scope.DevicesOf(last, change);
        if (Scope.IsWholeHost(change) || devices.Any(device => !last.Host.Devices.ContainsKey(device)))
        {
            // Named, but not known: it may have been plugged since.
            last = Scan();
            devices = Scope.DevicesOf(last, change);
        }

        HostState host = scanner.Refresh(last.Host, devices);
        if (withProcesses)
        {
            host = AddOpenFiles(host, devices, cancellation);
        }

        if (withProcesses && Scope.AsksForHolders(last with { Host = host }, change, devices))
        {
            host = host with { Holders = Foreign(host) };
        }

        ImmutableDictionary<string, GuestView> views = last.Guests;
        ImmutableArray<string> concerned = Scope.GuestsOf(last, change);
        foreach (string name in concerned)
        {
            GuestView? view = last.Inventory.Guests.TryGetValue(name, out Guest? guest)
                ? await guests.ViewAsync(guest, cancellation).ConfigureAwait(false)
                : null;
            views = view is null ? views.Remove(name) : views.SetItem(name, view);
        }

        lock (_gate)
        {
            // Two decisions renew different parts at the same time: each puts in its own.
            HostState merged = Merge(_last?.Host ?? host, host, devices);
            ImmutableDictionary<string, GuestView> known = _last?.Guests ?? views;
            foreach (string touched in concerned)
            {
                known = views.TryGetValue(touched, out GuestView? view) ? known.SetItem(touched, view) : known.Remove(touched);
            }

            return _last = new World(merged, ledger.Inventory) { Guests = known };
        }
    }

    /// <summary>Adds the uses that only a walk through all processes shows.</summary>
    private HostState AddOpenFiles(HostState host, ImmutableArray<PciAddress> devices, CancellationToken cancellation)
    {
        IEnumerable<PciDevice> known = devices.Where(host.Devices.ContainsKey).Select(address => host.Devices[address]);
        ImmutableSortedDictionary<PciAddress, PciDevice> all = host.Devices;
        foreach ((PciAddress address, IReadOnlyList<HostUse> uses) in files.Find(known, cancellation))
        {
            all = all.SetItem(address, all[address] with { HostUses = [.. all[address].HostUses, .. uses] });
        }

        return host with { Devices = all };
    }

    /// <summary>Holders of groups that are neither a guest of ours nor this service.</summary>
    private ImmutableDictionary<int, GroupHolder> Foreign(HostState host)
    {
        if (!host.Devices.Values.Any(device => VfioDrivers.IsVfio(device.Driver)))
        {
            return ImmutableDictionary<int, GroupHolder>.Empty;
        }

        HashSet<int> ours = [Environment.ProcessId, .. ledger.Inventory.Guests.Values.Select(guest => guest.Process?.Pid ?? 0), .. guests.Pids];
        return holders.Find(host, CancellationToken.None).Where(holder => !ours.Contains(holder.Value.Pid)).ToImmutableDictionary();
    }

    /// <summary>Puts what was renewed into what is known: the devices, and the groups that they were in or are in, with their members.</summary>
    private static HostState Merge(HostState current, HostState renewed, ImmutableArray<PciAddress> devices)
    {
        ImmutableSortedDictionary<PciAddress, PciDevice>.Builder map = current.Devices.ToBuilder();
        ImmutableSortedDictionary<int, IommuGroup>.Builder groups = current.Groups.ToBuilder();
        IEnumerable<int> touched = devices.SelectMany(address => (int?[])[current.Devices.GetValueOrDefault(address)?.Group, renewed.Devices.GetValueOrDefault(address)?.Group])
            .OfType<int>().Distinct();
        HashSet<PciAddress> seen = [.. devices];
        foreach (int number in touched)
        {
            if (renewed.Groups.TryGetValue(number, out IommuGroup? group))
            {
                groups[number] = group;
                seen.UnionWith(group.Devices);
            }
            else
            {
                groups.Remove(number);
            }
        }

        foreach (PciAddress address in seen)
        {
            if (renewed.Devices.TryGetValue(address, out PciDevice? device))
            {
                map[address] = device;
            }
            else
            {
                map.Remove(address);
            }
        }

        return current with { ReadAt = renewed.ReadAt, Devices = map.ToImmutable(), Groups = groups.ToImmutable(), Holders = renewed.Holders };
    }
}
