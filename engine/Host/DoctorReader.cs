// Reads what the doctor looks at: CPU, KVM, IOMMU, QEMU, limits, rights, space. Nothing is loaded or changed by it.

using System.Collections.Immutable;
using System.Globalization;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Host;

/// <summary>Reads <see cref="HostFacts"/>.</summary>
/// <param name="host">The host's roots.</param>
/// <param name="qemu">QEMU.</param>
/// <param name="dataDirectory">Where the store is or will be.</param>
/// <param name="root">Where the distribution's files are (<c>/</c>); null for a synthetic host, which has no distribution.</param>
public sealed class DoctorReader(VfioHost host, QemuCapabilities qemu, string dataDirectory, string? root)
{
    // The chain that starts a guest (QemuCommandLine), and what loads VFIO.
    private static readonly ImmutableArray<string> NeededPrograms = ["sh", "setsid", "prlimit", "setpriv", "modprobe"];

    // Linux: each firmware's table of its IOMMUs (drivers/acpi/tables.c names them all). Intel, AMD, Arm, virtio.
    private static readonly ImmutableArray<string> IommuTables = ["DMAR", "IVRS", "IORT", "VIOT"];

    private readonly KernelModules _modules = new(root is null ? null : Path.Combine(root, "lib/modules"));

    /// <summary>Reads it.</summary>
    /// <exception cref="HostFault">Something of the host is there and cannot be read.</exception>
    public HostFacts Read()
    {
        var cpu = ProcText.ParseCpu(FirstCpu());
        string status = SysDir.ReadText(Proc("self/status")) ?? "";
        (KvmState kvm, string? fault) = ReadKvm();
        return new HostFacts
        {
            Distribution = root is null ? Distribution.Unknown : BootFiles.ReadDistribution(root),
            BootLoader = root is null ? BootLoader.Unknown : BootFiles.FindBootLoader(root, host.SysfsRoot),
            CpuVendor = cpu.Vendor,
            Virtualization = cpu.Virtualization,
            IsVirtualMachine = cpu.IsVirtualMachine,
            Kvm = kvm,
            KvmFault = fault,
            FirmwareHasIommu = Sysfs("firmware/acpi/tables") is var tables && Directory.Exists(tables)
                ? IommuTables.Any(table => File.Exists(Path.Combine(tables, table)))
                : null,
            IommuUnits = [.. NamesIn(Sysfs("class/iommu")).Order(StringComparer.Ordinal)],
            InterruptRemapping = cpu.Vendor is null ? null : ReadInterruptRemapping(),
            HasIommufd = Directory.Exists(Sysfs("module/iommufd")) || File.Exists(VfioFiles.IommufdPath(host.DevRoot))
                || _modules.Has((SysDir.ReadText(Proc("sys/kernel/osrelease")) ?? "").Trim(), "iommufd"),
            Qemu = qemu.Report(),
            MissingPrograms = [.. NeededPrograms.Where(program => Programs.Find(program) is null)],
            MemoryLockBytes = ProcText.ParseMemoryLock(SysDir.ReadText(Proc("self/limits")) ?? ""),
            HugePages = [.. NamesIn(Sysfs("kernel/mm/hugepages")).Select(ReadHugePages).OfType<HugePages>().OrderBy(pages => pages.SizeBytes)],
            User = ProcStat.ParseUid(status),
            Capabilities = ProcText.ParseCapabilities(status),
            DataDirectory = dataDirectory,
            DataFreeBytes = FreeBytes(),
        };
    }

    private string Sysfs(string path) => Path.Combine(host.SysfsRoot, path);

    private string Proc(string path) => Path.Combine(host.ProcRoot, path);

    private static IEnumerable<string> NamesIn(string directory) =>
        Directory.Exists(directory) ? Directory.EnumerateFileSystemEntries(directory).Select(path => Path.GetFileName(path)) : [];

    // Of many CPUs the first tells it; the kernel asks each for its frequency, which takes time.
    private IEnumerable<string> FirstCpu() => File.Exists(Proc("cpuinfo")) ? File.ReadLines(Proc("cpuinfo")).TakeWhile(line => line.Length > 0) : [];

    private (KvmState State, string? Fault) ReadKvm()
    {
        string node = Path.Combine(host.DevRoot, "kvm");
        nint opened = Libc.Open(node, Libc.O_RDWR);
        if (opened < 0)
        {
            return (Errno)(-opened) is Errno.ENOENT ? (KvmState.Absent, null) : (KvmState.Closed, new HostFault("open", node, (Errno)(-opened)).Message);
        }

        Libc.Close(opened);
        try
        {
            QemuHost.Probe(kvm: node);
            return (KvmState.Works, null);
        }
        catch (HostFault fault)
        {
            return (KvmState.ForRootOnly, fault.Message);
        }
    }

    private bool? ReadInterruptRemapping()
    {
        bool? remapping = null;
        foreach (string irq in NamesIn(Sysfs("kernel/irq")))
        {
            string chip = SysDir.ReadText(Path.Combine(Sysfs("kernel/irq"), irq, "chip_name")) ?? "";
            if (chip.StartsWith("IR-", StringComparison.Ordinal))
            {
                return true;
            }

            remapping = chip.Trim().Length > 0 ? false : remapping;
        }

        return remapping;
    }

    // hugepages-2048kB, with nr_hugepages and free_hugepages in it.
    private HugePages? ReadHugePages(string name)
    {
        const string Prefix = "hugepages-";
        const string Suffix = "kB";
        if (!name.StartsWith(Prefix, StringComparison.Ordinal) || !name.EndsWith(Suffix, StringComparison.Ordinal)
            || !long.TryParse(name.AsSpan()[Prefix.Length..^Suffix.Length], NumberStyles.None, CultureInfo.InvariantCulture, out long kibibytes))
        {
            return null;
        }

        long Count(string file) => long.TryParse(
            SysDir.ReadText(Path.Combine(Sysfs("kernel/mm/hugepages"), name, file)), NumberStyles.AllowTrailingWhite, CultureInfo.InvariantCulture, out long count) ? count : 0;
        return new HugePages(kibibytes << 10, Count("nr_hugepages"), Count("free_hugepages"));
    }

    // The directory is made by the service's first start: until then what is above it says how much it will have.
    private long FreeBytes()
    {
        string directory = Path.GetFullPath(dataDirectory);
        while (!Directory.Exists(directory) && Path.GetDirectoryName(directory) is { } above)
        {
            directory = above;
        }

        try
        {
            return new DriveInfo(directory).AvailableFreeSpace;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            throw new HostFault("statfs", directory, Errno.None, error.Message, error);
        }
    }
}
