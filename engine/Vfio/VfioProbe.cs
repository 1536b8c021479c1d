// What the kernel's VFIO offers for containers, asked of /dev/vfio/vfio without touching any group.

using System.Collections.Immutable;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>What the kernel offers, and what AssignHub makes of it.</summary>
public sealed record VfioProbe
{
    // The IOMMU types that VFIO_CHECK_EXTENSION knows, by the API's names.
    private static readonly ImmutableArray<(string Name, uint Type)> Types =
    [
        ("type1v2", VFIO_TYPE1v2_IOMMU), ("type1", VFIO_TYPE1_IOMMU), ("spapr_tce_v2", VFIO_SPAPR_TCE_v2_IOMMU),
        ("spapr_tce", VFIO_SPAPR_TCE_IOMMU), ("noiommu", VFIO_NOIOMMU_IOMMU),
    ];

    /// <summary>The IOMMU types that the kernel has, by the API's names.</summary>
    public ImmutableArray<string> Offered { get; init; } = [];

    /// <summary>The backend that a container gets, or null if there is none.</summary>
    public string? Preferred { get; init; }

    /// <summary>Why that one, or why none, in words.</summary>
    public required string Reason { get; init; }

    /// <summary>Asks the kernel.</summary>
    /// <param name="devRoot">Where <c>vfio/vfio</c> is.</param>
    /// <returns>What it has; without VFIO, or without the right to open it, nothing and the reason.</returns>
    public static VfioProbe Read(string devRoot = "/dev")
    {
        try
        {
            using ContainerHandle container = VfioFiles.OpenContainer(devRoot, VfioFiles.ContainerPath(devRoot));
            ImmutableArray<string> offered = [.. Types.Where(type => container.CheckExtension(type.Type)).Select(type => type.Name)];
            string? preferred = VfioBackend.All.FirstOrDefault(backend => backend.Offered(devRoot))?.Name;
            string list = offered.IsEmpty ? "no IOMMU type" : string.Join(", ", offered);
            return new VfioProbe
            {
                Offered = offered,
                Preferred = preferred,
                Reason = preferred is null
                    ? $"the kernel offers {list}; AssignHub uses {string.Join(", ", VfioBackend.All.Select(one => one.Name))}"
                    : $"{preferred} is the best of what the kernel offers: {list}",
            };
        }
        catch (HostFault fault)
        {
            return new VfioProbe { Reason = fault.Message };
        }
    }
}
