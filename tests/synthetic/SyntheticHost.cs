// A host made of files: trees that look like the kernel's sysfs, /proc and /dev, in a folder that goes away with the object. Links are
// relative and stand where the kernel has them, so the scanner and the modelled kernel see what they would see for real.

using System.Globalization;
using System.Text;
using AssignHub.Engine.Pci;

namespace AssignHub.Synthetic;

/// <summary>Builds and owns the trees.</summary>
public sealed partial class SyntheticHost : IDisposable
{
    private readonly Dictionary<PciAddress, string> _paths = [];

    /// <summary>An empty host.</summary>
    /// <param name="folder">Where; null makes a temporary folder. It is deleted by <see cref="Dispose"/>.</param>
    public SyntheticHost(string? folder = null)
    {
        Folder = folder ?? Directory.CreateTempSubdirectory("assignhub-synthetic-").FullName;
        foreach (string name in (string[])
            ["sys/bus/pci/devices", "sys/bus/pci/drivers", "sys/devices", "sys/kernel/iommu_groups", "sys/class/block", "sys/class/net", "sys/dev/block", "sys/module"])
        {
            Directory.CreateDirectory(Path.Combine(Folder, name));
        }

        File.WriteAllText(Path.Combine(SysfsRoot, "bus/pci/drivers_probe"), "");
        Directory.CreateDirectory(DevRoot);
        WriteProc("sys/kernel/hostname", "synthetic\n");
        WriteProc("sys/kernel/osrelease", "6.12.0-synthetic\n");
        WriteProc("cmdline", "root=/dev/vda1 intel_iommu=on\n");
        WriteProc("self/mountinfo", "22 1 0:21 / /proc rw,relatime - proc proc rw\n");
        WriteProc("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
        WriteProc("net/route", "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n");
        WriteProc("net/ipv6_route", "");
        WriteProc("net/if_inet6", "00000000000000000000000000000001 01 80 10 80       lo\n");
        WriteProc("net/fib_trie", "Main:\n  +-- 0.0.0.0/0 3 0 5\n");
    }

    /// <summary>The folder of all trees.</summary>
    public string Folder { get; }

    public string SysfsRoot => Path.Combine(Folder, "sys");

    public string ProcRoot => Path.Combine(Folder, "proc");

    public string DevRoot => Path.Combine(Folder, "dev");

    /// <summary>The directory of a device in <c>devices/</c>.</summary>
    public string PathOf(PciAddress address) => _paths[address];

    /// <summary>Adds a function. Its parent has to be there.</summary>
    public SyntheticHost Add(SyntheticDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        PciAddress address = device.Address;
        string above = device.Parent is { } parent
            ? _paths[parent]
            : Path.Combine(SysfsRoot, string.Create(CultureInfo.InvariantCulture, $"devices/pci{address.Domain:x4}:00"));
        string path = Path.Combine(above, address.ToString());
        _paths[address] = path;
        Directory.CreateDirectory(path);
        void Attribute(string name, string text) => File.WriteAllText(Path.Combine(path, name), text + "\n");

        Attribute("vendor", $"0x{device.VendorId:x4}");
        Attribute("device", $"0x{device.DeviceId:x4}");
        Attribute("subsystem_vendor", $"0x{device.SubsystemVendorId:x4}");
        Attribute("subsystem_device", $"0x{device.SubsystemId:x4}");
        Attribute("class", $"0x{device.ClassCode:x6}");
        Attribute("revision", $"0x{device.Revision:x2}");
        Attribute("numa_node", device.NumaNode.ToString(CultureInfo.InvariantCulture));
        Attribute("driver_override", "(null)");
        Attribute("reset_method", device.ResetMethods);
        Attribute("uevent", $"PCI_CLASS={device.ClassCode:X}\nPCI_ID={device.VendorId:X4}:{device.DeviceId:X4}\nPCI_SLOT_NAME={address}");
        File.WriteAllBytes(Path.Combine(path, "config"), device.Config());
        if (device.ResetMethods.Length > 0)
        {
            Attribute("reset", "");
        }

        if (device.Buses is { } buses)
        {
            Attribute("secondary_bus_number", buses.Secondary.ToString(CultureInfo.InvariantCulture));
            Attribute("subordinate_bus_number", buses.Subordinate.ToString(CultureInfo.InvariantCulture));
            Attribute("reset_subordinate", "");
        }

        if (device.ClassCode >> 16 == 3)
        {
            Attribute("boot_vga", device.BootVga ? "1" : "0");
        }

        if (device.TotalVfs > 0)
        {
            Attribute("sriov_totalvfs", device.TotalVfs.ToString(CultureInfo.InvariantCulture));
            Attribute("sriov_numvfs", "0");
            Attribute("sriov_drivers_autoprobe", "1");
            Attribute("sriov_vf_device", "10ca");
        }

        if (device.NoBusReset)
        {
            Attribute(".no_bus_reset", "");
        }

        Link(Path.Combine(SysfsRoot, "bus/pci/devices", address.ToString()), path);
        if (device.Driver is { } driver)
        {
            AddDriver(driver, device.VendorId, device.DeviceId);
            Link(Path.Combine(path, "driver"), DriverPath(driver));
            Link(Path.Combine(DriverPath(driver), address.ToString()), path);
        }

        if (device.Group is { } group)
        {
            JoinGroup(path, address, group);
        }

        return this;
    }

    /// <summary>Takes a function out, as hot-unplug does; its group goes with its last member.</summary>
    public void Remove(PciAddress address)
    {
        string path = _paths[address];
        _paths.Remove(address);
        if (new DirectoryInfo(Path.Combine(path, "driver")).LinkTarget is { } driver)
        {
            File.Delete(Path.Combine(path, driver, address.ToString()));
        }

        if (new DirectoryInfo(Path.Combine(path, "iommu_group")).LinkTarget is { } link)
        {
            string group = Path.GetFullPath(Path.Combine(path, link));
            File.Delete(Path.Combine(group, "devices", address.ToString()));
            if (Directory.GetFileSystemEntries(Path.Combine(group, "devices")).Length == 0)
            {
                Directory.Delete(group, recursive: true);
            }
        }

        File.Delete(Path.Combine(SysfsRoot, "bus/pci/devices", address.ToString()));
        Directory.Delete(path, recursive: true);
    }

    /// <summary>Loads a driver, and has it take these ids.</summary>
    public SyntheticHost AddDriver(string name, ushort? vendor = null, ushort? device = null)
    {
        Directory.CreateDirectory(DriverPath(name));
        if (name == "vfio-pci")
        {
            Directory.CreateDirectory(Path.Combine(SysfsRoot, "module/vfio_pci"));
        }
        else if (vendor is not null)
        {
            string file = Path.Combine(DriverPath(name), ".ids");
            string line = string.Create(CultureInfo.InvariantCulture, $"0x{vendor:x4}:0x{device:x4}");
            if (!File.Exists(file) || !File.ReadAllLines(file).Contains(line))
            {
                File.AppendAllText(file, line + "\n");
            }
        }

        return this;
    }

    /// <summary>Writes a file of <c>/proc</c> anew.</summary>
    public SyntheticHost WriteProc(string name, string text)
    {
        string path = Path.Combine(ProcRoot, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        return this;
    }

    /// <summary>Writes an attribute of a device anew.</summary>
    public SyntheticHost WriteAttribute(PciAddress address, string name, string text)
    {
        File.WriteAllText(Path.Combine(_paths[address], name), text);
        return this;
    }

    /// <summary>Adds a process with open files; a file is named by its path in <see cref="DevRoot"/> or an absolute one.</summary>
    public SyntheticHost AddProcess(int pid, string command, params string[] files)
    {
        ArgumentNullException.ThrowIfNull(files);
        string path = Path.Combine(ProcRoot, pid.ToString(CultureInfo.InvariantCulture));
        Directory.CreateDirectory(Path.Combine(path, "fd"));
        File.WriteAllText(Path.Combine(path, "comm"), command + "\n");
        for (int i = 0; i < files.Length; i++)
        {
            File.CreateSymbolicLink(Path.Combine(path, "fd", i.ToString(CultureInfo.InvariantCulture)), Path.Combine(DevRoot, files[i]));
        }

        return this;
    }

    /// <inheritdoc/>
    public void Dispose() => Directory.Delete(Folder, recursive: true);

    private void JoinGroup(string path, PciAddress address, int number)
    {
        string group = Path.Combine(SysfsRoot, "kernel/iommu_groups", number.ToString(CultureInfo.InvariantCulture));
        if (!Directory.Exists(group))
        {
            Directory.CreateDirectory(Path.Combine(group, "devices"));
            File.WriteAllText(Path.Combine(group, "type"), "DMA-FQ\n");
            File.WriteAllText(Path.Combine(group, "reserved_regions"), "0x00000000fee00000 0x00000000feefffff msi\n");
        }

        Link(Path.Combine(path, "iommu_group"), group);
        Link(Path.Combine(group, "devices", address.ToString()), path);
    }

    private string DriverPath(string name) => Path.Combine(SysfsRoot, "bus/pci/drivers", name);

    private void Append(string proc, string text) => File.AppendAllText(Path.Combine(ProcRoot, proc), text, new UTF8Encoding(false));

    private static void Link(string path, string target) =>
        File.CreateSymbolicLink(path, Path.GetRelativePath(Path.GetDirectoryName(path)!, target));
}
