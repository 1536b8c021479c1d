// What the host does with block devices: mounts, swap, and whatever is stacked on them (device mapper, md, bcache, loop, btrfs members).

using System.Text;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

internal sealed partial class HostUses
{
    private const int DeepestStack = 16;

    private void ReadBlocks(Dictionary<PciAddress, PciDevice> driven, Mounts mounts, Dictionary<PciAddress, List<HostUse>> uses)
    {
        if (!SysDir.TryOpen(Path.Combine(sysfsRoot, "class/block"), out SysDir blocks))
        {
            return;
        }

        using (blocks)
        {
            Span<byte> buffer = stackalloc byte[1024];
            List<(string Name, PciAddress Owner)> found = [];
            List<string> loops = [];
            foreach (string name in blocks.List())
            {
                if (!blocks.TryReadLink(name, buffer, out ReadOnlySpan<byte> path))
                {
                    continue;
                }

                if (TryLastFunction(path, out PciAddress owner))
                {
                    if (driven.ContainsKey(owner))
                    {
                        found.Add((name, owner));
                    }
                }
                else if (path.IndexOf("/nvme-subsystem/"u8) is >= 0 and int at)
                {
                    foreach (PciAddress controller in SubsystemControllers(path[(at + "/nvme-subsystem/"u8.Length)..]))
                    {
                        if (driven.ContainsKey(controller))
                        {
                            found.Add((name, controller));
                        }
                    }
                }
                else if (name.StartsWith("loop", StringComparison.Ordinal))
                {
                    loops.Add(name);
                }
            }

            if (found.Count == 0)
            {
                return;
            }

            BlockStack stack = new(sysfsRoot, blocks, mounts, loops);
            foreach ((string name, PciAddress owner) in found)
            {
                foreach (HostUse use in stack.Uses(name))
                {
                    Add(uses, owner, use);
                }
            }
        }
    }

    // With native multipath the kernel hangs a namespace's disk below a virtual subsystem, which links to its controllers:
    // devices/virtual/nvme-subsystem/nvme-subsys0/nvme0 -> ../../../../pci0000:00/0000:00:04.0/nvme/nvme0.
    private List<PciAddress> SubsystemControllers(ReadOnlySpan<byte> path)
    {
        List<PciAddress> controllers = [];
        int slash = path.IndexOf((byte)'/');
        string subsystem = Encoding.UTF8.GetString(slash < 0 ? path : path[..slash]);
        if (!SysDir.TryOpen(Path.Combine(sysfsRoot, "devices/virtual/nvme-subsystem", subsystem), out SysDir dir))
        {
            return controllers;
        }

        using (dir)
        {
            Span<byte> buffer = stackalloc byte[512];
            foreach (string name in dir.List())
            {
                if (name.StartsWith("nvme", StringComparison.Ordinal) && dir.TryReadLink(name, buffer, out ReadOnlySpan<byte> target)
                    && TryLastFunction(target, out PciAddress controller))
                {
                    controllers.Add(controller);
                }
            }
        }

        return controllers;
    }

    /// <summary>Walks from a block device up through what is stacked on it.</summary>
    private sealed class BlockStack(string sysfsRoot, SysDir blocks, Mounts mounts, List<string> loops)
    {
        private readonly Dictionary<string, List<Mount>> _byDevice = Group(mounts.All, static mount => mount.Device);
        private readonly Dictionary<string, List<Mount>> _bySource = Group(mounts.All, static mount => MountText.BaseName(mount.Source));
        private readonly Dictionary<string, (string Uuid, List<string> Members)> _btrfs = ReadBtrfs(sysfsRoot);
        private readonly Dictionary<string, string> _loopOf = ReadLoops(blocks, loops);

        public List<HostUse> Uses(string name)
        {
            List<HostUse> found = [];
            Climb(name, name, [], found);
            return found;
        }

