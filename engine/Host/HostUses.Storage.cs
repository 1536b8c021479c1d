// What the host does with block devices: mounts, swap, and whatever is stacked on them (device mapper, md, bcache, loop, btrfs members).

using System.Text;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

internal sealed partial class HostUses
{
    private const int DeepestStack = 16;

    private void ReadBlocks(Dictionary<PciAddress, PciDevice> driven, Mounts mounts, Dictionary<PciAddress, List<HostUse>> uses)
    {
        ClassEntries entries = _blocks.Read();
        List<(string Name, PciAddress Owner)> found = [];
        foreach (PciAddress owner in driven.Keys)
        {
            if (entries.ByFunction.TryGetValue(owner, out List<string>? names))
            {
                foreach (string name in names)
                {
                    found.Add((name, owner));
                }
            }
        }

        foreach ((string name, string path) in entries.Others)
        {
            const string Subsystems = "/nvme-subsystem/";
            int at = path.IndexOf(Subsystems, StringComparison.Ordinal);
            if (at >= 0)
            {
                foreach (PciAddress controller in SubsystemControllers(path.AsSpan(at + Subsystems.Length)))
                {
                    if (driven.ContainsKey(controller))
                    {
                        found.Add((name, controller));
                    }
                }
            }
        }

        if (found.Count == 0 || !SysDir.TryOpen(Path.Combine(sysfsRoot, "class/block"), out SysDir blocks))
        {
            return;
        }

        using (blocks)
        {
            BlockStack stack = new(sysfsRoot, blocks, mounts, entries.Others);
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
    private List<PciAddress> SubsystemControllers(ReadOnlySpan<char> path)
    {
        List<PciAddress> controllers = [];
        int slash = path.IndexOf('/');
        string subsystem = (slash < 0 ? path : path[..slash]).ToString();
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
                    && ClassIndex.TryLastFunction(target, out PciAddress controller))
                {
                    controllers.Add(controller);
                }
            }
        }

        return controllers;
    }
}
