// Reads the host: the whole of it at start and on a rescan, and what a change touched after each step.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Host;

/// <summary>
/// Observes a host through its sysfs and /proc. It keeps nothing but what cannot change while a device stays in place. Scans may run at
/// the same time from several threads.
/// </summary>
public sealed class HostScanner
{
    // Below this a second thread costs more than it saves.
    private const int ParallelFrom = 96;

    private readonly string _procRoot;
    private readonly TimeProvider _time;
    private readonly DeviceReader _devices;
    private readonly GuardedReads _guarded;
    private readonly GroupReader _groups;
    private readonly HostUses _uses;
    private readonly VfioSupportReader _vfio;

    /// <summary>Makes a scanner of a host.</summary>
    /// <param name="host">Where sysfs, /proc and the device files are, or trees that look like them.</param>
    /// <param name="time">The clock of <see cref="HostState.ReadAt"/>.</param>
    /// <param name="modulesRoot">Where the kernel's modules are (<c>/lib/modules</c>); null for a synthetic host: nothing can be loaded there.</param>
    /// <param name="dataDirectory">Where this service keeps its data, if it does: the file system that holds it is essential.</param>
    public HostScanner(VfioHost host, TimeProvider time, string? modulesRoot = null, string? dataDirectory = null)
    {
        ArgumentNullException.ThrowIfNull(host);
        _procRoot = host.ProcRoot;
        _time = time;
        NameTable names = new();
        _devices = new DeviceReader(host.SysfsRoot, names);
        _guarded = new GuardedReads(_devices.DevicesPath, names);
        _groups = new GroupReader(host.SysfsRoot, names);
        _uses = new HostUses(host.SysfsRoot, host.ProcRoot, time, dataDirectory);
        _vfio = new VfioSupportReader(host, modulesRoot);
    }

    /// <summary>Reads everything. <see cref="HostState.Holders"/> is left empty: see <see cref="GroupHolders"/>.</summary>
    /// <exception cref="HostFault">Something of the host is there and cannot be read.</exception>
    public HostState Scan()
    {
        DateTimeOffset now = _time.GetUtcNow();
        string kernel = ReadLine("sys/kernel/osrelease");
        string commandLine = ReadLine("cmdline");
        PciDevice[] devices = ReadAll();
        Dictionary<PciAddress, List<HostUse>> uses = _uses.Read(devices);
        ImmutableSortedDictionary<PciAddress, PciDevice>.Builder map = ImmutableSortedDictionary.CreateBuilder<PciAddress, PciDevice>();
        SortedDictionary<int, ImmutableArray<PciAddress>.Builder> members = [];
        foreach (PciDevice device in devices)
        {
            map.Add(device.Address, uses.TryGetValue(device.Address, out List<HostUse>? found) ? device with { HostUses = [.. found] } : device);
            if (device.Group is { } group)
            {
                if (!members.TryGetValue(group, out ImmutableArray<PciAddress>.Builder? list))
                {
                    members.Add(group, list = ImmutableArray.CreateBuilder<PciAddress>(1));
                }

                list.Add(device.Address);
            }
        }

        _devices.Keep(map);
        ImmutableSortedDictionary<int, IommuGroup> groups = ReadGroups(members);
        return new HostState
        {
            Host = ReadLine("sys/kernel/hostname"),
            ReadAt = now,
            KernelRelease = kernel,
            KernelCommandLine = commandLine,
            Devices = map.ToImmutable(),
            Groups = groups,
            Vfio = _vfio.Read(groups.Values.Any(group => !group.NoIommu), kernel, commandLine),
        };
    }

