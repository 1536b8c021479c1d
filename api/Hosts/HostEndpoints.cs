// /v1/host: the machine itself.

using System.Collections.Immutable;
using AssignHub.Api.Http;
using AssignHub.Engine.Host;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Hosts;

/// <summary>The host, and what it offers for assigning devices.</summary>
public sealed record HostResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>The running kernel's release.</summary>
    public required string KernelRelease { get; init; }
    /// <summary>The kernel command line.</summary>
    public required string KernelCommandLine { get; init; }
    /// <summary>Whether an IOMMU is at work.</summary>
    public required bool IommuEnabled { get; init; }
    /// <summary>Whether VFIO is there or can be loaded.</summary>
    public required bool VfioAvailable { get; init; }
    /// <summary>The backend that containers get; null while VFIO is not loaded.</summary>
    public string? Backend { get; init; }
    /// <summary>Why that one, or why none.</summary>
    public required string BackendReason { get; init; }
    /// <summary>What makes the host less trustworthy than it looks.</summary>
    public required ImmutableArray<string> Warnings { get; init; }
    /// <summary>Whether the host can assign devices: no check failed.</summary>
    public required bool CanAssign { get; init; }
    /// <summary>What assigning devices needs, and how it stands. CPU, KVM, QEMU, limits, rights and space are read when first asked for, and on a rescan.</summary>
    public required ImmutableArray<Check> Checks { get; init; }
    /// <summary>PCI functions.</summary>
    public required int Devices { get; init; }
    /// <summary>IOMMU groups.</summary>
    public required int Groups { get; init; }
    /// <summary>When the host was last read.</summary>
    public required DateTimeOffset ReadAt { get; init; }

    /// <summary>Shows the host.</summary>
    public static HostResource From(HostState host, HostFacts facts)
    {
        ImmutableArray<Check> checks = Doctor.Examine(facts, host);
        return new HostResource
        {
            Host = host.Host,
            KernelRelease = host.KernelRelease,
            KernelCommandLine = host.KernelCommandLine,
            IommuEnabled = host.Vfio.IommuEnabled,
            VfioAvailable = host.Vfio.Available,
            Backend = host.Vfio.Backend,
            BackendReason = host.Vfio.BackendReason,
            Warnings = [.. Trust.WarningsFor(host)],
            CanAssign = Doctor.CanAssign(checks),
            Checks = checks,
            Devices = host.Devices.Count,
            Groups = host.Groups.Count,
            ReadAt = host.ReadAt,
        };
    }
}

internal static class HostEndpoints
{
    public static void Map(RouteGroupBuilder v1)
    {
        RouteGroupBuilder host = v1.MapGroup("/host").WithTags("Hardware");
        host.MapGet("", Get).NeedsRole(Role.Viewer).WithName("getHost").WithSummary("Get the host")
            .WithDescription("What it offers for assigning devices, as it was last read, and every check that says what is lacking and how to mend it.").Produces<HostResource>().WithProblems();
        host.MapPost("/rescan", Rescan).NeedsRole(Role.Operator).WithName("rescanHost").WithSummary("Read the whole host again")
            .WithDescription("Devices and groups follow the kernel's events by themselves; this also runs the checks again.").Produces<HostResource>().WithProblems(ProblemCode.HostFault);
    }

    private static IResult Get(Observer observer) => Show(observer.World, observer.Facts);

    private static IResult Rescan(Observer observer) => Show(observer.Scan(), observer.Examine());

    private static IResult Show(World world, HostFacts facts) => TypedResults.Json(HostResource.From(world.Host, facts), ApiJson.Wire.HostResource);
}
