// What is: one observation of the host, as immutable records. The rules read nothing else of the world but this and the inventory.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>One consistent reading of the host's PCI devices, IOMMU groups and what holds them.</summary>
public sealed record HostState
{
    /// <summary>The host's name (<c>/proc/sys/kernel/hostname</c>).</summary>
    public required string Host { get; init; }

    /// <summary>When it was read.</summary>
    public required DateTimeOffset ReadAt { get; init; }

    /// <summary>The release of the running kernel (<c>/proc/sys/kernel/osrelease</c>).</summary>
    public string KernelRelease { get; init; } = "";

    /// <summary>The kernel command line (<c>/proc/cmdline</c>).</summary>
    public string KernelCommandLine { get; init; } = "";

    /// <summary>Every PCI function that the kernel shows, bridges too, in bus order.</summary>
    public ImmutableSortedDictionary<PciAddress, PciDevice> Devices { get; init; } = ImmutableSortedDictionary<PciAddress, PciDevice>.Empty;

    /// <summary>Every IOMMU group by the number that the kernel gave it at this boot.</summary>
    public ImmutableSortedDictionary<int, IommuGroup> Groups { get; init; } = ImmutableSortedDictionary<int, IommuGroup>.Empty;

    /// <summary>Processes that hold a group's VFIO file, by group number.</summary>
    public ImmutableDictionary<int, GroupHolder> Holders { get; init; } = ImmutableDictionary<int, GroupHolder>.Empty;

    /// <summary>How containers can reach the IOMMU here.</summary>
    public VfioSupport Vfio { get; init; } = new();
}

/// <summary>One PCI function as sysfs shows it. Ids are numbers here; the API writes them in hex.</summary>
public sealed record PciDevice
{
    /// <summary>The function's address.</summary>
    public required PciAddress Address { get; init; }
    /// <summary>PCI vendor id.</summary>
    public ushort VendorId { get; init; }
    /// <summary>PCI device id.</summary>
    public ushort DeviceId { get; init; }
    /// <summary>Subsystem vendor id.</summary>
    public ushort SubsystemVendorId { get; init; }
    /// <summary>Subsystem id.</summary>
    public ushort SubsystemId { get; init; }
    /// <summary>Class code, 24 bits: base class, subclass, programming interface.</summary>
    public uint ClassCode { get; init; }
    /// <summary>Revision id.</summary>
    public byte Revision { get; init; }
    /// <summary>Device serial number capability (16 hex digits); of an NVMe disk without one, what it told its driver; or null.</summary>
    public string? Serial { get; init; }
    /// <summary>The driver bound to it, or null.</summary>
    public string? Driver { get; init; }
    /// <summary>What <c>driver_override</c> says, or null if nothing.</summary>
    public string? DriverOverride { get; init; }
    /// <summary>Its IOMMU group, or null if the IOMMU is off or does not translate for it.</summary>
    public int? Group { get; init; }
    /// <summary>Its NUMA node, or null if the kernel knows none.</summary>
    public int? NumaNode { get; init; }
    /// <summary>The bridge above it, or null on a root bus.</summary>
    public PciAddress? ParentBridge { get; init; }
    /// <summary>Set for a PCI-to-PCI bridge or port (header type 1).</summary>
    public BridgeBuses? Bridge { get; init; }
    /// <summary>How the kernel can reset it, best first (<c>reset_method</c>); empty if it cannot.</summary>
    public ImmutableArray<string> ResetMethods { get; init; } = [];
    /// <summary>Bridges: whether the kernel offers <c>reset_subordinate</c>.</summary>
    public bool CanResetSubordinate { get; init; }
    /// <summary>Whether the firmware used it as the boot display.</summary>
    public bool BootVga { get; init; }
    /// <summary>SR-IOV, if it is a physical or virtual function.</summary>
    public SriovState? Sriov { get; init; }
    /// <summary>What the host does with it; empty if nothing.</summary>
    public ImmutableArray<HostUse> HostUses { get; init; } = [];
    /// <summary>Offsets and ids of its capability lists, a fingerprint for the check after a reset.</summary>
    public string CapabilityFingerprint { get; init; } = "";
    /// <summary>Its PCI Express type; <see cref="PcieType.None"/> for conventional PCI.</summary>
    public PcieType PcieType { get; init; } = PcieType.None;
    /// <summary>Access control services, or null where it has none. A switch port without them lets its neighbours reach each other.</summary>
    public PciAcs? Acs { get; init; }
    /// <summary>Its name below <c>/dev/vfio/devices</c> (<c>vfio0</c>) while a VFIO driver with character devices has it.</summary>
    public string? VfioDevice { get; init; }
    /// <summary>
    /// Whether the kernel holds the device's lock: a bind, unbind or reset is under way, or hangs. <see cref="DriverOverride"/> and
    /// <see cref="SriovState.NumVfs"/> are then as they were last read; <see cref="Driver"/> may be neither the old nor the new one.
    /// </summary>
    public bool Busy { get; init; }
    /// <summary>Whether configuration space answered when it was last read (at the first sight of the device).</summary>
    public bool Answers { get; init; } = true;