    /// <summary>
    /// Reads again what can have changed of some devices: presence, driver, override, group, VFs, use by the host. Members of their groups
    /// that came or went are found too. All else is taken over from <paramref name="previous"/>.
    /// </summary>
    /// <param name="previous">The last reading.</param>
    /// <param name="devices">The devices that were touched.</param>
    /// <exception cref="HostFault">Something of the host is there and cannot be read.</exception>
    public HostState Refresh(HostState previous, IEnumerable<PciAddress> devices)
    {
        ArgumentNullException.ThrowIfNull(previous);
        ArgumentNullException.ThrowIfNull(devices);
        DateTimeOffset now = _time.GetUtcNow();
        SortedSet<int> touched = [];
        Dictionary<PciAddress, PciDevice?> read = [];
        bool anyGroups = SysDir.TryOpen(_groups.GroupsPath, out SysDir groupDir);
        try
        {
            if (SysDir.TryOpen(_devices.DevicesPath, out SysDir deviceDir))
            {
                using (deviceDir)
                {
                    foreach (PciAddress address in devices)
                    {
                        ReadWithGroup(previous, deviceDir, address, read, touched, anyGroups ? groupDir : null);
                    }
                }
            }

            ImmutableSortedDictionary<PciAddress, PciDevice>.Builder map = previous.Devices.ToBuilder();
            Merge(read, map);
            ImmutableSortedDictionary<int, IommuGroup>.Builder groups = previous.Groups.ToBuilder();
            foreach (int number in touched)
            {
                ImmutableArray<PciAddress> members = anyGroups ? GroupReader.ReadMembers(groupDir, number) : [];
                if (members.IsEmpty || _groups.Read(groupDir, number, members) is not { } group)
                {
                    groups.Remove(number);
                    continue;
                }

                groups[number] = group;
            }

            return previous with
            {
                ReadAt = now,
                Devices = map.ToImmutable(),
                Groups = groups.ToImmutable(),
                // What VFIO offers is known only once it is loaded, and a claim loads it.
                Vfio = previous.Vfio.Backend is null ? _vfio.Read(groups.Values.Any(group => !group.NoIommu), previous.KernelRelease, previous.KernelCommandLine) : previous.Vfio,
            };
        }
        finally
        {
            if (anyGroups)
            {
                groupDir.Dispose();
            }
        }
    }

    private void ReadWithGroup(
        HostState previous, SysDir deviceDir, PciAddress address, Dictionary<PciAddress, PciDevice?> read, SortedSet<int> touched, SysDir? groupDir)
    {
        if (!read.TryAdd(address, null))
        {
            return;
        }

        PciDevice? device = read[address] = _devices.Read(deviceDir, address);
        if (previous.Devices.GetValueOrDefault(address)?.Group is { } before)
        {
            touched.Add(before);
        }

        if (device?.Group is not { } group)
        {
            return;
        }

        touched.Add(group);
        if (groupDir is { } dir)
        {
            foreach (PciAddress member in GroupReader.ReadMembers(dir, group))
            {
                if (previous.Devices.GetValueOrDefault(member)?.Group != group && read.TryAdd(member, null))
                {
                    read[member] = _devices.Read(deviceDir, member);
                }
            }
        }
    }

    private void Merge(Dictionary<PciAddress, PciDevice?> read, ImmutableSortedDictionary<PciAddress, PciDevice>.Builder map)
    {
        List<PciAddress> addresses = new(read.Count);
        foreach ((PciAddress address, PciDevice? device) in read)
        {
            if (device is not null)
            {
                addresses.Add(address);
            }
        }

        Guarded[] guarded = addresses.Count == 0 ? [] : StartGuarded(addresses).Wait();
        int answer = 0;
        List<PciDevice> present = new(read.Count);
        foreach ((PciAddress address, PciDevice? device) in read)
        {
            if (device is null)
            {
                map.Remove(address);
            }
            else
            {
                present.Add(_devices.Complete(device, guarded[answer++]));
            }
        }

        Dictionary<PciAddress, List<HostUse>> uses = _uses.Read(present);
        foreach (PciDevice device in present)
        {
            map[device.Address] = uses.TryGetValue(device.Address, out List<HostUse>? found) ? device with { HostUses = [.. found] } : device;
        }
    }

