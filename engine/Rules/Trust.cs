// What makes a host's groups less trustworthy than they look: nothing of it forbids a claim, all of it is said.

using System.Collections.Immutable;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The warnings of the host and its groups.</summary>
public static class Trust
{
    private const string Identity = "identity";

    /// <summary>The host's, in words.</summary>
    public static IEnumerable<string> WarningsFor(HostState host)
    {
        ArgumentNullException.ThrowIfNull(host);
        int open = host.Groups.Values.Count(group => group.Type == Identity);
        return open == 0
            ? host.Vfio.Warnings
            : host.Vfio.Warnings.Add($"{open} of {host.Groups.Count} groups are in identity mode: nothing keeps their devices from the host's memory while the host "
                + "has them. Boot with iommu=nopt, or without iommu=pt.");
    }

    /// <summary>A group's own, in words.</summary>
    public static IEnumerable<string> WarningsFor(HostState host, IommuGroup group)
    {
        ArgumentNullException.ThrowIfNull(host);
        ArgumentNullException.ThrowIfNull(group);
        if (group.NoIommu)
        {
            yield return $"Group {group.Number} has no IOMMU behind it: whoever holds its devices reaches all of the host's memory, and the kernel is tainted.";
            yield break;
        }

        if (group.Type == Identity)
        {
            yield return $"Group {group.Number} is in identity mode: what its devices have been told before the claim they could do to all of the host's memory.";
        }

        foreach (ReservedRegion region in group.ReservedRegions.Where(region => region.Type.StartsWith("direct", StringComparison.Ordinal)))
        {
            yield return $"The firmware wants {region.StartAddress:x} to {region.EndAddress:x} mapped for group {group.Number} (RMRR): its devices share memory with the firmware.";
        }

        foreach (PciDevice port in OpenPorts(host, group))
        {
            yield return $"{port.Address} above group {group.Number} shows no ACS: whether what is below it is kept apart, the kernel knows by a quirk or was told by "
                + "pcie_acs_override.";
        }

        if (ApartFrom(host, group) is { } apart)
        {
            yield return $"Group {group.Number} has {apart.One} and {apart.Other}, which no bridge of the group joins: the firmware or a quirk of the devices made them one.";
        }
    }

    /// <summary>
    /// Root and downstream ports above a group, and outside of it, that switch no access control on. The kernel walks the same path
    /// (pci_acs_path_enabled); a port of which it does not know that it isolates would be in the group.
    /// </summary>
    private static IEnumerable<PciDevice> OpenPorts(HostState host, IommuGroup group) =>
        group.Devices.Where(host.Devices.ContainsKey).SelectMany(address => Above(host, host.Devices[address])).DistinctBy(port => port.Address)
            .Where(port => port.Group != group.Number && port.PcieType is PcieType.RootPort or PcieType.Downstream && port.Acs is not { Isolates: true });

    /// <summary>Two members that are not functions of one slot, have no bridge of the group above both, and are neither above the other; null if there are none.</summary>
    private static (PciAddress One, PciAddress Other)? ApartFrom(HostState host, IommuGroup group)
    {
        ImmutableArray<PciDevice> members = [.. group.Devices.Where(host.Devices.ContainsKey).Select(address => host.Devices[address])];
        foreach (PciDevice other in members.Skip(1))
        {
            if (!AreJoined(host, group, members[0], other))
            {
                return (members[0].Address, other.Address);
            }
        }

        return null;
    }

    // On one bus the topology itself joins them: functions of a slot without ACS, or the ports of a switch without it.
    private static bool AreJoined(HostState host, IommuGroup group, PciDevice one, PciDevice other) =>
        Family(host, group, one).Any(first => Family(host, group, other).Any(second =>
            first.Address == second.Address || (first.Address.Domain, first.Address.Bus) == (second.Address.Domain, second.Address.Bus)));

    private static IEnumerable<PciDevice> Family(HostState host, IommuGroup group, PciDevice device) =>
        Above(host, device).Where(bridge => bridge.Group == group.Number).Prepend(device);

    private static IEnumerable<PciDevice> Above(HostState host, PciDevice device)
    {
        for (PciAddress? next = device.ParentBridge; next is { } address && host.Devices.TryGetValue(address, out PciDevice? bridge); next = bridge.ParentBridge)
        {
            yield return bridge;
        }
    }
}
