// Which modules a kernel has, built in or to be loaded.

namespace AssignHub.Engine.Host;

/// <summary>Looks modules up in what depmod wrote. A list has a megabyte: it is read once for a module, and again when depmod wrote it anew.</summary>
/// <param name="root">Where the kernels' modules are (<c>/lib/modules</c>); null where there are none.</param>
internal sealed class KernelModules(string? root)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, bool> _known = [];
    private (string Release, DateTime Written) _read;

    /// <summary>Whether a kernel has a module, by its file's name: <c>vfio-pci</c>.</summary>
    public bool Has(string kernelRelease, string module)
    {
        if (root is null || kernelRelease.Length == 0)
        {
            return false;
        }

        string folder = Path.Combine(root, kernelRelease);
        string list = Path.Combine(folder, "modules.dep");
        DateTime written = File.GetLastWriteTimeUtc(list);
        lock (_lock)
        {
            if (_read != (kernelRelease, written))
            {
                _known.Clear();
                _read = (kernelRelease, written);
            }

            if (!_known.TryGetValue(module, out bool found))
            {
                _known[module] = found = Names(list, module) || Names(Path.Combine(folder, "modules.builtin"), module);
            }

            return found;
        }
    }

    // kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/drivers/vfio/pci/vfio-pci-core.ko.xz ...
    private static bool Names(string list, string module)
    {
        if (!File.Exists(list))
        {
            return false;
        }

        string file = $"/{module}.ko";
        foreach (string line in File.ReadLines(list))
        {
            int colon = line.IndexOf(':', StringComparison.Ordinal);
            if (line.AsSpan(0, colon < 0 ? line.Length : colon).Contains(file, StringComparison.Ordinal))
            {
                return true;
            }
        }

        return false;
    }
}