    private PciDevice[] ReadAll()
    {
        if (!SysDir.TryOpen(_devices.DevicesPath, out SysDir dir))
        {
            return [];
        }

        using (dir)
        {
            List<string> entries = dir.List();
            List<PciAddress> addresses = new(entries.Count);
            foreach (string entry in entries)
            {
                if (PciAddress.TryParse(entry, out PciAddress address))
                {
                    addresses.Add(address);
                }
            }

            addresses.Sort();
            GuardedReads.Batch guarded = StartGuarded(addresses);
            PciDevice?[] read = new PciDevice?[addresses.Count];
            if (read.Length < ParallelFrom)
            {
                for (int i = 0; i < read.Length; i++)
                {
                    read[i] = _devices.Read(dir, addresses[i]);
                }
            }
            else
            {
                SysDir shared = dir;
                ForChunks(read.Length, i => read[i] = _devices.Read(shared, addresses[i]));
            }

            Guarded[] answers = guarded.Wait();
            for (int i = 0; i < read.Length; i++)
            {
                if (read[i] is { } device)
                {
                    read[i] = _devices.Complete(device, answers[i]);
                }
            }

            return Compact(read);
        }
    }

    private GuardedReads.Batch StartGuarded(List<PciAddress> addresses)
    {
        (PciAddress Address, bool MayHaveVfs)[] devices = new (PciAddress Address, bool MayHaveVfs)[addresses.Count];
        for (int i = 0; i < devices.Length; i++)
        {
            devices[i] = _devices.ToGuard(addresses[i]);
        }

        return _guarded.Start(devices);
    }

    private ImmutableSortedDictionary<int, IommuGroup> ReadGroups(SortedDictionary<int, ImmutableArray<PciAddress>.Builder> members)
    {
        ImmutableSortedDictionary<int, IommuGroup>.Builder groups = ImmutableSortedDictionary.CreateBuilder<int, IommuGroup>();
        if (members.Count == 0 || !SysDir.TryOpen(_groups.GroupsPath, out SysDir dir))
        {
            return groups.ToImmutable();
        }

        using (dir)
        {
            int[] numbers = new int[members.Count];
            members.Keys.CopyTo(numbers, 0);
            IommuGroup?[] read = new IommuGroup?[numbers.Length];
            SysDir shared = dir;
            if (read.Length < ParallelFrom)
            {
                for (int i = 0; i < read.Length; i++)
                {
                    read[i] = _groups.Read(dir, numbers[i], members[numbers[i]].ToImmutable());
                }
            }
            else
            {
                ForChunks(read.Length, i => read[i] = _groups.Read(shared, numbers[i], members[numbers[i]].ToImmutable()));
            }

            foreach (IommuGroup? group in read)
            {
                if (group is not null)
                {
                    groups.Add(group.Number, group);
                }
            }

            return groups.ToImmutable();
        }
    }

    private static void ForChunks(int count, Action<int> body)
    {
        const int Chunk = 32;
        try
        {
            Parallel.For(0, (count + Chunk - 1) / Chunk, chunk =>
            {
                int end = Math.Min(count, (chunk + 1) * Chunk);
                for (int i = chunk * Chunk; i < end; i++)
                {
                    body(i);
                }
            });
        }
        catch (AggregateException failed) when (failed.InnerExceptions[0] is HostFault fault)
        {
            // Callers deal with a HostFault; the first of several tells enough, and it carries the rest.
            throw new HostFault(fault.Operation, fault.Subject, fault.Errno, null, failed);
        }
    }

    private static PciDevice[] Compact(PciDevice?[] read)
    {
        int kept = 0;
        foreach (PciDevice? device in read)
        {
            if (device is not null)
            {
                read[kept++] = device;
            }
        }

        return (PciDevice[])(object)read[..kept]!;
    }

    private string ReadLine(string name) => SysDir.ReadText(Path.Combine(_procRoot, name))?.Trim() ?? "";
}
