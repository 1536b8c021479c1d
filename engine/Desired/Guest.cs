// A guest: the virtual machine that was asked for, and the process that is it.

using System.Collections.Immutable;
using System.Text.Json;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Desired;

/// <summary>A guest as it was asked for, with what is known of its process.</summary>
public sealed record Guest
{
    /// <summary>What was asked for.</summary>
    public required GuestSpec Spec { get; init; }
    /// <summary>Counts the changes of the spec, from 1.</summary>
    public long Generation { get; init; } = 1;
    /// <summary>How far it is.</summary>
    public GuestState State { get; init; }
    /// <summary>The user that its process runs as, its own and nobody else's.</summary>
    public required uint Uid { get; init; }
    /// <summary>Its process while it has one.</summary>
    public GuestProcess? Process { get; init; }
    /// <summary>The devices that it has or gets.</summary>
    public ImmutableSortedDictionary<PciAddress, GuestDevice> Devices { get; init; } = ImmutableSortedDictionary<PciAddress, GuestDevice>.Empty;
    /// <summary>Its last words, if it failed.</summary>
    public string? Error { get; init; }
    /// <summary>When it was created.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>Its name.</summary>
    public string Name => Spec.Name;

    /// <summary>Whether it has, or is about to have, a process.</summary>
    public bool IsActive => State is GuestState.Starting or GuestState.Running or GuestState.Paused or GuestState.Stopping;

    /// <summary>This guest without a device, neither asked for nor had.</summary>
    public Guest Without(PciAddress device) => this with
    {
        Devices = Devices.Remove(device),
        Spec = Spec with { Devices = Spec.Devices.Remove(device) },
    };

    /// <summary>This guest with one device put in or replaced.</summary>
    public Guest With(GuestDevice device) => this with { Devices = Devices.SetItem(device.Address, device) };
}

/// <summary>What a guest is to be. Sizes are bytes.</summary>
public sealed record GuestSpec
{
    /// <summary>Its name: letters, digits, <c>-</c>, <c>_</c> and <c>.</c>, at most 63, a letter or digit first.</summary>
    public required string Name { get; init; }
    /// <summary>Virtual CPUs.</summary>
    public int Vcpus { get; init; } = 1;
    /// <summary>Memory.</summary>
    public long MemoryBytes { get; init; } = 512L << 20;
    /// <summary>QEMU machine; a q35 version.</summary>
    public string Machine { get; init; } = "q35";
    /// <summary>QEMU CPU model.</summary>
    public string Cpu { get; init; } = "host";
    /// <summary>Direct kernel boot; null boots from the disks.</summary>
    public GuestKernel? Kernel { get; init; }
    /// <summary>Virtual disks.</summary>
    public ImmutableArray<GuestDisk> Disks { get; init; } = [];
    /// <summary>Virtual networks.</summary>
    public ImmutableArray<GuestNetwork> Networks { get; init; } = [];
    /// <summary>Ports kept free for hot-plugged devices.</summary>
    public int HotplugSlots { get; init; } = 4;
    /// <summary>Whether the guest sees an IOMMU; with it each group has a container of its own in QEMU.</summary>
    public GuestIommu GuestIommu { get; init; }
    /// <summary>Devices to assign.</summary>
    public ImmutableArray<PciAddress> Devices { get; init; } = [];
    /// <summary>Free key and value pairs.</summary>
    public ImmutableSortedDictionary<string, string> Labels { get; init; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>Whether two specs ask for the same; immutable arrays compare by reference, so the records' own equality would not tell.</summary>
    public bool IsSameAs(GuestSpec other) =>
        JsonSerializer.Serialize(this, EngineJson.Default.GuestSpec) == JsonSerializer.Serialize(other, EngineJson.Default.GuestSpec);
}

/// <summary>Direct kernel boot; paths on the host that the guest's process can read.</summary>
/// <param name="Path">The kernel image.</param>
/// <param name="Initrd">The initial RAM disk, or null.</param>
/// <param name="CommandLine">The kernel command line.</param>
public sealed record GuestKernel(string Path, string? Initrd = null, string CommandLine = "");

/// <summary>A virtual disk.</summary>
/// <param name="Path">Its image.</param>
/// <param name="Format"><c>qcow2</c> or <c>raw</c>.</param>
/// <param name="ReadOnly">Whether the guest may only read.</param>
public sealed record GuestDisk(string Path, string Format = "qcow2", bool ReadOnly = false);

/// <summary>A virtual network interface on QEMU's user-mode network.</summary>
/// <param name="Mac">Its MAC address; null lets AssignHub derive one from the guest's name.</param>
public sealed record GuestNetwork(string? Mac = null);

/// <summary>Whether a guest gets an emulated IOMMU.</summary>
public enum GuestIommu
{
    /// <summary>Where the backend needs one to keep one container a group.</summary>
    Auto,
    /// <summary>Always.</summary>
    On,
    /// <summary>Never; on <c>type1v2</c> the guest is then limited to one group.</summary>
    Off,
}

/// <summary>How far a guest is.</summary>
public enum GuestState
{
    /// <summary>No process.</summary>
    Stopped,
    /// <summary>Its process starts and gets its devices.</summary>
    Starting,
    /// <summary>Its CPUs run.</summary>
    Running,
    /// <summary>Its CPUs are held.</summary>
    Paused,
    /// <summary>It was asked to end.</summary>
    Stopping,
    /// <summary>It ended, or could not start, without being asked.</summary>
    Failed,
}

/// <summary>A guest's process: the pid alone may have been used again, with its start time it is unique until reboot.</summary>
/// <param name="Pid">Its process id.</param>
/// <param name="StartTime">Field 22 of <c>/proc/PID/stat</c>, in clock ticks since boot.</param>
/// <param name="Uid">The user that it runs as.</param>
public sealed record GuestProcess(int Pid, ulong StartTime, uint Uid);

/// <summary>A device in a guest.</summary>
/// <param name="Address">The device.</param>
/// <param name="Container">The container that holds its group.</param>
/// <param name="State">How far it is.</param>
/// <param name="Bus">The bus in the guest that it is plugged into, by QEMU's id; null before it was chosen.</param>
/// <param name="Slot">The slot on a conventional bus; null on a port.</param>
public sealed record GuestDevice(PciAddress Address, string Container, GuestDeviceState State, string? Bus = null, int? Slot = null);

/// <summary>How far a device is on its way into or out of a guest.</summary>
public enum GuestDeviceState
{
    /// <summary>The guest does not run yet.</summary>
    Pending,
    /// <summary>It is plugged.</summary>
    Attaching,
    /// <summary>QEMU has it.</summary>
    Attached,
    /// <summary>The guest was asked to let go.</summary>
    Detaching,
    /// <summary>It could not be plugged or unplugged.</summary>
    Failed,
}
