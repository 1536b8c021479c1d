// What the kernel's VFIO offers for containers, asked without touching any group.

using System.Collections.Immutable;

namespace AssignHub.Engine.Vfio;

/// <summary>What the kernel offers, and what AssignHub makes of it.</summary>
public sealed record VfioProbe
{
    /// <summary>What the kernel has, by the API's names.</summary>
    public ImmutableArray<string> Offered { get; init; } = [];

    /// <summary>The backend that a container gets, or null if there is none.</summary>
    public string? Preferred { get; init; }

    /// <summary>Why that one, or why none, in words.</summary>
    public required string Reason { get; init; }

    /// <summary>Asks the kernel.</summary>
    /// <returns>What it has; without VFIO, or without the right to open it, nothing and the reason.</returns>
    public static VfioProbe Read(VfioHost host)
    {
        ArgumentNullException.ThrowIfNull(host);
        try
        {
            ImmutableArray<VfioBackend> usable = VfioBackend.OfferedBy(host);
            ImmutableArray<string> offered = [.. usable.Select(backend => backend.Name)];
            string? preferred = usable.FirstOrDefault(backend => host.ObjectionTo(backend.Name) is null)?.Name;
            string list = offered.IsEmpty ? "no IOMMU type" : string.Join(", ", offered);
            string objections = string.Concat(offered.Select(name => host.ObjectionTo(name) is { } why ? $"; {name} is not used: {why}" : ""));
            return new VfioProbe
            {
                Offered = offered,
                Preferred = preferred,
                Reason = (preferred is null
                    ? $"the kernel offers {list}; AssignHub uses {string.Join(", ", VfioBackend.All.Select(one => one.Name))}"
                    : $"{preferred} is the best of what the kernel offers: {list}") + objections,
            };
        }
        catch (HostFault fault)
        {
            return new VfioProbe { Reason = fault.Message };
        }
    }
}
