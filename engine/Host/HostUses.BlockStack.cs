// From a block device up through what is stacked on it: device mapper, md, bcache, loop devices, btrfs, and the mounts and swaps on those.

using System.Text;

namespace AssignHub.Engine.Host;

internal sealed partial class HostUses
{
    /// <summary>One reading of what is stacked on what.</summary>
    private sealed class BlockStack
    {
        private const int MostAbove = 64;
        private readonly SysDir _blocks;
        private readonly HashSet<string> _swaps;
        private readonly Mounts _all;
        private readonly Dictionary<string, List<Mount>> _mounts;
        private readonly Dictionary<string, List<string>> _holders = new(StringComparer.Ordinal);
        private readonly Dictionary<string, string> _loops = new(StringComparer.Ordinal);
        private readonly Dictionary<string, (string Uuid, List<string> Members)> _btrfs = new(StringComparer.Ordinal);

        public BlockStack(string sysfsRoot, SysDir blocks, Mounts mounts, IReadOnlyList<(string Name, string Path)> virtuals)
        {
            _blocks = blocks;
            _all = mounts;
            _swaps = mounts.Swaps;
            ReadVirtuals(virtuals);
            _mounts = ByName(sysfsRoot, mounts.All);
            ReadBtrfs(sysfsRoot);
        }

        public List<HostUse> Uses(string name)
        {
            List<HostUse> found = [];
            Climb(name, name, [], found);
            return found;
        }

        private void Climb(string name, string title, HashSet<string> seen, List<HostUse> found)
        {
            if (!seen.Add(name) || seen.Count > MostAbove)
            {
                return;
            }

            foreach (Mount mount in _mounts.GetValueOrDefault(name) ?? [])
            {
                found.Add(_all.Use(title, mount));
            }

            if (_swaps.Contains(name))
            {
                found.Add(new HostUse(HostUseKind.Storage, $"{title} is swapped on", $"swapoff /dev/{name}"));
            }

            if (_btrfs.TryGetValue(name, out (string Uuid, List<string> Members) file))
            {
                AddBtrfs(name, title, file.Uuid, file.Members, found);
            }

            // What is on top comes first, so that the remedies can be followed in their order: unmounted, then taken apart.
            foreach (string holder in _holders.GetValueOrDefault(name) ?? [])
            {
                (string words, string remedy) = Describe(holder);
                Climb(holder, $"{words} on {title}", seen, found);
                found.Add(new HostUse(HostUseKind.Storage, $"{title} is part of {words}", remedy));
            }

            if (_loops.TryGetValue(name, out string? loop))
            {
                Climb(loop, $"{loop} on {title}", seen, found);
                found.Add(new HostUse(HostUseKind.Storage, $"{title} is behind the loop device {loop}", $"losetup -d /dev/{loop}"));
            }
        }

        private void AddBtrfs(string name, string title, string uuid, List<string> members, List<HostUse> found)
        {
            Mount? mounted = null;
            foreach (string member in members)
            {
                foreach (Mount mount in _mounts.GetValueOrDefault(member) ?? [])
                {
                    mounted = mounted is { } worse && _all.Essential(worse) is not null ? worse : mount;
                }
            }

            if (members.Count > 1 || mounted is null)
            {
                found.Add(new HostUse(
                    HostUseKind.Storage,
                    $"{title} is a member of the btrfs file system {uuid}{(mounted is { } at ? $", which is mounted at {at.MountPoint}" : "")}",
                    mounted is { } held ? _all.Remedy(held) : $"btrfs device scan --forget /dev/{name}")
                { Essential = mounted is { } point ? _all.Essential(point) : null });
            }
        }

        private (string Words, string Remedy) Describe(string holder)
        {
            if (ReadText($"{holder}/dm/name") is { } name)
            {
                string uuid = ReadText($"{holder}/dm/uuid") ?? "";
                if (uuid.StartsWith("LVM-", StringComparison.Ordinal))
                {
                    string volume = LogicalVolume(name);
                    return ($"the logical volume {volume}", $"lvchange -an {volume}");
                }

                return uuid.StartsWith("CRYPT-", StringComparison.Ordinal) ? ($"the encrypted device {name}", $"cryptsetup close {name}")
                    : uuid.StartsWith("mpath-", StringComparison.Ordinal) ? ($"the multipath device {name}", $"multipath -f {name}")
                    : ($"the mapped device {name}", $"dmsetup remove {name}");
            }

            return holder.StartsWith("md", StringComparison.Ordinal) ? ($"the RAID array {holder}", $"mdadm --stop /dev/{holder}")
                : holder.StartsWith("bcache", StringComparison.Ordinal) ? ($"the cache device {holder}", $"echo 1 > /sys/block/{holder}/bcache/stop")
                : ($"the block device {holder}", $"stop /dev/{holder}");
        }

