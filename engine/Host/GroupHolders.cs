// Who holds VFIO's device files open: group files (/dev/vfio/N, /dev/vfio/noiommu-N) and device files (/dev/vfio/devices/vfioN). It walks
// every process's fds, so it is asked for on demand and not with every reading.

using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>Finds the processes that hold groups. Needs root (or CAP_SYS_PTRACE) to see those of others.</summary>
/// <param name="procRoot">Where /proc is mounted.</param>
/// <param name="devRoot">Where the device files are; the links in /proc name files by their path there.</param>
public sealed class GroupHolders(string procRoot, string devRoot)
{
    // A process with more is not QEMU, and none that gets VFIO files; the bound keeps a scan short.
    private const int MostFds = 16_384;

    /// <summary>The holder of each group that has one.</summary>
    /// <param name="state">The devices and groups, by which device files are known.</param>
    /// <param name="cancellation">Ends the search early.</param>
    /// <exception cref="HostFault">/proc cannot be read.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellation"/> fired.</exception>
    public ImmutableDictionary<int, GroupHolder> Find(HostState state, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(state);
        Dictionary<string, int> groupOf = new(StringComparer.Ordinal);
        foreach (PciDevice device in state.Devices.Values)
        {
            if (device is { VfioDevice: { } name, Group: { } group })
            {
                groupOf[name] = group;
            }
        }

        ImmutableDictionary<int, GroupHolder>.Builder holders = ImmutableDictionary.CreateBuilder<int, GroupHolder>();
        string prefix = Path.Combine(devRoot, "vfio") + "/";
        Walk(prefix, (process, file) =>
        {
            if (TryGroup(file, groupOf, out int group) && !holders.ContainsKey(group))
            {
                holders.Add(group, new GroupHolder(process, Command(process)));
            }
        }, cancellation);
        return holders.ToImmutable();
    }

    /// <summary>Counts the files below <c>/dev/vfio</c> and the <c>/dev/iommu</c> fds that one process holds, by path.</summary>
    /// <param name="pid">The process.</param>
    /// <returns>Path to number of fds; empty if the process is gone or may not be looked at.</returns>
    /// <exception cref="HostFault">/proc cannot be read.</exception>
    public ImmutableDictionary<string, int> FilesOf(int pid)
    {
        ImmutableDictionary<string, int>.Builder files = ImmutableDictionary.CreateBuilder<string, int>(StringComparer.Ordinal);
        string vfio = Path.Combine(devRoot, "vfio") + "/";
        string iommu = Path.Combine(devRoot, "iommu");
        foreach (string file in LinksOf(pid.ToString(CultureInfo.InvariantCulture)))
        {
            if (file.StartsWith(vfio, StringComparison.Ordinal) || file == iommu)
            {
                files[file] = files.GetValueOrDefault(file) + 1;
            }
        }

        return files.ToImmutable();
    }

    /// <summary>The processes that hold any of these files open, by path.</summary>
    /// <param name="paths">Absolute paths, as the links in /proc name files.</param>
    /// <param name="cancellation">Ends the search early.</param>
    /// <exception cref="HostFault">/proc cannot be read.</exception>
    internal List<(string Path, GroupHolder Holder)> FindFiles(IReadOnlySet<string> paths, CancellationToken cancellation)
    {
        List<(string Path, GroupHolder Holder)> found = [];
        Walk("", (process, file) =>
        {
            if (paths.Contains(file))
            {
                found.Add((file, new GroupHolder(process, Command(process))));
            }
        }, cancellation);
        return found;
    }

    /// <summary>Which group a file below <c>/dev/vfio</c> stands for: <c>7</c>, <c>noiommu-7</c> or <c>devices/vfio0</c>.</summary>
    internal static bool TryGroup(string file, IReadOnlyDictionary<string, int> groupOf, out int group)
    {
        const string NoIommu = "noiommu-";
        const string Device = "devices/";
        if (file.StartsWith(Device, StringComparison.Ordinal))
        {
            return groupOf.TryGetValue(file[Device.Length..], out group);
        }

        string number = file.StartsWith(NoIommu, StringComparison.Ordinal) ? file[NoIommu.Length..] : file;
        return int.TryParse(number, NumberStyles.None, CultureInfo.InvariantCulture, out group);
    }

    private void Walk(string prefix, Action<int, string> visit, CancellationToken cancellation)
    {
        if (!SysDir.TryOpen(procRoot, out SysDir proc))
        {
            return;
        }

        List<string> entries;
        using (proc)
        {
            entries = proc.List();
        }

        foreach (string entry in entries)
        {
            if (!int.TryParse(entry, NumberStyles.None, CultureInfo.InvariantCulture, out int process))
            {
                continue;
            }

            cancellation.ThrowIfCancellationRequested();
            foreach (string file in LinksOf(entry))
            {
                if (file.StartsWith(prefix, StringComparison.Ordinal))
                {
                    visit(process, file[prefix.Length..]);
                }
            }
        }
    }

    private List<string> LinksOf(string process)
    {
        List<string> files = [];
        SysDir fds;
        try
        {
            if (!SysDir.TryOpen(Path.Combine(procRoot, process, "fd"), out fds))
            {
                return files;
            }
        }
        catch (HostFault denied) when (denied.Errno is Errno.EACCES or Errno.EPERM)
        {
            // Another user's process, and this one is not root: documented on the type.
            return files;
        }

        using (fds)
        {
            Span<byte> buffer = stackalloc byte[512];
            try
            {
                List<string> names = fds.List();
                for (int i = 0; i < names.Count && i < MostFds; i++)
                {
                    if (fds.TryReadLink(names[i], buffer, out ReadOnlySpan<byte> link) && link.StartsWith("/"u8))
                    {
                        files.Add(Encoding.UTF8.GetString(link));
                    }
                }
            }
            catch (HostFault denied) when (denied.Errno is Errno.EACCES or Errno.EPERM)
            {
                return files;
            }
        }

        return files;
    }

    private string Command(int process) =>
        SysDir.ReadText(Path.Combine(procRoot, process.ToString(CultureInfo.InvariantCulture), "comm"))?.Trim() ?? "";
}
