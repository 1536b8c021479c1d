// The kernel's texts on storage in use: /proc/PID/mountinfo and /proc/swaps. Pure.

using System.Text;

namespace AssignHub.Engine.Host;

/// <summary>One mount.</summary>
/// <param name="Device"><c>major:minor</c> of its device; major 0 for file systems without one of their own (btrfs too).</param>
/// <param name="MountPoint">Where.</param>
/// <param name="FileSystem">Its type.</param>
/// <param name="Source">What was mounted: <c>/dev/nvme0n1p2</c>, a tag, a name.</param>
/// <param name="Options">The file system's own options; kept of the root only.</param>
internal readonly record struct Mount(string Device, string MountPoint, string FileSystem, string Source, string Options = "");

/// <summary>Reads them.</summary>
internal static class MountText
{
    /// <summary>
    /// Reads mountinfo (<c>Documentation/filesystems/proc.rst</c> 3.5), fields after the optional ones counted from the lone dash:
    /// <c>36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue</c>.
    /// </summary>
    public static void ParseMounts(string text, ICollection<Mount> mounts)
    {
        Span<Range> fields = stackalloc Range[6];
        Span<Range> tail = stackalloc Range[4];
        foreach (ReadOnlySpan<char> line in text.AsSpan().EnumerateLines())
        {
            int dash = line.IndexOf(" - ", StringComparison.Ordinal);
            if (dash < 0 || line[..dash].Split(fields, ' ') < 5)
            {
                continue;
            }

            ReadOnlySpan<char> rest = line[(dash + 3)..];
            int parts = rest.Split(tail, ' ');
            if (parts < 2)
            {
                continue;
            }

            string point = Unescape(line[fields[4]]);
            mounts.Add(new Mount(
                line[fields[2]].ToString(), point, rest[tail[0]].ToString(), Unescape(rest[tail[1]]), parts > 2 && point == "/" ? Unescape(rest[tail[2]]) : ""));
        }
    }

    /// <summary>The folders that an overlay file system is made of: <c>rw,lowerdir=/media/root-ro,upperdir=/media/root-rw/overlay,workdir=…</c>.</summary>
    public static IEnumerable<string> Layers(string options) =>
        options.Split(',').Where(static option => option.Split('=')[0] is "lowerdir" or "lowerdir+" or "datadir+" or "upperdir")
            .SelectMany(static option => option[(option.IndexOf('=', StringComparison.Ordinal) + 1)..].Split(':', StringSplitOptions.RemoveEmptyEntries));

    /// <summary>The mount that holds a path: the one deepest on the way to it, of several at one place the last.</summary>
    public static Mount? Holding(IEnumerable<Mount> mounts, string path)
    {
        Mount? holding = null;
        foreach (Mount mount in mounts)
        {
            bool above = mount.MountPoint == "/" || path == mount.MountPoint || path.StartsWith(mount.MountPoint + "/", StringComparison.Ordinal);
            if (above && mount.MountPoint.Length >= (holding?.MountPoint.Length ?? 0))
            {
                holding = mount;
            }
        }

        return holding;
    }

    /// <summary>
    /// Reads /proc/swaps, a heading and then <c>/dev/dm-1                               partition	1998844		0		-2</c>. Only partitions:
    /// a swap file stands on a mount, which is told already.
    /// </summary>
    public static List<string> ParseSwaps(string text)
    {
        List<string> swaps = [];
        foreach (ReadOnlySpan<char> line in text.AsSpan().EnumerateLines())
        {
            int end = line.IndexOfAny(' ', '\t');
            if (end > 0 && line[0] == '/' && line[end..].TrimStart().StartsWith("partition", StringComparison.Ordinal))
            {
                swaps.Add(Unescape(line[..end]));
            }
        }

        return swaps;
    }

    /// <summary>Undoes the kernel's octal escapes of blanks and backslashes (<c>seq_escape</c>, <c>mangle_path</c>): <c>\040</c>.</summary>
    public static string Unescape(ReadOnlySpan<char> text)
    {
        if (!text.Contains('\\'))
        {
            return text.ToString();
        }

        StringBuilder plain = new(text.Length);
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] == '\\' && i + 3 < text.Length && IsOctal(text[i + 1]) && IsOctal(text[i + 2]) && IsOctal(text[i + 3]))
            {
                plain.Append((char)((text[i + 1] - '0') << 6 | (text[i + 2] - '0') << 3 | (text[i + 3] - '0')));
                i += 3;
            }
            else
            {
                plain.Append(text[i]);
            }
        }

        return plain.ToString();
    }

    private static bool IsOctal(char digit) => char.IsBetween(digit, '0', '7');

    /// <summary>The name that a <c>/dev</c> path gives to a device: its last part.</summary>
    public static string BaseName(string path) => path[(path.LastIndexOf('/') + 1)..];
}
