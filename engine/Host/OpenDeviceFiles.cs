// Whether some process, or the kernel itself, holds the files of a device open: a disk under ZFS, a database on a raw partition, a display
// server on a card, a daemon on a character device, a driver in user space on a BAR (sysfs resourceN). It walks every process's fds, so it
// is asked for before a change and not with every reading.

using System.Runtime.InteropServices;
using System.Text;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>Finds who has the device files below a device open. Needs root to see other users' processes.</summary>
/// <param name="sysfsRoot">Where sysfs is mounted.</param>
/// <param name="procRoot">Where /proc is mounted.</param>
/// <param name="devRoot">Where the device files are.</param>
public sealed class OpenDeviceFiles(string sysfsRoot, string procRoot, string devRoot)
{
    // USB and SCSI trees are some ten levels deep; what is deeper is no device of this one.
    private static readonly EnumerationOptions Below = new()
    {
        RecurseSubdirectories = true, MaxRecursionDepth = 16, IgnoreInaccessible = true, AttributesToSkip = FileAttributes.ReparsePoint,
    };

    private readonly GroupHolders _processes = new(procRoot, devRoot);

    /// <summary>
    /// The uses of each of these devices by open files; a device without any is not in the answer. Devices on VFIO have none: who holds those is
    /// told of the group (<see cref="GroupHolders"/>).
    /// </summary>
    /// <param name="devices">The devices, as read last.</param>
    /// <param name="cancellation">Ends the search early.</param>
    /// <exception cref="HostFault">Something is there and cannot be read.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellation"/> fired.</exception>
    public IReadOnlyDictionary<PciAddress, IReadOnlyList<HostUse>> Find(IEnumerable<PciDevice> devices, CancellationToken cancellation)
    {
        ArgumentNullException.ThrowIfNull(devices);
        Dictionary<string, PciAddress> files = new(StringComparer.Ordinal);
        Dictionary<PciAddress, IReadOnlyList<HostUse>> uses = [];
        foreach (PciDevice device in devices)
        {
            if (device.IsBridge || VfioDrivers.IsVfio(device.Driver))
            {
                continue;
            }

            // What holds a disk in the kernel is told better by the mount, swap or volume found already.
            bool knownStorage = device.HostUses.Any(static use => use.Kind == HostUseKind.Storage);

            foreach ((string file, bool isBlock) in FilesOf(device.Address))
            {
                files[file] = device.Address;
                if (isBlock && !knownStorage && IsHeldByKernel(file))
                {
                    Add(uses, device.Address, new HostUse(
                        HostUseKind.Storage,
                        $"{file} is in exclusive use: a mount, a mapped device, or a pool (ZFS)",
                        $"End that use (umount, dmsetup remove, zpool export) until blockdev --rereadpt {file} is not refused."));
                }
            }
        }

        if (files.Count > 0)
        {
            foreach ((string file, GroupHolder holder) in _processes.FindFiles(files.Keys.ToHashSet(StringComparer.Ordinal), cancellation))
            {
                Add(uses, files[file], new HostUse(
                    HostUseKind.Process, $"{holder.Command} (process {holder.Pid}) has {file} open", $"kill {holder.Pid}"));
            }
        }

        return uses;
    }

    /// <summary>
    /// The device files below a device, as the kernel names them (<c>DEVNAME</c> of each <c>uevent</c>: <c>nvme0n1p1</c>, <c>dri/card0</c>), and its
    /// BARs in sysfs (<c>resource0</c>, <c>resource0_wc</c>; Documentation/PCI/sysfs-pci.rst).
    /// </summary>
    private List<(string File, bool IsBlock)> FilesOf(PciAddress device)
    {
        List<(string File, bool IsBlock)> files = [];
        string link = Path.Combine(sysfsRoot, "bus/pci/devices", device.ToString());
        if (new DirectoryInfo(link).ResolveLinkTarget(returnFinalTarget: true) is not { Exists: true } root)
        {
            return files;
        }

        foreach (string bar in Directory.EnumerateFiles(root.FullName, "resource?*"))
        {
            files.Add((bar, false));
        }

        // A "dev" attribute marks what has a device file.
        foreach (string attribute in Roots(root.FullName).SelectMany(static path => Directory.EnumerateFiles(path, "dev", Below)))
        {
            string folder = Path.GetDirectoryName(attribute)!;
            if (NameOf(SysDir.ReadText(Path.Combine(folder, "uevent")) ?? "") is { } name)
            {
                files.Add((Path.Combine(devRoot, name), IsBlock(folder)));
            }
        }

        return files;
    }

    // With native multipath the kernel hangs an NVMe namespace's disk below a virtual subsystem, which links to its controllers:
    // devices/virtual/nvme-subsystem/nvme-subsys0/nvme0 -> ../../../pci0000:00/0000:00:04.0/nvme/nvme0.
    private IEnumerable<string> Roots(string device)
    {
        string subsystems = Path.Combine(sysfsRoot, "devices/virtual/nvme-subsystem");
        return Directory.Exists(subsystems)
            ? Directory.EnumerateDirectories(subsystems).Where(subsystem => Directory.EnumerateDirectories(subsystem, "nvme*").Any(link =>
                new DirectoryInfo(link).ResolveLinkTarget(returnFinalTarget: true)?.FullName.StartsWith(device + "/", StringComparison.Ordinal) == true))
                .Prepend(device)
            : [device];
    }

    private static bool IsBlock(string folder) =>
        new DirectoryInfo(Path.Combine(folder, "subsystem")).LinkTarget is { } subsystem && Path.GetFileName(subsystem.AsSpan()) is "block";

    /// <summary>Reads <c>DEVNAME=nvme0n1</c> out of a uevent.</summary>
    internal static string? NameOf(string uevent)
    {
        const string Key = "DEVNAME=";
        foreach (ReadOnlySpan<char> line in uevent.AsSpan().EnumerateLines())
        {
            if (line.StartsWith(Key, StringComparison.Ordinal))
            {
                return line[Key.Length..].ToString();
            }
        }

        return null;
    }

    // For a block device O_EXCL without O_CREAT fails with EBUSY while the kernel or another exclusive opener has it (open(2)). Opening for
    // reading changes nothing on it.
    private static unsafe bool IsHeldByKernel(string file)
    {
        int fd;
        fixed (byte* path = Encoding.UTF8.GetBytes(file + '\0'))
        {
            fd = Libc.openat(Libc.AT_FDCWD, path, Libc.O_RDONLY | Libc.O_EXCL | Libc.O_NONBLOCK | Libc.O_CLOEXEC);
        }

        if (fd < 0)
        {
            return Marshal.GetLastPInvokeError() == (int)Errno.EBUSY;
        }

        _ = Libc.close(fd);
        return false;
    }

    private static void Add(Dictionary<PciAddress, IReadOnlyList<HostUse>> uses, PciAddress address, HostUse use)
    {
        if (!uses.TryGetValue(address, out IReadOnlyList<HostUse>? list))
        {
            uses.Add(address, list = new List<HostUse>());
        }

        if (!list.Contains(use))
        {
            ((List<HostUse>)list).Add(use);
        }
    }
}