        /// <summary>Device mapper doubles the dashes of a name and joins group and volume with a single one: <c>my--vg-root</c> is my-vg/root.</summary>
        private static string LogicalVolume(string name)
        {
            for (int i = 0; i < name.Length; i++)
            {
                if (name[i] != '-')
                {
                    continue;
                }

                if (i + 1 < name.Length && name[i + 1] == '-')
                {
                    i++;
                    continue;
                }

                return $"{name[..i]}/{name[(i + 1)..]}".Replace("--", "-", StringComparison.Ordinal);
            }

            return name;
        }

        // What is stacked names what it stands on in its slaves folder, the counterpart of holders (bd_link_disk_holder makes both); there are
        // fewer stacks than disks. A loop device over a block device has no such link; loop/backing_file tells.
        private void ReadVirtuals(IReadOnlyList<(string Name, string Path)> virtuals)
        {
            foreach ((string name, string _) in virtuals)
            {
                if (name.StartsWith("loop", StringComparison.Ordinal))
                {
                    if (ReadText($"{name}/loop/backing_file") is { } file && file.StartsWith("/dev/", StringComparison.Ordinal))
                    {
                        _loops[MountText.BaseName(file)] = name;
                    }
                }
                else if (!name.StartsWith("ram", StringComparison.Ordinal))
                {
                    foreach (string lower in _blocks.List($"{name}/slaves"))
                    {
                        AddTo(_holders, lower, name);
                    }
                }
            }
        }

        // Mounts by the name of their block device: the kernel's number leads to it (dev/block/259:1 -> .../nvme0n1p1). File systems with
        // an anonymous number (btrfs) are known by their source, which may be a mapper's name.
        private Dictionary<string, List<Mount>> ByName(string sysfsRoot, List<Mount> all)
        {
            Dictionary<string, List<Mount>> byName = new(StringComparer.Ordinal);
            Dictionary<string, string?> names = new(StringComparer.Ordinal);
            bool known = SysDir.TryOpen(Path.Combine(sysfsRoot, "dev/block"), out SysDir numbers);
            try
            {
                Span<byte> buffer = stackalloc byte[1024];
                foreach (Mount mount in all)
                {
                    string? name;
                    if (mount.Device.StartsWith("0:", StringComparison.Ordinal))
                    {
                        name = mount.Source.StartsWith("/dev/", StringComparison.Ordinal) ? NameOfSource(mount.Source) : null;
                    }
                    else if (!names.TryGetValue(mount.Device, out name))
                    {
                        names[mount.Device] = name = known && numbers.TryReadLink(mount.Device, buffer, out ReadOnlySpan<byte> link)
                            ? Encoding.UTF8.GetString(DeviceReader.LastPart(link))
                            : MountText.BaseName(mount.Source);
                    }

                    if (name is not null)
                    {
                        AddTo(byName, name, mount);
                    }
                }
            }
            finally
            {
                if (known)
                {
                    numbers.Dispose();
                }
            }

            return byName;
        }

        private string NameOfSource(string source)
        {
            string name = MountText.BaseName(source);
            if (source.StartsWith("/dev/mapper/", StringComparison.Ordinal))
            {
                foreach (List<string> holders in _holders.Values)
                {
                    foreach (string holder in holders)
                    {
                        if (ReadText($"{holder}/dm/name") == name)
                        {
                            return holder;
                        }
                    }
                }
            }

            return name;
        }

        // fs/btrfs/UUID/devices/sda1 -> the block device; features and other entries have no such folder.
        private void ReadBtrfs(string sysfsRoot)
        {
            if (!SysDir.TryOpen(Path.Combine(sysfsRoot, "fs/btrfs"), out SysDir dir))
            {
                return;
            }

            using (dir)
            {
                foreach (string uuid in dir.List())
                {
                    List<string> devices = dir.List($"{uuid}/devices");
                    foreach (string device in devices)
                    {
                        _btrfs[device] = (uuid, devices);
                    }
                }
            }
        }

        private string? ReadText(string path)
        {
            Span<byte> buffer = stackalloc byte[512];
            Span<byte> name = stackalloc byte[256];
            return _blocks.TryRead(name[..Encoding.UTF8.GetBytes(path, name)], buffer, out ReadOnlySpan<byte> text) ? Encoding.UTF8.GetString(text) : null;
        }
    }

    private static void AddTo<T>(Dictionary<string, List<T>> lists, string key, T value)
    {
        if (!lists.TryGetValue(key, out List<T>? list))
        {
            lists.Add(key, list = []);
        }

        list.Add(value);
    }
}
