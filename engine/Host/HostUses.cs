// What the host does with its devices: this part puts together storage, network and display, and decides what has to be looked at.
// A device that no driver of the host drives is not looked at: nothing can stand on it.

using System.Text;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>Finds the uses of devices, each with evidence and a remedy.</summary>
/// <param name="sysfsRoot">Where sysfs is mounted.</param>
/// <param name="procRoot">Where /proc is mounted.</param>
/// <param name="time">Its clock tells how old a change is.</param>
/// <param name="dataDirectory">Where this service keeps its data, if it does: the file system that holds it is essential.</param>
internal sealed partial class HostUses(string sysfsRoot, string procRoot, TimeProvider time, string? dataDirectory = null)
{
    private readonly ClassIndex _blocks = new(Path.Combine(sysfsRoot, "class/block"), time);
    private readonly ClassIndex _interfaces = new(Path.Combine(sysfsRoot, "class/net"), time);

    private const uint ClassNetwork = 0x02;
    private const ushort VirtioVendor = 0x1AF4;

    /// <summary>The uses of these devices; a device without any is not in the answer.</summary>
    /// <param name="devices">The devices, as just read.</param>
    /// <exception cref="HostFault">Something is there and cannot be read.</exception>
    public Dictionary<PciAddress, List<HostUse>> Read(IReadOnlyList<PciDevice> devices)
    {
        Dictionary<PciAddress, List<HostUse>> uses = [];
        Dictionary<PciAddress, PciDevice> driven = [];
        foreach (PciDevice device in devices)
        {
            if (device.BootVga && !VfioDrivers.IsVfio(device.Driver))
            {
                Add(uses, device.Address, new HostUse(
                    HostUseKind.Display,
                    "it is the display that the firmware booted with, and carries the console",
                    "Choose another boot display in the firmware, or bind it to vfio-pci at boot (vfio-pci.ids=) and restart."));
            }

            if (device.Driver is not null && !device.IsBridge && !VfioDrivers.IsVfio(device.Driver))
            {
                driven.Add(device.Address, device);
            }
        }

        if (driven.Count > 0)
        {
            Mounts mounts = new(procRoot, dataDirectory);
            ReadBlocks(driven, mounts, uses);
            ReadInterfaces(driven, uses);
            ReadVirtioMounts(driven, mounts, uses);
        }

        return uses;
    }

    // A 9p share is mounted by the tag that its virtio device shows; virtiofs tells the tag only since 6.9, in fs/virtiofs/N.
    private void ReadVirtioMounts(Dictionary<PciAddress, PciDevice> driven, Mounts mounts, Dictionary<PciAddress, List<HostUse>> uses)
    {
        foreach (PciDevice device in driven.Values)
        {
            // Transitional and modern ids of device types 9 (9p) and 26 (file system), virtio 1.2, 4.1.2.
            if (device.VendorId != VirtioVendor || device.DeviceId is not (0x1009 or 0x1049 or 0x105A))
            {
                continue;
            }

            string path = Path.Combine(sysfsRoot, "bus/pci/devices", device.Address.ToString());
            string? tag = device.DeviceId == 0x105A ? null : ReadTag(path);
            bool mounted = false;
            foreach (Mount mount in mounts.All)
            {
                bool shares = device.DeviceId == 0x105A ? mount.FileSystem == "virtiofs" : mount.FileSystem == "9p" && tag is not null && mount.Source == tag;
                if (shares)
                {
                    mounted = true;
                    Add(uses, device.Address, mounts.Use($"the share {mount.Source}", mount));
                }
            }

            if (!mounted && mounts.All.Exists(static mount => mount is { MountPoint: "/", FileSystem: "overlay" }))
            {
                // The initial RAM disk mounted the layers and moved away from them: no mount that is still to be seen names them.
                Add(uses, device.Address, new HostUse(
                    HostUseKind.Storage,
                    $"the root file system is an overlay over layers that cannot be seen, and the share{(tag is null ? "" : " " + tag)} may be one of them",
                    "Boot the host from something else than this share.")
                { Essential = Mounts.Root });
            }
        }
    }

    private static string? ReadTag(string path)
    {
        if (!SysDir.TryOpen(path, out SysDir dir))
        {
            return null;
        }

        using (dir)
        {
            Span<byte> buffer = stackalloc byte[512];
            foreach (string name in dir.List())
            {
                if (name.StartsWith("virtio", StringComparison.Ordinal)
                    && dir.TryRead(Encoding.UTF8.GetBytes($"{name}/mount_tag"), buffer, out ReadOnlySpan<byte> tag))
                {
                    return Encoding.UTF8.GetString(tag);
                }
            }
        }

        return null;
    }

    private static void Add(Dictionary<PciAddress, List<HostUse>> uses, PciAddress address, HostUse use)
    {
        if (!uses.TryGetValue(address, out List<HostUse>? list))
        {
            uses.Add(address, list = []);
        }

        if (!list.Contains(use))
        {
            list.Add(use);
        }
    }
}
