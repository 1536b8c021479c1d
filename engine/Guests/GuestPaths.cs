// Where a guest's runtime files are, and who owns which.

using System.Text;

namespace AssignHub.Engine.Guests;

/// <summary>
/// A guest's runtime files. The directory itself stays root's, so that a guest's process cannot put a link in the place of a file that the
/// service reads or writes; only <see cref="RunDirectory"/>, which holds nothing but the socket, is the guest's own.
/// </summary>
/// <param name="Directory">The guest's directory: root's, 0711.</param>
public sealed record GuestPaths(string Directory)
{
    // sun_path of unix(7) is 108 bytes with its final zero.
    private const int LongestSocketPath = 107;

    /// <summary>The guest's own directory: the guest's uid, 0700.</summary>
    public string RunDirectory => Path.Combine(Directory, "run");

    /// <summary>QEMU's monitor.</summary>
    public string QmpSocket => Path.Combine(RunDirectory, "qmp.sock");

    /// <summary>What the guest wrote to its serial console, across its starts: the guest's uid, 0600.</summary>
    public string ConsoleLog => Path.Combine(Directory, "console.log");

    /// <summary>What QEMU wrote to standard error since its last start: root's, 0600; QEMU has it open only.</summary>
    public string QemuLog => Path.Combine(Directory, "qemu.log");

    /// <summary>The files of a guest.</summary>
    /// <param name="root">The directory of all guests.</param>
    /// <param name="name">The guest's name.</param>
    /// <exception cref="HostFault">The socket's path would be longer than the kernel takes.</exception>
    public static GuestPaths For(string root, string name)
    {
        var paths = new GuestPaths(Path.Combine(Path.GetFullPath(root), name));
        return Encoding.UTF8.GetByteCount(paths.QmpSocket) <= LongestSocketPath
            ? paths
            : throw new HostFault("bind", paths.QmpSocket, Errno.None, $"a socket's path has at most {LongestSocketPath} bytes: choose a shorter data directory or name");
    }
}
