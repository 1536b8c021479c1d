// The ioctls of an iommufd, each as one typed call that returns its result or throws a HostFault.

using System.Runtime.CompilerServices;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>What an iommufd does, and what puts a device under one.</summary>
internal static class IommufdIoctls
{
    /// <summary>Makes an I/O address space.</summary>
    /// <returns>Its id.</returns>
    public static uint AllocateSpace(this IommufdHandle iommufd)
    {
        var alloc = new iommu_ioas_alloc { size = (uint)Unsafe.SizeOf<iommu_ioas_alloc>() };
        VfioFault.Check(iommufd.Ioctl(IOMMU_IOAS_ALLOC, ref alloc), nameof(IOMMU_IOAS_ALLOC), iommufd.Subject);
        return alloc.out_ioas_id;
    }

    /// <summary>The addresses that may be mapped in a space, with all that is attached to it now.</summary>
    /// <returns>The ranges, and what addresses and lengths have to be multiples of.</returns>
    public static unsafe (iommu_iova_range[] Ranges, ulong AlignmentBytes) GetIovaRanges(this IommufdHandle iommufd, uint space)
    {
        // A few ranges between the reserved ones; one more round each time that a device arrives between two calls.
        for (uint room = 8, round = 0; round < 4; round++)
        {
            var ranges = new iommu_iova_range[room];
            fixed (iommu_iova_range* first = ranges)
            {
                var ask = new iommu_ioas_iova_ranges
                {
                    size = (uint)Unsafe.SizeOf<iommu_ioas_iova_ranges>(), ioas_id = space, num_iovas = room, allowed_iovas = (ulong)first,
                };
                nint result = iommufd.Ioctl(IOMMU_IOAS_IOVA_RANGES, ref ask);
                if (result == -(int)Errno.EMSGSIZE && ask.num_iovas > room && ask.num_iovas <= ushort.MaxValue)
                {
                    room = ask.num_iovas;
                    continue;
                }

                VfioFault.Check(result, nameof(IOMMU_IOAS_IOVA_RANGES), iommufd.Subject);
                return ask.num_iovas <= room
                    ? (ranges[..(int)ask.num_iovas], ask.out_iova_alignment)
                    : throw VfioFault.Malformed(nameof(IOMMU_IOAS_IOVA_RANGES), iommufd.Subject, $"{ask.num_iovas} ranges in room for {room}");
            }
        }

        throw VfioFault.Malformed(nameof(IOMMU_IOAS_IOVA_RANGES), iommufd.Subject, "the number of ranges changes with every call");
    }

    /// <summary>Maps and pins memory. All numbers are bytes.</summary>
    public static void Map(this IommufdHandle iommufd, uint space, ulong address, ulong iova, ulong length, uint flags)
    {
        var map = new iommu_ioas_map
        {
            size = (uint)Unsafe.SizeOf<iommu_ioas_map>(), flags = flags | IOMMU_IOAS_MAP_FIXED_IOVA, ioas_id = space, user_va = address, length = length, iova = iova,
        };
        VfioFault.Check(iommufd.Ioctl(IOMMU_IOAS_MAP, ref map), nameof(IOMMU_IOAS_MAP), iommufd.Subject);
    }

    /// <summary>Takes the mapping of a range away.</summary>
    /// <returns>The bytes that were unmapped.</returns>
    public static ulong Unmap(this IommufdHandle iommufd, uint space, ulong iova, ulong length)
    {
        var unmap = new iommu_ioas_unmap { size = (uint)Unsafe.SizeOf<iommu_ioas_unmap>(), ioas_id = space, iova = iova, length = length };
        VfioFault.Check(iommufd.Ioctl(IOMMU_IOAS_UNMAP, ref unmap), nameof(IOMMU_IOAS_UNMAP), iommufd.Subject);
        return unmap.length;
    }

    /// <summary>Puts a device under an iommufd; the kernel claims its group's DMA and resets the device, which can take a second.</summary>
    /// <param name="device">The device, opened by its own file.</param>
    /// <param name="iommufd">The iommufd.</param>
    /// <param name="vfToken">For a virtual function whose physical function is held through VFIO: the secret set there.</param>
    public static unsafe void BindIommufd(this DeviceHandle device, IommufdHandle iommufd, Guid? vfToken)
    {
        using var lent = new LentDescriptors(iommufd);
        byte[] token = vfToken?.ToByteArray(bigEndian: true) ?? [];
        fixed (byte* bytes = token)
        {
            var bind = new vfio_device_bind_iommufd
            {
                argsz = token.Length > 0 ? (uint)Unsafe.SizeOf<vfio_device_bind_iommufd>() : vfio_device_bind_iommufd.BytesWithoutToken,
                flags = token.Length > 0 ? VFIO_DEVICE_BIND_FLAG_TOKEN : 0,
                iommufd = lent.Values[0],
                token_uuid_ptr = (ulong)bytes,
            };
            VfioFault.Check(device.Ioctl(VFIO_DEVICE_BIND_IOMMUFD, ref bind), nameof(VFIO_DEVICE_BIND_IOMMUFD), device.Subject);
        }
    }

    /// <summary>Attaches a bound device to an address space.</summary>
    public static void AttachSpace(this DeviceHandle device, uint space)
    {
        var attach = new vfio_device_attach_iommufd_pt { argsz = (uint)Unsafe.SizeOf<vfio_device_attach_iommufd_pt>(), pt_id = space };
        VfioFault.Check(device.Ioctl(VFIO_DEVICE_ATTACH_IOMMUFD_PT, ref attach), nameof(VFIO_DEVICE_ATTACH_IOMMUFD_PT), device.Subject);
    }
}
