// Where a host shows VFIO, and what speaks against a backend that its kernel has.

using AssignHub.Engine.Desired;

namespace AssignHub.Engine.Vfio;

/// <summary>A host's roots; other than the real ones in tests.</summary>
/// <param name="DevRoot">Where <c>vfio</c> and <c>iommu</c> are.</param>
/// <param name="SysfsRoot">Where sysfs is mounted.</param>
/// <param name="ProcRoot">Where <c>/proc</c> is mounted.</param>
public sealed record VfioHost(string DevRoot = "/dev", string SysfsRoot = "/sys", string ProcRoot = "/proc")
{
    /// <summary>Why a backend, by its API name, is not to be used although the kernel may have it; null if nothing speaks against it.</summary>
    public Func<string, string?> ObjectionTo { get; init; } = backend => backend == Container.NoIommu ? "it isolates nothing" : null;
}