    /// <summary>Whether it is a PCI-to-PCI bridge or port.</summary>
    public bool IsBridge => Bridge is not null;
}

/// <summary>The bus numbers below a bridge.</summary>
/// <param name="SecondaryBus">The bus right below.</param>
/// <param name="SubordinateBus">The highest bus below.</param>
public sealed record BridgeBuses(byte SecondaryBus, byte SubordinateBus);

/// <summary>SR-IOV of one function.</summary>
/// <param name="TotalVfs">VFs that the PF can have; 0 on a VF.</param>
/// <param name="NumVfs">VFs that exist now.</param>
/// <param name="PhysicalFunction">On a VF: its PF.</param>
public sealed record SriovState(int TotalVfs, int NumVfs, PciAddress? PhysicalFunction);

/// <summary>One reason why the host needs a device.</summary>
/// <param name="Kind">What sort of use.</param>
/// <param name="Detail">The evidence in words: <c>nvme0n1p2 is mounted at /var/lib</c>.</param>
/// <param name="Remedy">What ends this use, literally: <c>unmount /var/lib</c>.</param>
public sealed record HostUse(HostUseKind Kind, string Detail, string Remedy)
{
    /// <summary>What of the host itself ends with the device (<c>the root file system</c>), so that no override lifts the use; null if nothing.</summary>
    public string? Essential { get; init; }
}

/// <summary>Sorts of use by the host.</summary>
public enum HostUseKind
{
    /// <summary>A mounted, swapped or pooled block device.</summary>
    Storage,
    /// <summary>A network interface that carries traffic.</summary>
    Network,
    /// <summary>The boot display or console.</summary>
    Display,
    /// <summary>A process holds one of its device nodes open.</summary>
    Process,
}

/// <summary>An IOMMU group.</summary>
/// <param name="Number">The kernel's number for it, good until the next boot.</param>
/// <param name="Devices">Its members in bus order, bridges too.</param>
/// <param name="Type">The default domain's type (<c>DMA</c>, <c>DMA-FQ</c>, <c>identity</c>).</param>
/// <param name="ReservedRegions">I/O addresses that a container must leave out.</param>
public sealed record IommuGroup(int Number, ImmutableArray<PciAddress> Devices, string Type, ImmutableArray<ReservedRegion> ReservedRegions)
{
    /// <summary>Whether VFIO made it up for a device without an IOMMU (<c>enable_unsafe_noiommu_mode</c>).</summary>
    public bool NoIommu { get; init; }
}

/// <summary>A reserved I/O virtual address range, both ends inclusive.</summary>
/// <param name="StartAddress">First address.</param>
/// <param name="EndAddress">Last address.</param>
/// <param name="Type"><c>direct</c>, <c>direct-relaxable</c>, <c>reserved</c> or <c>msi</c>.</param>
public sealed record ReservedRegion(ulong StartAddress, ulong EndAddress, string Type);

/// <summary>A process that holds a group's VFIO file open.</summary>
/// <param name="Pid">Its process id.</param>
/// <param name="Command">Its command name.</param>
public sealed record GroupHolder(int Pid, string Command);

/// <summary>What the kernel offers for containers.</summary>
public sealed record VfioSupport
{
    /// <summary>Whether an IOMMU is at work (any group exists).</summary>
    public bool IommuEnabled { get; init; }
    /// <summary>Whether the VFIO modules are there or can be loaded.</summary>
    public bool Available { get; init; }
    /// <summary>Whether <c>vfio-pci</c> is loaded (or built in) now, so that nothing has to be loaded first.</summary>
    public bool ModuleLoaded { get; init; }
    /// <summary>The backend that containers get, by the API's name; null if there is none, or while VFIO is not loaded.</summary>
    public string? Backend { get; init; }
    /// <summary>Why that one, or why none, in words.</summary>
    public string BackendReason { get; init; } = "";
    /// <summary>Whether <c>vfio.enable_unsafe_noiommu_mode</c> is on: the kernel makes up groups for devices without an IOMMU.</summary>
    public bool NoIommuOffered { get; init; }
    /// <summary>Whether the service was started to let such groups be claimed.</summary>
    public bool NoIommuAllowed { get; init; }
    /// <summary>Whether <c>pcie_acs_override</c> is on the kernel command line: groups may be smaller than what the hardware isolates.</summary>
    public bool AcsOverride { get; init; }
    /// <summary>Whether <c>allow_unsafe_interrupts</c> is on: a guest may forge interrupts.</summary>
    public bool UnsafeInterrupts { get; init; }
    /// <summary>What is wrong or worth knowing, in words.</summary>
    public ImmutableArray<string> Warnings { get; init; } = [];
}
