// What the kernel told of a device through VFIO, as clients see it; and the request for virtual functions.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;

namespace AssignHub.Api.Devices;

/// <summary>A device as the kernel's VFIO described it when AssignHub last opened it.</summary>
public sealed record DeviceVfioResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>The device.</summary>
    public required PciAddress Address { get; init; }
    /// <summary>The container that it was opened in.</summary>
    public required string Container { get; init; }
    /// <summary>When it was opened.</summary>
    public required DateTimeOffset ReadAt { get; init; }
    /// <summary>Whether the device can be reset alone.</summary>
    public required bool CanReset { get; init; }
    /// <summary>Its regions that have a size.</summary>
    public required ImmutableArray<RegionReport> Regions { get; init; }
    /// <summary>Its interrupt types that have a vector.</summary>
    public required ImmutableArray<IrqReport> Irqs { get; init; }
    /// <summary>The devices that a reset of its slot or bus hits, as the kernel told; null if it has no such reset.</summary>
    public ImmutableArray<PciAddress>? DependentDevices { get; init; }
    /// <summary>The devices that it hits by the topology, as it is now.</summary>
    public required ImmutableArray<PciAddress> ResetDomain { get; init; }
    /// <summary>How the two differ, in words; null if they are the same, or the kernel has no such reset.</summary>
    public string? ResetDomainDifference { get; init; }
    /// <summary>What keeps a guest that has the device from resetting its slot or bus (VFIO's hot reset), in words; null if nothing.</summary>
    public string? HotResetObstacle { get; init; }

    /// <summary>Shows a report.</summary>
    public static DeviceVfioResource From(World world, PciDevice device, Container container, DeviceReport report) => new()
    {
        Host = world.Host.Host,
        Address = report.Address,
        Container = container.Id,
        ReadAt = report.ReadAt,
        CanReset = report.CanReset,
        Regions = report.Regions,
        Irqs = report.Irqs,
        DependentDevices = report.DependentDevices,
        ResetDomain = Resets.DomainOf(world.Host, device),
        ResetDomainDifference = HotReset.DomainDifference(world.Host, device, report),
        HotResetObstacle = HotReset.Obstacle(world.Host, device, report),
    };
}
