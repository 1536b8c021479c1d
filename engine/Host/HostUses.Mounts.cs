// What is mounted and swapped on, and which of it the host or this service cannot be without.

using System.Text;

namespace AssignHub.Engine.Host;

internal sealed partial class HostUses
{
    /// <summary>Mounts and swaps, read when first asked for.</summary>
    private sealed class Mounts(string procRoot, string? dataDirectory)
    {
        public const string Root = "the root file system";
        private const string Data = "AssignHub's data directory";
        private readonly Dictionary<Mount, string> _essential = [];
        private List<Mount>? _all;
        private HashSet<string>? _swaps;

        /// <summary>Every mount that this process and the host's first process see.</summary>
        public List<Mount> All => _all ??= ReadMounts();

        /// <summary>The base names of swapped devices.</summary>
        public HashSet<string> Swaps => _swaps ??= ReadSwaps();

        /// <summary>A mount as a use of what is below it.</summary>
        public HostUse Use(string what, Mount mount) =>
            new(HostUseKind.Storage, $"{what} is mounted at {mount.MountPoint}", Remedy(mount)) { Essential = Essential(mount) };

        /// <summary>What of the host itself ends with this mount, or null.</summary>
        public string? Essential(Mount mount) => _essential.GetValueOrDefault(mount);

        /// <summary>What ends a mount.</summary>
        public string Remedy(Mount mount) => Essential(mount) switch
        {
            Root => "Boot the host from another device.",
            Data => $"Stop AssignHub, move {dataDirectory} to another file system, and start it there with --data.",
            _ => $"umount {Quoted(mount.MountPoint)}",
        };

        /// <summary>A path as a shell reads it whole.</summary>
        private static string Quoted(string path) =>
            path.All(static letter => char.IsAsciiLetterOrDigit(letter) || "/._-+:@".Contains(letter, StringComparison.Ordinal))
                ? path
                : $"'{path.Replace("'", "'\\''", StringComparison.Ordinal)}'";

        private List<Mount> ReadMounts()
        {
            List<Mount> mounts = [];
            if (SysDir.ReadText(Path.Combine(procRoot, "self/mountinfo")) is { } own)
            {
                MountText.ParseMounts(own, mounts);
            }

            // A service manager may give the service a mount namespace of its own; the host's is that of process 1.
            if (Namespace("1") is { } first && first != Namespace("self")
                && SysDir.ReadText(Path.Combine(procRoot, "1/mountinfo")) is { } hosts)
            {
                HashSet<Mount> seen = [.. mounts];
                List<Mount> more = [];
                MountText.ParseMounts(hosts, more);
                mounts.AddRange(more.Where(seen.Add));
            }

            FindEssential(mounts);
            return mounts;
        }

        private void FindEssential(List<Mount> mounts)
        {
            if (dataDirectory is not null && MountText.Holding(mounts, Libc.RealPath(dataDirectory)) is { } data)
            {
                _essential[data] = Data;
            }

            foreach (Mount root in mounts.Where(static mount => mount.MountPoint == "/"))
            {
                _essential[root] = Root;
                foreach (string layer in root.FileSystem == "overlay" ? MountText.Layers(root.Options) : [])
                {
                    _essential[MountText.Holding(mounts, layer) ?? root] = Root;
                }
            }
        }

        private HashSet<string> ReadSwaps() =>
            [.. MountText.ParseSwaps(SysDir.ReadText(Path.Combine(procRoot, "swaps")) ?? "").Select(MountText.BaseName)];

        private string? Namespace(string process)
        {
            if (!SysDir.TryOpen(Path.Combine(procRoot, process, "ns"), out SysDir dir))
            {
                return null;
            }

            using (dir)
            {
                Span<byte> buffer = stackalloc byte[64];
                try
                {
                    return dir.TryReadLink("mnt"u8, buffer, out ReadOnlySpan<byte> link) ? Encoding.ASCII.GetString(link) : null;
                }
                catch (HostFault denied) when (denied.Errno is Errno.EACCES or Errno.EPERM)
                {
                    // Without the right to trace process 1 (a container, a plain user) its mounts cannot be told from one's own.
                    return null;
                }
            }
        }
    }
}
