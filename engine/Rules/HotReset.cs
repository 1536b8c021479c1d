// The reset of a slot or bus through VFIO (its hot reset): what the kernel says that it hits, against what the topology says, and whether
// whoever has the device through VFIO could do it at all.

using System.Collections.Immutable;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Rules;

/// <summary>Judges what the kernel told of a device's hot reset.</summary>
public static class HotReset
{
    /// <summary>How the kernel's list differs from the computed reset domain, in words; null if it does not, or there is no such reset.</summary>
    public static string? DomainDifference(HostState host, PciDevice device, DeviceReport report)
    {
        if (report.DependentDevices is not { } told)
        {
            return null;
        }

        ImmutableArray<PciAddress> computed = Resets.DomainOf(host, device);
        ImmutableArray<string> differences =
        [
            .. computed.Except(told).Select(address => $"{address} is below the same bridge, and the kernel did not name it"),
            .. told.Except(computed).Select(address => host.Devices.ContainsKey(address)
                ? $"the kernel named {address}, which the topology does not show below the same bridge"
                : $"the kernel named {address}, which is gone since"),
        ];
        return differences.IsEmpty ? null : string.Join("; ", differences);
    }

    /// <summary>
    /// What makes the kernel refuse the hot reset, whoever asks (vfio_pci_core.c): all that it hits has to be on VFIO, and a bridge never is.
    /// The reset of the bridge above does not go through VFIO and is not concerned. Null if nothing does.
    /// </summary>
    public static string? Obstacle(HostState host, PciDevice device, DeviceReport report)
    {
        if (report.DependentDevices is not { } hit)
        {
            return $"the kernel can reset neither the slot nor the bus of {device.Address}";
        }

        string instead = device.ParentBridge is { } parent ? $"; POST /v1/bridges/{parent}/reset does it without VFIO" : "";
        ImmutableArray<PciDevice> present = [.. hit.Where(host.Devices.ContainsKey).Select(address => host.Devices[address])];
        ImmutableArray<string> obstacles =
        [
            .. present.Where(other => other.IsBridge).Select(bridge => $"it hits the bridge {bridge.Address}, and a bridge cannot be on VFIO"),
            .. present.Where(other => !other.IsBridge && !VfioDrivers.IsVfio(other.Driver)).Select(other => $"it hits {other.Address}, which is on {other.Driver ?? "no driver"}"),
        ];
        return obstacles.IsEmpty ? null : $"the kernel refuses it: {string.Join("; ", obstacles)}{instead}";
    }
}
