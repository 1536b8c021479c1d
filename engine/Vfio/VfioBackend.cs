// Which backends there are, best first, and what the kernel offers of them.

using System.Collections.Immutable;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>One way for a container to reach the IOMMU. A new one is a new container class and a line in <see cref="All"/>.</summary>
/// <param name="Name">The API's name for it.</param>
/// <param name="Offered">Whether the kernel below a dev root has it.</param>
/// <param name="Open">Opens a container of it: the dev root, the group's number.</param>
internal sealed record VfioBackend(string Name, Func<string, bool> Offered, Func<string, int, VfioContainer> Open)
{
    /// <summary>The backends, best first.</summary>
    public static ImmutableArray<VfioBackend> All { get; } = [Type1("type1v2", VFIO_TYPE1v2_IOMMU), Type1("type1", VFIO_TYPE1_IOMMU)];

    /// <summary>The best that the kernel has.</summary>
    /// <exception cref="HostFault">It has none, or VFIO is not there.</exception>
    public static VfioBackend Best(string devRoot) =>
        All.FirstOrDefault(backend => backend.Offered(devRoot))
        ?? throw new HostFault(nameof(VFIO_CHECK_EXTENSION), VfioFiles.ContainerPath(devRoot), Errno.None, $"the kernel offers none of {string.Join(", ", All.Select(one => one.Name))}");

    private static VfioBackend Type1(string name, uint type) => new(
        name,
        devRoot =>
        {
            using ContainerHandle container = VfioFiles.OpenContainer(devRoot, VfioFiles.ContainerPath(devRoot));
            return container.CheckExtension(type);
        },
        (devRoot, group) => new Type1Container(name, type, devRoot, group));
}
