// Which VFIO files a process really holds open: the kernel's own word on containers, against what the store believes.

using System.Collections.Immutable;
using System.Globalization;
using System.Runtime.InteropServices;

namespace AssignHub.Engine.Guests;

/// <summary>The VFIO and iommufd files that a process holds.</summary>
public sealed record HeldVfioFiles
{
    /// <summary>Container files: <c>/dev/vfio/vfio</c> (one holds one group, or something is wrong) and <c>/dev/iommu</c>.</summary>
    public int Containers { get; init; }
    /// <summary>The <c>/dev/iommu</c> ones among them. QEMU keeps such a file when its object goes, so some may be empty.</summary>
    public int Iommufds { get; init; }
    /// <summary>Groups whose file (<c>/dev/vfio/N</c>) is open.</summary>
    public ImmutableSortedSet<int> Groups { get; init; } = [];
    /// <summary>Devices opened by their own file (<c>/dev/vfio/devices/vfioN</c>), by its name.</summary>
    public ImmutableSortedSet<string> DeviceNodes { get; init; } = [];
    /// <summary>Devices opened through their group (<c>anon_inode:[vfio-device]</c>; the link does not say which).</summary>
    public int GroupDevices { get; init; }

    /// <summary>Reads a process's open files; nothing at all if it is gone.</summary>
    /// <param name="procRoot">Usually <c>/proc</c>.</param>
    /// <param name="pid">The process.</param>
    /// <exception cref="HostFault">The links may not be read.</exception>
    public static HeldVfioFiles Read(string procRoot, int pid)
    {
        string directory = Path.Combine(procRoot, pid.ToString(CultureInfo.InvariantCulture), "fd");
        try
        {
            return From(new DirectoryInfo(directory).EnumerateFileSystemInfos().Select(file => file.LinkTarget));
        }
        catch (DirectoryNotFoundException)
        {
            return new HeldVfioFiles();
        }
        catch (UnauthorizedAccessException e)
        {
            throw new HostFault("readlink", directory, Errno.EACCES, inner: e);
        }
    }

    /// <summary>Sorts the targets of the links; null is one that went away meanwhile.</summary>
    public static HeldVfioFiles From(IEnumerable<string?> targets)
    {
        var files = new HeldVfioFiles();
        foreach (string target in targets.OfType<string>())
        {
            files = target switch
            {
                "/dev/vfio/vfio" => files with { Containers = files.Containers + 1 },
                "/dev/iommu" => files with { Containers = files.Containers + 1, Iommufds = files.Iommufds + 1 },
                "anon_inode:[vfio-device]" => files with { GroupDevices = files.GroupDevices + 1 },
                _ when After(target, "/dev/vfio/devices/") is { } node => files with { DeviceNodes = files.DeviceNodes.Add(node) },
                _ when int.TryParse(After(target, "/dev/vfio/"), NumberStyles.None, CultureInfo.InvariantCulture, out int group) =>
                    files with { Groups = files.Groups.Add(group) },
                _ => files,
            };
        }

        return files;
    }

    private static string? After(string text, string prefix) => text.StartsWith(prefix, StringComparison.Ordinal) ? text[prefix.Length..] : null;
}

/// <summary>The file of a group, handed to a guest for the time that it has the group: QEMU opens it itself on the legacy backend.</summary>
public static class VfioNode
{
    /// <summary>The file of a group.</summary>
    /// <param name="devRoot">Usually <c>/dev</c>.</param>
    /// <param name="group">The group.</param>
    public static string PathOf(string devRoot, int group) => Path.Combine(devRoot, "vfio", group.ToString(CultureInfo.InvariantCulture));

    /// <summary>Hands a group's file to a guest's user: nobody but it and root can open it then. Doing so again changes nothing.</summary>
    /// <exception cref="HostFault">The kernel refused.</exception>
    public static void Give(string devRoot, int group, uint uid) => Own(PathOf(devRoot, group), uid);

    /// <summary>Takes it back: root's alone, as the kernel makes it. A file that is gone needs nothing.</summary>
    /// <exception cref="HostFault">The kernel refused.</exception>
    public static void TakeBack(string devRoot, int group)
    {
        string path = PathOf(devRoot, group);
        if (File.Exists(path))
        {
            Own(path, 0);
        }
    }

    private static void Own(string path, uint uid)
    {
        if (Libc.chown(path, uid, 0) != 0)
        {
            throw new HostFault("chown", path, (Errno)Marshal.GetLastPInvokeError());
        }

        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
    }
}
