// Virtual functions of a synthetic host: what the kernel adds to and removes from the tree on a write to sriov_numvfs.

using System.Globalization;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>Makes and removes the directories of virtual functions.</summary>
internal static class ModelledVfs
{
    /// <summary>The functions that there are.</summary>
    /// <param name="path">The physical function's directory.</param>
    public static List<PciAddress> Of(string path) =>
    [
        .. new DirectoryInfo(path).EnumerateFileSystemInfos("virtfn*").Select(link => PciAddress.Parse(Path.GetFileName(link.LinkTarget!))).Order(),
    ];

    /// <summary>Refuses what <c>sriov_numvfs_store</c> does: it goes only from none to some or from some to none, and only on a driver that can.</summary>
    public static void Check(string path, PciAddress function, string text, Func<SysfsFile, PciAddress, Errno, string?, HostFault> fault)
    {
        if (!File.Exists(Path.Combine(path, "sriov_numvfs")))
        {
            throw fault(SysfsFile.NumVfs, function, Errno.ENOENT, null);
        }

        (int current, int wanted) = (Of(path).Count, int.Parse(text, CultureInfo.InvariantCulture));
        int most = int.Parse(File.ReadAllText(Path.Combine(path, "sriov_totalvfs")), CultureInfo.InvariantCulture);
        string? driver = new FileInfo(Path.Combine(path, "driver")).LinkTarget;
        // vfio-pci makes functions only with enable_sriov, a parameter that is off.
        Errno refused = wanted > most ? Errno.ERANGE
            : current != 0 && wanted != 0 && wanted != current ? Errno.EBUSY
            : driver is null || VfioDrivers.IsVfio(Path.GetFileName(driver)) ? Errno.ENOENT
            : Errno.None;
        if (refused != Errno.None)
        {
            throw fault(SysfsFile.NumVfs, function, refused, null);
        }
    }

    /// <summary>Makes or removes them.</summary>
    public static void Write(string sysfsRoot, string path, PciAddress function, string text)
    {
        (int current, int wanted) = (Of(path).Count, int.Parse(text, CultureInfo.InvariantCulture));
        for (int i = 0; i < Math.Max(current, wanted); i++)
        {
            // First VF offset 0x80 and stride 1, as common NICs have it.
            PciAddress virtualFunction = PciAddress.FromDevFn(function.Domain, function.Bus, (byte)(0x80 + i));
            if (wanted == 0)
            {
                Remove(sysfsRoot, path, virtualFunction, i);
            }
            else if (current == 0)
            {
                Add(sysfsRoot, path, virtualFunction, i);
            }
        }

        File.WriteAllText(Path.Combine(path, "sriov_numvfs"), string.Create(CultureInfo.InvariantCulture, $"{wanted}\n"));
    }

    private static void Add(string sysfsRoot, string parent, PciAddress address, int index)
    {
        string path = Path.Combine(Path.GetDirectoryName(parent)!, address.ToString());
        Directory.CreateDirectory(path);
        foreach (string name in (string[])["vendor", "subsystem_vendor", "subsystem_device", "class", "revision", "numa_node"])
        {
            File.Copy(Path.Combine(parent, name), Path.Combine(path, name), overwrite: true);
        }

        string device = Path.Combine(parent, "sriov_vf_device");
        string id = File.Exists(device) ? "0x" + File.ReadAllText(device).Trim() : File.ReadAllText(Path.Combine(parent, "device")).Trim();
        File.WriteAllText(Path.Combine(path, "device"), id + "\n");
        File.WriteAllText(Path.Combine(path, "driver_override"), "(null)\n");
        File.WriteAllText(Path.Combine(path, "reset_method"), "flr\n");
        File.WriteAllText(Path.Combine(path, "reset"), "");
        // A VF reads all ones as its ids (SR-IOV 3.4.1.1); the rest of the header is its own.
        byte[] config = new byte[4096];
        config.AsSpan(0, 4).Fill(0xFF);
        File.WriteAllBytes(Path.Combine(path, "config"), config);
        Link(Path.Combine(path, "physfn"), parent);
        Link(Path.Combine(parent, string.Create(CultureInfo.InvariantCulture, $"virtfn{index}")), path);
        Link(Path.Combine(sysfsRoot, "bus/pci/devices", address.ToString()), path);
        if (Path.Exists(Path.Combine(parent, "iommu_group")))
        {
            string groups = Path.Combine(sysfsRoot, "kernel/iommu_groups");
            int number = Directory.GetDirectories(groups).Max(static group => int.Parse(Path.GetFileName(group), CultureInfo.InvariantCulture)) + 1;
            string group = Path.Combine(groups, number.ToString(CultureInfo.InvariantCulture));
            Directory.CreateDirectory(Path.Combine(group, "devices"));
            File.WriteAllText(Path.Combine(group, "type"), "DMA-FQ\n");
            File.WriteAllText(Path.Combine(group, "reserved_regions"), "0x00000000fee00000 0x00000000feefffff msi\n");
            Link(Path.Combine(path, "iommu_group"), group);
            Link(Path.Combine(group, "devices", address.ToString()), path);
        }
    }

    private static void Remove(string sysfsRoot, string parent, PciAddress address, int index)
    {
        string path = Path.Combine(Path.GetDirectoryName(parent)!, address.ToString());
        if (new DirectoryInfo(Path.Combine(path, "iommu_group")).LinkTarget is { } group)
        {
            Directory.Delete(Path.GetFullPath(Path.Combine(path, group)), recursive: true);
        }

        File.Delete(Path.Combine(sysfsRoot, "bus/pci/devices", address.ToString()));
        File.Delete(Path.Combine(parent, string.Create(CultureInfo.InvariantCulture, $"virtfn{index}")));
        Directory.Delete(path, recursive: true);
    }

    private static void Link(string path, string target) =>
        File.CreateSymbolicLink(path, Path.GetRelativePath(Path.GetDirectoryName(path)!, target));
}
