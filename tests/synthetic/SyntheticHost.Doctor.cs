// All that a host brings along for assigning devices, beyond its devices.

using System.Diagnostics;
using System.Globalization;

namespace AssignHub.Synthetic;

public sealed partial class SyntheticHost
{
    /// <summary>Every capability that Linux has (linux/capability.h).</summary>
    public const ulong AllCapabilities = 0x1ffffffffff;

    /// <summary>
    /// Makes the host one that nothing keeps from assigning: an Intel CPU with KVM, remapped interrupts, iommufd, huge pages, a process with all
    /// rights. QEMU is not a part of it (see <see cref="WriteQemu"/>).
    /// </summary>
    /// <param name="devRoot">Where its device files are looked for; null is <see cref="DevRoot"/>.</param>
    public SyntheticHost MakeReady(string? devRoot = null)
    {
        string dev = devRoot ?? DevRoot;
        Directory.CreateDirectory(dev);
        foreach (string node in (string[])["kvm", "iommu"])
        {
            File.WriteAllText(Path.Combine(dev, node), "");
        }

        File.SetUnixFileMode(Path.Combine(dev, "kvm"), (UnixFileMode)0b110_110_110);
        AddDriver("vfio-pci");
        WriteProc("devices", "Character devices:\n510 vfio-dev\n");
        WriteProc("cpuinfo", "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vme vmx smx\n\nprocessor\t: 1\nvendor_id\t: Second\n");
        WriteProc("self/limits", "Limit                     Soft Limit           Hard Limit           Units     \nMax locked memory         8388608              8388608              bytes     \n");
        WriteCapabilities(AllCapabilities);
        WriteSysfs("kernel/irq/0/chip_name", "\n");
        WriteSysfs("kernel/irq/24/chip_name", "IR-PCI-MSIX-0000:01:00.0\n");
        WriteSysfs("class/iommu/dmar0/uevent", "");
        WriteSysfs("firmware/acpi/tables/DMAR", "");
        WriteSysfs("kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n");
        return WriteSysfs("kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "500\n");
    }

    /// <summary>Writes what the process that looks may do.</summary>
    public SyntheticHost WriteCapabilities(ulong effective) =>
        WriteProc("self/status", string.Create(CultureInfo.InvariantCulture, $"Name:\tassignhub\nUid:\t1000\t0\t0\t0\nCapPrm:\t0000000000000000\nCapEff:\t{effective:x16}\n"));

    /// <summary>Writes a file of sysfs anew.</summary>
    public SyntheticHost WriteSysfs(string name, string text)
    {
        string path = Path.Combine(SysfsRoot, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
        return this;
    }

    /// <summary>Writes a program that answers the questions that are put to QEMU, and counts in a file beside it how often it was asked.</summary>
    /// <param name="version">Its version.</param>
    /// <param name="hasIommufd">Whether it has the iommufd object.</param>
    /// <returns>The program.</returns>
    public string WriteQemu(Version version, bool hasIommufd)
    {
        ArgumentNullException.ThrowIfNull(version);
        string program = Path.Combine(Folder, "qemu");
        string objects = hasIommufd ? """{"name": "rng-random"}, {"name": "iommufd"}""" : """{"name": "rng-random"}""";
        File.WriteAllText(program + ".sh", string.Create(CultureInfo.InvariantCulture, $$$"""
            #!/bin/sh
            echo asked >> '{{{program}}}.log'
            cat > /dev/null
            cat <<'END'
            {"QMP": {}}
            {"return": {}}
            {"return": {"qemu": {"micro": 2, "minor": {{{version.Minor}}}, "major": {{{version.Major}}} } }, "id": "version"}
            {"return": [{{{objects}}}], "id": "objects"}
            {"return": [{"name": "virtio-net-pci"}, {"name": "vfio-pci"}], "id": "devices"}
            END

            """));
        // Written by a process of its own: another thread's fork would hold this process's descriptor for a moment, and exec fails with ETXTBSY meanwhile.
        using Process install = Process.Start("install", ["-m", "755", program + ".sh", program]);
        install.WaitForExit();
        return program;
    }
}
