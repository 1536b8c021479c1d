// A device as clients see it.

using System.Collections.Immutable;
using System.Globalization;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Devices;

/// <summary>One PCI function.</summary>
public sealed record DeviceResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>Its address.</summary>
    public required PciAddress Address { get; init; }
    /// <summary>PCI vendor id, lower-case hex.</summary>
    public required string VendorId { get; init; }
    /// <summary>PCI device id, lower-case hex.</summary>
    public required string DeviceId { get; init; }
    /// <summary>Subsystem vendor id, lower-case hex.</summary>
    public required string SubsystemVendorId { get; init; }
    /// <summary>Subsystem id, lower-case hex.</summary>
    public required string SubsystemId { get; init; }
    /// <summary>The vendor's name by pci.ids, or null.</summary>
    public string? VendorName { get; init; }
    /// <summary>The device's name by pci.ids, or null.</summary>
    public string? DeviceName { get; init; }
    /// <summary>Class code, six hex digits: base class, subclass, programming interface.</summary>
    public required string Class { get; init; }
    /// <summary>The class's name by pci.ids, or null.</summary>
    public string? ClassName { get; init; }
    /// <summary>Revision, lower-case hex.</summary>
    public required string Revision { get; init; }
    /// <summary>Device serial number, or null.</summary>
    public string? Serial { get; init; }
    /// <summary>The driver bound to it, or null.</summary>
    public string? Driver { get; init; }
    /// <summary>Its IOMMU group's number at this boot, or null.</summary>
    public int? Group { get; init; }
    /// <summary>Its NUMA node, or null.</summary>
    public int? NumaNode { get; init; }
    /// <summary>The bridge above it, or null.</summary>
    public PciAddress? ParentBridge { get; init; }
    /// <summary>Whether it is a PCI-to-PCI bridge or port.</summary>
    public required bool IsBridge { get; init; }
    /// <summary>How the kernel can reset it alone, best first.</summary>
    public required ImmutableArray<string> ResetMethods { get; init; }
    /// <summary>All devices that a reset of its bus hits, itself included.</summary>
    public required ImmutableArray<PciAddress> ResetDomain { get; init; }
    /// <summary>SR-IOV, or null.</summary>
    public SriovState? Sriov { get; init; }
    /// <summary>What the host does with it.</summary>
    public required ImmutableArray<HostUseResource> HostUse { get; init; }
    /// <summary>Somebody's word that it may be taken although the host uses it, while that is in force; or null.</summary>
    public OverrideResource? Override { get; init; }
    /// <summary>Whether its group can be claimed now.</summary>
    public required bool Assignable { get; init; }
    /// <summary>Why not.</summary>
    public required ImmutableArray<Refusal> Refusals { get; init; }
    /// <summary>What it is to AssignHub.</summary>
    public required DeviceState State { get; init; }

    /// <summary>Shows a device.</summary>
    public static DeviceResource From(World world, PciDevice device, PciIds names)
    {
        ImmutableArray<Refusal> refusals = RefusalsFor(world, device);
        PciNames known = names.Lookup(device, world.Host);
        return new DeviceResource
        {
            Host = world.Host.Host,
            Address = device.Address,
            VendorId = Hex4(device.VendorId),
            DeviceId = Hex4(device.DeviceId),
            SubsystemVendorId = Hex4(device.SubsystemVendorId),
            SubsystemId = Hex4(device.SubsystemId),
            VendorName = known.Vendor,
            DeviceName = known.Device,
            Class = device.ClassCode.ToString("x6", CultureInfo.InvariantCulture),
            ClassName = known.Class,
            Revision = device.Revision.ToString("x2", CultureInfo.InvariantCulture),
            Serial = device.Serial,
            Driver = device.Driver,
            Group = device.Group,
            NumaNode = device.NumaNode,
            ParentBridge = device.ParentBridge,
            IsBridge = device.IsBridge,
            ResetMethods = device.ResetMethods,
            ResetDomain = Resets.DomainOf(world.Host, device),
            Sriov = device.Sriov,
            HostUse = [.. device.HostUses.Select(use => new HostUseResource(use.Kind, use.Detail, use.Essential is null))],
            Override = Overrides.Of(world, device.Address) is { } given ? new OverrideResource(given.Reason, given.Until, given.Actor) : null,
            Assignable = refusals.IsEmpty,
            Refusals = refusals,
            State = Ownership.StateOf(world, device),
        };
    }

    /// <summary>A claimed device that the host no longer shows.</summary>
    public static DeviceResource Missing(World world, ContainerMember member, PciIds names) => From(world, new PciDevice
    {
        Address = member.Address,
        VendorId = member.VendorId,
        DeviceId = member.DeviceId,
        Serial = member.Serial,
    }, names) with
    {
        State = DeviceState.Missing,
        Assignable = false,
        Refusals = [Engine.Rules.Claims.WhyMissing(world, member.Address)],
    };

    private static ImmutableArray<Refusal> RefusalsFor(World world, PciDevice device) =>
        Ownership.Stays(device) ? [Engine.Rules.Refusals.IsBridge(device.Address)]
        : world.GroupOf(device.Address) is { } group ? Claims.RefusalsFor(world, group)
        : [Engine.Rules.Refusals.IommuDisabled()];

    private static string Hex4(ushort id) => id.ToString("x4", CultureInfo.InvariantCulture);
}

/// <summary>One reason why the host needs a device.</summary>
/// <param name="Kind">What sort of use.</param>
/// <param name="Detail">The evidence in words.</param>
/// <param name="Overridable">Whether an override lifts it; the root file system and AssignHub's own data are out of its reach.</param>
public sealed record HostUseResource(HostUseKind Kind, string Detail, bool Overridable);
