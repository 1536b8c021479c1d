// A guest as clients see it, and what they ask for.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Guests;

/// <summary>A virtual machine: what was asked for, and under <c>status</c> what is.</summary>
public sealed record GuestResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>Its name.</summary>
    public required string Name { get; init; }
    /// <summary>Virtual CPUs.</summary>
    public required int Vcpus { get; init; }
    /// <summary>Memory.</summary>
    public required long MemoryBytes { get; init; }
    /// <summary>QEMU machine.</summary>
    public required string Machine { get; init; }
    /// <summary>QEMU CPU model.</summary>
    public required string Cpu { get; init; }
    /// <summary>Direct kernel boot, or null.</summary>
    public GuestKernel? Kernel { get; init; }
    /// <summary>Virtual disks.</summary>
    public required ImmutableArray<GuestDisk> Disks { get; init; }
    /// <summary>Virtual networks.</summary>
    public required ImmutableArray<GuestNetwork> Networks { get; init; }
    /// <summary>Ports kept free for hot-plugged devices.</summary>
    public required int HotplugSlots { get; init; }
    /// <summary>Whether it sees an IOMMU.</summary>
    public required GuestIommu GuestIommu { get; init; }
    /// <summary>Devices asked for.</summary>
    public required ImmutableArray<DeviceSelection> Devices { get; init; }
    /// <summary>Free key and value pairs.</summary>
    public required ImmutableSortedDictionary<string, string> Labels { get; init; }
    /// <summary>Counts the changes of what was asked for.</summary>
    public required long Generation { get; init; }
    /// <summary>What is.</summary>
    public required GuestStatus Status { get; init; }

    /// <summary>Shows a guest.</summary>
    public static GuestResource From(World world, Guest guest) => new()
    {
        Host = world.Host.Host,
        Name = guest.Name,
        Vcpus = guest.Spec.Vcpus,
        MemoryBytes = guest.Spec.MemoryBytes,
        Machine = guest.Spec.Machine,
        Cpu = guest.Spec.Cpu,
        Kernel = guest.Spec.Kernel,
        Disks = guest.Spec.Disks,
        Networks = guest.Spec.Networks,
        HotplugSlots = guest.Spec.HotplugSlots,
        GuestIommu = guest.Spec.GuestIommu,
        Devices = [.. guest.Spec.Devices.Select(address => new DeviceSelection { Address = address })],
        Labels = guest.Spec.Labels,
        Generation = guest.Generation,
        Status = new GuestStatus
        {
            State = guest.State,
            Pid = guest.Process?.Pid,
            Backend = guest.Devices.Values.Select(device => world.Inventory.Containers.GetValueOrDefault(device.Container)?.Backend).FirstOrDefault(backend => backend is not null),
            ContainersOpen = world.Guests.GetValueOrDefault(guest.Name)?.ContainersOpen ?? 0,
            Devices = [.. guest.Devices.Values.Select(device => GuestDeviceResource.From(world, device))],
            Error = guest.Error,
        },
    };
}

/// <summary>What a guest is.</summary>
public sealed record GuestStatus
{
    /// <summary>How far it is.</summary>
    public required GuestState State { get; init; }
    /// <summary>Its process while it has one.</summary>
    public int? Pid { get; init; }
    /// <summary>How its containers reach the IOMMU; null while it has none.</summary>
    public string? Backend { get; init; }
    /// <summary>Container files that the kernel shows open in its process: one for each of its groups.</summary>
    public required int ContainersOpen { get; init; }
    /// <summary>Its devices.</summary>
    public required ImmutableArray<GuestDeviceResource> Devices { get; init; }
    /// <summary>Its last words, if it failed.</summary>
    public string? Error { get; init; }
}

/// <summary>A device in a guest.</summary>
public sealed record GuestDeviceResource
{
    /// <summary>Its address.</summary>
    public required PciAddress Address { get; init; }
    /// <summary>Its group's number at this boot.</summary>
    public int? Group { get; init; }
    /// <summary>Its group's container.</summary>
    public required string Container { get; init; }
    /// <summary>How far it is.</summary>
    public required GuestDeviceState State { get; init; }

    /// <summary>Shows a guest's device.</summary>
    public static GuestDeviceResource From(World world, GuestDevice device) => new()
    {
        Address = device.Address,
        Group = world.Inventory.Containers.GetValueOrDefault(device.Container)?.Group,
        Container = device.Container,
        State = device.State,
    };
}

/// <summary>A device to assign.</summary>
public sealed record DeviceSelection
{
    /// <summary>Its address.</summary>
    public required PciAddress Address { get; init; }
}

/// <summary>What a guest is to be. What is left out gets its default.</summary>
public sealed record GuestRequest
{
    /// <summary>Its name: letters, digits, <c>-</c>, <c>_</c> and <c>.</c>, at most 63, a letter or digit first.</summary>
    public string? Name { get; init; }
    /// <summary>Virtual CPUs, 1 to 1024; 1 if left out.</summary>
    public int? Vcpus { get; init; }
    /// <summary>Memory; 512 MiB if left out.</summary>
    public long? MemoryBytes { get; init; }
    /// <summary>QEMU machine: <c>q35</c> or a version of it.</summary>
    public string? Machine { get; init; }
    /// <summary>QEMU CPU model; <c>host</c> if left out.</summary>
    public string? Cpu { get; init; }
    /// <summary>Direct kernel boot.</summary>
    public GuestKernel? Kernel { get; init; }
    /// <summary>Virtual disks.</summary>
    public ImmutableArray<GuestDisk>? Disks { get; init; }
    /// <summary>Virtual networks.</summary>
    public ImmutableArray<GuestNetwork>? Networks { get; init; }
    /// <summary>Ports kept free for hot-plugged devices, 0 to 16; 4 if left out.</summary>
    public int? HotplugSlots { get; init; }
    /// <summary>Whether it sees an IOMMU.</summary>
    public GuestIommu? GuestIommu { get; init; }
    /// <summary>Devices to assign.</summary>
    public ImmutableArray<DeviceSelection>? Devices { get; init; }
    /// <summary>Free key and value pairs.</summary>
    public ImmutableSortedDictionary<string, string>? Labels { get; init; }
}
