// What is of the host beyond its PCI devices: all that the doctor looks at, as immutable records.

using System.Collections.Immutable;
using AssignHub.Engine.Guests;

namespace AssignHub.Engine.Host;

/// <summary>One reading of what a host brings along for assigning devices. What could not be told is null.</summary>
public sealed record HostFacts
{
    /// <summary>The distribution (<c>os-release</c>).</summary>
    public Distribution Distribution { get; init; } = Distribution.Unknown;
    /// <summary>What sets the kernel command line.</summary>
    public BootLoader BootLoader { get; init; }
    /// <summary>The vendor of an x86 CPU (<c>vendor_id</c> of <c>/proc/cpuinfo</c>); null on other architectures.</summary>
    public string? CpuVendor { get; init; }
    /// <summary>The CPU's flag of virtualization, <c>vmx</c> or <c>svm</c>.</summary>
    public string? Virtualization { get; init; }
    /// <summary>Whether the host is a virtual machine itself (the flag <c>hypervisor</c>).</summary>
    public bool IsVirtualMachine { get; init; }
    /// <summary>KVM's device node.</summary>
    public KvmState Kvm { get; init; }
    /// <summary>Why KVM is of no use, in words, where its node is there.</summary>
    public string? KvmFault { get; init; }
    /// <summary>Whether the firmware describes an IOMMU (the ACPI tables DMAR, IVRS, IORT, VIOT); null without ACPI.</summary>
    public bool? FirmwareHasIommu { get; init; }
    /// <summary>The IOMMU units that the kernel drives (<c>/sys/class/iommu</c>): <c>dmar0</c>, <c>ivhd0</c>.</summary>
    public ImmutableArray<string> IommuUnits { get; init; } = [];
    /// <summary>
    /// Whether the IOMMU remaps interrupts: on x86 the names of remapped interrupt chips (<c>/sys/kernel/irq/N/chip_name</c>) begin with
    /// <c>IR-</c> (arch/x86/kernel/apic/io_apic.c, and the MSI parents' prefix in drivers/iommu).
    /// </summary>
    public bool? InterruptRemapping { get; init; }
    /// <summary>Whether the kernel has iommufd, loaded or not.</summary>
    public bool HasIommufd { get; init; }
    /// <summary>What QEMU says of itself.</summary>
    public required QemuReport Qemu { get; init; }
    /// <summary>Programs that starting a guest or loading VFIO takes, and that are not installed.</summary>
    public ImmutableArray<string> MissingPrograms { get; init; } = [];
    /// <summary>The hard limit of memory that this process and its children may lock (RLIMIT_MEMLOCK); <see cref="long.MaxValue"/> is none.</summary>
    public long? MemoryLockBytes { get; init; }
    /// <summary>Huge pages, by size.</summary>
    public ImmutableArray<HugePages> HugePages { get; init; } = [];
    /// <summary>This process's effective user.</summary>
    public uint? User { get; init; }
    /// <summary>This process's effective capabilities (<c>CapEff</c> of <c>/proc/self/status</c>), bit by number.</summary>
    public ulong? Capabilities { get; init; }
    /// <summary>Where the store is or will be.</summary>
    public required string DataDirectory { get; init; }
    /// <summary>What is free in the file system of the data directory.</summary>
    public long DataFreeBytes { get; init; }
}

/// <summary>A distribution by its <c>os-release</c> (os-release(5)).</summary>
/// <param name="Id"><c>ID</c>.</param>
/// <param name="Like"><c>ID_LIKE</c>: those that it is made from.</param>
public sealed record Distribution(string Id, ImmutableArray<string> Like)
{
    /// <summary>One that says nothing of itself.</summary>
    public static Distribution Unknown { get; } = new("", []);

    /// <summary>Whether it is one of these, or made from one.</summary>
    public bool Is(params ReadOnlySpan<string> ids)
    {
        foreach (string id in ids)
        {
            if (Id == id || Like.Contains(id))
            {
                return true;
            }
        }

        return false;
    }
}

/// <summary>What sets the kernel command line.</summary>
public enum BootLoader
{
    /// <summary>None that is known.</summary>
    Unknown,
    /// <summary>GRUB, by <c>/etc/default/grub</c>.</summary>
    Grub,
    /// <summary>Boot entries of GRUB or another, by Fedora's <c>grubby</c>.</summary>
    Grubby,
    /// <summary>The deployments of an <c>rpm-ostree</c> host.</summary>
    RpmOstree,
    /// <summary>systemd-boot, whose entries are written by hand.</summary>
    SystemdBoot,
    /// <summary>systemd-boot, whose entries <c>kernel-install</c> writes from <c>/etc/kernel/cmdline</c>.</summary>
    KernelInstall,
    /// <summary>systemd-boot on Proxmox, by <c>proxmox-boot-tool</c>.</summary>
    ProxmoxBootTool,
}

/// <summary>What became of KVM's device node.</summary>
public enum KvmState
{
    /// <summary>It is not there.</summary>
    Absent,
    /// <summary>It is there, and KVM cannot be opened.</summary>
    Closed,
    /// <summary>It opens for root alone, and guests do not run as root.</summary>
    ForRootOnly,
    /// <summary>It works.</summary>
    Works,
}

/// <summary>The huge pages of one size (<c>/sys/kernel/mm/hugepages</c>, Documentation/admin-guide/mm/hugetlbpage.rst).</summary>
/// <param name="SizeBytes">The size of a page.</param>
/// <param name="Total">How many are set aside.</param>
/// <param name="Free">How many of these nobody has.</param>
public sealed record HugePages(long SizeBytes, long Total, long Free);
