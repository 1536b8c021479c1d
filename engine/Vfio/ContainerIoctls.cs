// The ioctls of the container and group fds, each as one typed call that returns its result or throws a HostFault.

using System.Runtime.CompilerServices;
using System.Text;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>What a container fd does before it has an IOMMU.</summary>
internal static class ContainerIoctls
{
    /// <summary>The kernel's VFIO API version.</summary>
    public static uint GetApiVersion(this ContainerHandle container) =>
        (uint)VfioFault.Check(container.IoctlValue(VFIO_GET_API_VERSION), nameof(VFIO_GET_API_VERSION), container.Subject);

    /// <summary>Whether the kernel has an extension or IOMMU type.</summary>
    public static bool CheckExtension(this ContainerHandle container, uint extension) =>
        VfioFault.Check(container.IoctlValue(VFIO_CHECK_EXTENSION, extension), nameof(VFIO_CHECK_EXTENSION), container.Subject) > 0;

    /// <summary>Chooses the IOMMU type.</summary>
    public static void SetIommu(this ContainerHandle container, uint type) =>
        VfioFault.Check(container.IoctlValue(VFIO_SET_IOMMU, type), nameof(VFIO_SET_IOMMU), container.Subject);
}

/// <summary>What a container fd does with the type 1 IOMMU.</summary>
internal static class Type1Ioctls
{
    /// <summary>Reads <see cref="vfio_iommu_type1_info"/> and the capabilities behind it.</summary>
    public static byte[] GetIommuInfo(this ContainerHandle container) =>
        InfoBuffer.Read(container, VFIO_IOMMU_GET_INFO, nameof(VFIO_IOMMU_GET_INFO), default(vfio_iommu_type1_info));

    /// <summary>Maps and pins memory. All numbers are bytes.</summary>
    public static void MapDma(this ContainerHandle container, ulong vaddr, ulong iova, ulong size, uint flags)
    {
        var map = new vfio_iommu_type1_dma_map { argsz = (uint)Unsafe.SizeOf<vfio_iommu_type1_dma_map>(), flags = flags, vaddr = vaddr, iova = iova, size = size };
        VfioFault.Check(container.Ioctl(VFIO_IOMMU_MAP_DMA, ref map), nameof(VFIO_IOMMU_MAP_DMA), container.Subject);
    }

    /// <summary>Takes the mapping of a range away.</summary>
    /// <returns>The bytes that were unmapped.</returns>
    public static ulong UnmapDma(this ContainerHandle container, ulong iova, ulong size)
    {
        var unmap = new vfio_iommu_type1_dma_unmap { argsz = (uint)Unsafe.SizeOf<vfio_iommu_type1_dma_unmap>(), iova = iova, size = size };
        VfioFault.Check(container.Ioctl(VFIO_IOMMU_UNMAP_DMA, ref unmap), nameof(VFIO_IOMMU_UNMAP_DMA), container.Subject);
        return unmap.size;
    }
}

/// <summary>What a group fd does.</summary>
internal static class GroupIoctls
{
    /// <summary>Reads the group's flags (<c>VFIO_GROUP_FLAGS_…</c>).</summary>
    public static uint GetStatus(this GroupHandle group)
    {
        var status = new vfio_group_status { argsz = (uint)Unsafe.SizeOf<vfio_group_status>() };
        VfioFault.Check(group.Ioctl(VFIO_GROUP_GET_STATUS, ref status), nameof(VFIO_GROUP_GET_STATUS), group.Subject);
        return status.flags;
    }

    /// <summary>Attaches the group to a container and claims its DMA.</summary>
    public static void SetContainer(this GroupHandle group, ContainerHandle container)
    {
        using var lent = new LentDescriptors(container);
        int fd = lent.Values[0];
        VfioFault.Check(group.Ioctl(VFIO_GROUP_SET_CONTAINER, ref fd), nameof(VFIO_GROUP_SET_CONTAINER), group.Subject);
    }

    /// <summary>Opens a device of the group; the kernel resets it, which can take a second.</summary>
    /// <param name="group">The group, with a container that has its IOMMU.</param>
    /// <param name="name">The device's address.</param>
    public static DeviceHandle GetDeviceFd(this GroupHandle group, string name)
    {
        byte[] text = new byte[Encoding.UTF8.GetMaxByteCount(name.Length) + 1];
        Encoding.UTF8.GetBytes(name, text);
        nint fd = VfioFault.Check(group.Ioctl(VFIO_GROUP_GET_DEVICE_FD, text), nameof(VFIO_GROUP_GET_DEVICE_FD), name);
        return FileDescriptor.Own<DeviceHandle>(fd, name);
    }
}
