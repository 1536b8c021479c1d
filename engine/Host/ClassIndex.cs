// Which PCI function each entry of a device class (class/block, class/net) stands below. The links are read once and kept for as long as
// the class's directory reads the same, so that looking at one device does not cost a call for every disk and interface of the host.

using System.Buffers;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>What a class held when it was read.</summary>
/// <param name="ByFunction">Names by the function that they stand below.</param>
/// <param name="Others">Names that stand below no PCI function, with where their link points to.</param>
internal sealed record ClassEntries(
    IReadOnlyDictionary<PciAddress, List<string>> ByFunction, IReadOnlyList<(string Name, string Path)> Others);

/// <summary>Reads one class. Safe to use from several threads.</summary>
/// <param name="path">The class's directory.</param>
/// <param name="time">Its clock tells how old a change is.</param>
internal sealed class ClassIndex(string path, TimeProvider time)
{
    // File systems stamp changes with the time of the last timer tick: what changed this lately may have changed again unseen.
    private static readonly TimeSpan Settled = TimeSpan.FromMilliseconds(50);
    private static readonly ClassEntries Nothing = new(new Dictionary<PciAddress, List<string>>(), []);
    private Snapshot? _last;

    /// <summary>The class as it is now.</summary>
    /// <exception cref="HostFault">It is there and cannot be read.</exception>
    public ClassEntries Read()
    {
        if (!SysDir.TryOpen(path, out SysDir dir))
        {
            return Nothing;
        }

        using (dir)
        {
            byte[] buffer = ArrayPool<byte>.Shared.Rent(64 << 10);
            try
            {
                // Before the entries, so that a change between the two readings is not taken for an older one.
                DateTimeOffset? changed = dir.IsSysfs() ? null : dir.Changed();
                int length = dir.ReadEntries(".", ref buffer);
                ReadOnlySpan<byte> raw = buffer.AsSpan(0, length);
                if (Volatile.Read(ref _last) is { } last && last.Changed == changed && raw.SequenceEqual(last.Raw))
                {
                    return last.Entries;
                }

                ClassEntries entries = Resolve(dir, raw);
                // In sysfs an entry's inode number is its own for good (kernfs numbers nodes in turn, 64 bits), so that equal entries are the
                // same ones; times say nothing there. Elsewhere a number may be used again, but the directory's time tells.
                if (changed is null || time.GetUtcNow() - changed > Settled)
                {
                    Volatile.Write(ref _last, new Snapshot(raw.ToArray(), changed, entries));
                }

                return entries;
            }
            finally
            {
                ArrayPool<byte>.Shared.Return(buffer);
            }
        }
    }

    private static ClassEntries Resolve(SysDir dir, ReadOnlySpan<byte> raw)
    {
        List<string> names = [];
        SysDir.AddNames(raw, names);
        Dictionary<PciAddress, List<string>> byFunction = [];
        List<(string Name, string Path)> others = [];
        Span<byte> buffer = stackalloc byte[1024];
        foreach (string name in names)
        {
            if (!dir.TryReadLink(name, buffer, out ReadOnlySpan<byte> target))
            {
                continue;
            }

            if (!TryLastFunction(target, out PciAddress function))
            {
                others.Add((name, System.Text.Encoding.UTF8.GetString(target)));
                continue;
            }

            if (!byFunction.TryGetValue(function, out List<string>? list))
            {
                byFunction.Add(function, list = new List<string>(1));
            }

            list.Add(name);
        }

        return new ClassEntries(byFunction, others);
    }

    /// <summary>The last PCI function on a path: what stands below it is its doing (a USB disk is its host controller's).</summary>
    internal static bool TryLastFunction(ReadOnlySpan<byte> path, out PciAddress address)
    {
        while (!path.IsEmpty)
        {
            if (DeviceReader.TryAddress(DeviceReader.LastPart(path), out address))
            {
                return true;
            }

            int slash = path.LastIndexOf((byte)'/');
            path = slash < 0 ? default : path[..slash];
        }

        address = default;
        return false;
    }

    private sealed record Snapshot(byte[] Raw, DateTimeOffset? Changed, ClassEntries Entries);
}