        private void Climb(string name, string title, HashSet<string> seen, List<HostUse> found)
        {
            if (!seen.Add(name) || seen.Count > DeepestStack * 4)
            {
                return;
            }

            string? mapped = ReadText($"{name}/dm/name");
            foreach (Mount mount in MountsOf(name, mapped))
            {
                found.Add(MountUse(title, mount));
            }

            if (mounts.Swaps.Contains(name) || (mapped is not null && mounts.Swaps.Contains(mapped)))
            {
                found.Add(new HostUse(HostUseKind.Storage, $"{title} is swapped on", $"swapoff /dev/{name}"));
            }

            if (_btrfs.TryGetValue(name, out (string Uuid, List<string> Members) file))
            {
                AddBtrfs(name, title, file.Uuid, file.Members, found);
            }

            foreach (string holder in blocks.List($"{name}/holders"))
            {
                (string words, string remedy) = Describe(holder);
                found.Add(new HostUse(HostUseKind.Storage, $"{title} is part of {words}", remedy));
                Climb(holder, $"{words} on {title}", seen, found);
            }

            if (_loopOf.TryGetValue(name, out string? loop))
            {
                found.Add(new HostUse(HostUseKind.Storage, $"{title} is behind the loop device {loop}", $"losetup -d /dev/{loop}"));
                Climb(loop, $"{loop} on {title}", seen, found);
            }
        }

        private IEnumerable<Mount> MountsOf(string name, string? mapped)
        {
            if (ReadText($"{name}/dev") is { } number && _byDevice.TryGetValue(number, out List<Mount>? byNumber))
            {
                return byNumber;
            }

            // btrfs mounts show an anonymous number, so there the source tells.
            List<Mount>? bySource = _bySource.GetValueOrDefault(name) ?? (mapped is null ? null : _bySource.GetValueOrDefault(mapped));
            return bySource is null ? [] : bySource.Where(static mount => mount.Device.StartsWith("0:", StringComparison.Ordinal)
                && mount.Source.StartsWith("/dev/", StringComparison.Ordinal));
        }

        private void AddBtrfs(string name, string title, string uuid, List<string> members, List<HostUse> found)
        {
            string? point = null;
            foreach (string member in members)
            {
                if (MountsOf(member, ReadText($"{member}/dm/name")).FirstOrDefault() is { MountPoint: not null } mount)
                {
                    point = point == "/" ? point : mount.MountPoint;
                }
            }

            if (members.Count > 1 || point is null)
            {
                found.Add(new HostUse(
                    HostUseKind.Storage,
                    $"{title} is a member of the btrfs file system {uuid}{(point is null ? "" : $", which is mounted at {point}")}",
                    point is null ? $"btrfs device scan --forget /dev/{name}" : $"umount {point}")
                { IsRootFilesystem = point == "/" });
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

        // Device mapper doubles the dashes of a name and joins group and volume with a single one: my--vg-root is my-vg/root.
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

        private string? ReadText(string path)
        {
            Span<byte> buffer = stackalloc byte[512];
            Span<byte> name = stackalloc byte[256];
            return blocks.TryRead(name[..Encoding.UTF8.GetBytes(path, name)], buffer, out ReadOnlySpan<byte> text) ? Encoding.UTF8.GetString(text) : null;
        }

        // fs/btrfs/UUID/devices/sda1 -> the block device; features and other entries have no such folder.
        private static Dictionary<string, (string Uuid, List<string> Members)> ReadBtrfs(string sysfsRoot)
        {
            Dictionary<string, (string Uuid, List<string> Members)> members = new(StringComparer.Ordinal);
            if (!SysDir.TryOpen(Path.Combine(sysfsRoot, "fs/btrfs"), out SysDir dir))
            {
                return members;
            }

            using (dir)
            {
                foreach (string uuid in dir.List())
                {
                    List<string> devices = dir.List($"{uuid}/devices");
                    foreach (string device in devices)
                    {
                        members[device] = (uuid, devices);
                    }
                }
            }

            return members;
        }

        // A loop device over a block device is not among its holders; loop/backing_file says what it stands on.
        private static Dictionary<string, string> ReadLoops(SysDir blocks, List<string> loops)
        {
            Dictionary<string, string> loopOf = new(StringComparer.Ordinal);
            Span<byte> buffer = stackalloc byte[512];
            foreach (string loop in loops)
            {
                if (blocks.TryRead(Encoding.UTF8.GetBytes($"{loop}/loop/backing_file"), buffer, out ReadOnlySpan<byte> text) && text.StartsWith("/dev/"u8))
                {
                    loopOf[Encoding.UTF8.GetString(DeviceReader.LastPart(text))] = loop;
                }
            }

            return loopOf;
        }

        private static Dictionary<string, List<Mount>> Group(List<Mount> all, Func<Mount, string> key)
        {
            Dictionary<string, List<Mount>> groups = new(StringComparer.Ordinal);
            foreach (Mount mount in all)
            {
                if (!groups.TryGetValue(key(mount), out List<Mount>? list))
                {
                    groups.Add(key(mount), list = []);
                }

                list.Add(mount);
            }

            return groups;
        }
    }
}
