// Which backends there are, best first, and what the kernel offers of them.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>One way for a container to reach the IOMMU. A new one is a new container class and a line in <see cref="All"/>.</summary>
/// <param name="Name">The API's name for it.</param>
/// <param name="Offered">Whether the kernel of a host has it.</param>
/// <param name="Open">Opens a container of it: the host, the group's number.</param>
internal sealed record VfioBackend(string Name, Func<VfioHost, bool> Offered, Func<VfioHost, int, VfioContainer> Open)
{
    /// <summary>The backends, best first.</summary>
    public static ImmutableArray<VfioBackend> All { get; } =
    [
        new(Container.Iommufd, HasIommufd, (host, group) => new IommufdContainer(host, group)),
        OfGroups("type1v2", VFIO_TYPE1v2_IOMMU, (name, type, container, group, number) => new Type1Container(name, type, container, group, number)),
        OfGroups("type1", VFIO_TYPE1_IOMMU, (name, type, container, group, number) => new Type1Container(name, type, container, group, number)),
        OfGroups("spapr_tce_v2", VFIO_SPAPR_TCE_v2_IOMMU, (name, type, container, group, number) => new SpaprContainer(name, type, container, group, number)),
        OfGroups("spapr_tce", VFIO_SPAPR_TCE_IOMMU, (name, type, container, group, number) => new SpaprContainer(name, type, container, group, number)),
    ];

    /// <summary>The backend of groups that VFIO made up for devices without an IOMMU: the only one for these, and for no other.</summary>
    private static VfioBackend NoIommu { get; } = OfGroups(Container.NoIommu, VFIO_NOIOMMU_IOMMU,
        (name, type, container, group, number) => new NoIommuContainer(name, type, container, group, number));

    /// <summary>What the kernel of a host has, best first.</summary>
    /// <exception cref="HostFault">It has nothing, and could not be asked for all: VFIO is not there, or closed to this process.</exception>
    public static ImmutableArray<VfioBackend> OfferedBy(VfioHost host)
    {
        var offered = ImmutableArray.CreateBuilder<VfioBackend>();
        HostFault? unasked = null;
        foreach (VfioBackend backend in All)
        {
            try
            {
                if (backend.Offered(host))
                {
                    offered.Add(backend);
                }
            }
            catch (HostFault fault)
            {
                // A kernel built without containers has no file to ask for those that go through groups, and iommufd all the same.
                unasked = fault;
            }
        }

        return offered.Count == 0 && unasked is not null ? throw unasked : offered.ToImmutable();
    }

    /// <summary>The backend by this name, or the best for a group that the kernel has and nothing speaks against.</summary>
    /// <exception cref="HostFault">There is none, or VFIO is not there.</exception>
    /// <exception cref="ArgumentException">There is no backend of this name.</exception>
    public static VfioBackend Choose(VfioHost host, string? name, int group)
    {
        if (VfioFiles.IsNoIommu(host.DevRoot, group))
        {
            return host.ObjectionTo(NoIommu.Name) is { } objection
                ? throw new HostFault(nameof(VFIO_SET_IOMMU), $"group {group}", Errno.None, objection)
                : NoIommu;
        }

        if (name is not null)
        {
            return All.FirstOrDefault(one => one.Name == name) ?? throw new ArgumentException($"'{name}' is no backend", nameof(name));
        }

        return OfferedBy(host).FirstOrDefault(backend => host.ObjectionTo(backend.Name) is null)
            ?? throw new HostFault(nameof(VFIO_CHECK_EXTENSION), VfioFiles.ContainerPath(host.DevRoot), Errno.None, $"the kernel offers none of {string.Join(", ", All.Select(one => one.Name))}");
    }

    // A backend that goes through a group's file. Whatever opens first is closed where what comes after it fails.
    private static VfioBackend OfGroups(string name, uint type, Func<string, uint, ContainerHandle, GroupHandle, int, VfioContainer> attach) => new(
        name,
        host =>
        {
            using ContainerHandle container = VfioFiles.OpenContainer(host.DevRoot, VfioFiles.ContainerPath(host.DevRoot));
            return container.CheckExtension(type);
        },
        (host, number) =>
        {
            ContainerHandle container = VfioFiles.OpenContainer(host.DevRoot, $"the container of group {number}");
            try
            {
                return attach(name, type, container, VfioFiles.OpenGroup(host.DevRoot, number), number);
            }
            catch
            {
                container.Dispose();
                throw;
            }
        });

    // An iommufd is of use only where devices have files of their own, whose numbers VFIO reserves when it is loaded (vfio_cdev_init).
    private static bool HasIommufd(VfioHost host) =>
        File.Exists(VfioFiles.IommufdPath(host.DevRoot))
        && Path.Combine(host.ProcRoot, "devices") is { } devices && File.Exists(devices)
        && File.ReadLines(devices).Any(line => line.EndsWith(" vfio-dev", StringComparison.Ordinal));
}
