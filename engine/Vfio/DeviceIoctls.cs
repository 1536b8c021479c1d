// The ioctls of the device fd, each as one typed call that returns its result or throws a HostFault.

using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>What a device fd does. It is the same however the device was opened.</summary>
internal static class DeviceIoctls
{
    /// <summary>Reads the device's flags and how many regions and interrupt indexes it has.</summary>
    public static vfio_device_info GetInfo(this DeviceHandle device)
    {
        var info = new vfio_device_info { argsz = (uint)Unsafe.SizeOf<vfio_device_info>() };
        VfioFault.Check(device.Ioctl(VFIO_DEVICE_GET_INFO, ref info), nameof(VFIO_DEVICE_GET_INFO), device.Subject);
        return info;
    }

    /// <summary>Reads <see cref="vfio_region_info"/> of an index and the capabilities behind it.</summary>
    public static byte[] GetRegionInfo(this DeviceHandle device, uint index) =>
        InfoBuffer.Read(device, VFIO_DEVICE_GET_REGION_INFO, nameof(VFIO_DEVICE_GET_REGION_INFO), new vfio_region_info { index = index });

    /// <summary>Reads an interrupt index.</summary>
    public static vfio_irq_info GetIrqInfo(this DeviceHandle device, uint index)
    {
        var info = new vfio_irq_info { argsz = (uint)Unsafe.SizeOf<vfio_irq_info>(), index = index };
        VfioFault.Check(device.Ioctl(VFIO_DEVICE_GET_IRQ_INFO, ref info), nameof(VFIO_DEVICE_GET_IRQ_INFO), device.Subject);
        return info;
    }

    /// <summary>Signals, masks or unmasks vectors.</summary>
    /// <param name="device">The device.</param>
    /// <param name="flags">One <c>VFIO_IRQ_SET_DATA_…</c> and one <c>VFIO_IRQ_SET_ACTION_…</c>.</param>
    /// <param name="index">The interrupt index.</param>
    /// <param name="start">The first vector.</param>
    /// <param name="count">How many vectors.</param>
    /// <param name="eventfds">With <c>DATA_EVENTFD</c>, one a vector.</param>
    public static void SetIrqs(this DeviceHandle device, uint flags, uint index, uint start, uint count, ReadOnlySpan<int> eventfds = default)
    {
        int head = Unsafe.SizeOf<vfio_irq_set>();
        byte[] buffer = new byte[head + (eventfds.Length * sizeof(int))];
        MemoryMarshal.Write(buffer, new vfio_irq_set { argsz = (uint)buffer.Length, flags = flags, index = index, start = start, count = count });
        MemoryMarshal.AsBytes(eventfds).CopyTo(buffer.AsSpan(head));
        nint left = VfioFault.Check(device.Ioctl(VFIO_DEVICE_SET_IRQS, buffer), nameof(VFIO_DEVICE_SET_IRQS), device.Subject);

        // A positive answer is no success either: so many vectors could be had, and none was enabled (vfio_pci_intrs.c).
        if (left > 0)
        {
            throw new HostFault(nameof(VFIO_DEVICE_SET_IRQS), device.Subject, Errno.ENOSPC, $"the host can give {left} of {count} vectors");
        }
    }

    /// <summary>Resets this function.</summary>
    public static void Reset(this DeviceHandle device) =>
        VfioFault.Check(device.IoctlValue(VFIO_DEVICE_RESET), nameof(VFIO_DEVICE_RESET), device.Subject);

    /// <summary>Lists what a slot or bus reset would hit; null if there is no such reset.</summary>
    public static vfio_pci_dependent_device[]? GetPciHotResetInfo(this DeviceHandle device)
    {
        const string operation = nameof(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO);
        int head = Unsafe.SizeOf<vfio_pci_hot_reset_info>();

        // A bus has 256 functions; one more round each time that hardware arrives between two calls.
        for (uint room = 8, round = 0; round < 4; round++)
        {
            byte[] buffer = new byte[head + (room * Unsafe.SizeOf<vfio_pci_dependent_device>())];
            MemoryMarshal.Write(buffer, new vfio_pci_hot_reset_info { argsz = (uint)buffer.Length });
            nint result = device.Ioctl(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, buffer);
            uint count = MemoryMarshal.Read<vfio_pci_hot_reset_info>(buffer).count;
            if (result == -(int)Errno.ENODEV)
            {
                return null;
            }

            if (result == -(int)Errno.ENOSPC && count > room && count <= ushort.MaxValue)
            {
                room = count;
                continue;
            }

            VfioFault.Check(result, operation, device.Subject);
            return count <= room
                ? MemoryMarshal.Cast<byte, vfio_pci_dependent_device>(buffer.AsSpan(head))[..(int)count].ToArray()
                : throw VfioFault.Malformed(operation, device.Subject, $"{count} devices in room for {room}");
        }

        throw VfioFault.Malformed(operation, device.Subject, "the number of devices changes with every call");
    }

    /// <summary>Resets the device's slot or bus.</summary>
    /// <param name="device">A device on it.</param>
    /// <param name="groups">The groups of all the devices that it hits.</param>
    public static void PciHotReset(this DeviceHandle device, params ReadOnlySpan<GroupHandle> groups)
    {
        using var lent = new LentDescriptors([.. groups]);
        int head = Unsafe.SizeOf<vfio_pci_hot_reset>();
        byte[] buffer = new byte[head + (groups.Length * sizeof(int))];
        MemoryMarshal.Write(buffer, new vfio_pci_hot_reset { argsz = (uint)buffer.Length, count = (uint)groups.Length });
        MemoryMarshal.AsBytes(lent.Values).CopyTo(buffer.AsSpan(head));
        VfioFault.Check(device.Ioctl(VFIO_DEVICE_PCI_HOT_RESET, buffer), nameof(VFIO_DEVICE_PCI_HOT_RESET), device.Subject);
    }

    /// <summary>Asks whether the device has a feature, with the methods given.</summary>
    /// <param name="device">The device.</param>
    /// <param name="feature"><c>VFIO_DEVICE_FEATURE_…</c></param>
    /// <param name="methods"><see cref="VFIO_DEVICE_FEATURE_GET"/> and <see cref="VFIO_DEVICE_FEATURE_SET"/>, or 0.</param>
    public static bool HasFeature(this DeviceHandle device, ushort feature, uint methods)
    {
        var probe = new vfio_device_feature { argsz = (uint)Unsafe.SizeOf<vfio_device_feature>(), flags = feature | methods | VFIO_DEVICE_FEATURE_PROBE };
        nint result = device.Ioctl(VFIO_DEVICE_FEATURE, ref probe);

        // ENOTTY: no such feature. EINVAL: the feature, but not these methods (vfio_check_feature).
        if (result == -(int)Errno.ENOTTY || result == -(int)Errno.EINVAL)
        {
            return false;
        }

        VfioFault.Check(result, nameof(VFIO_DEVICE_FEATURE), device.Subject);
        return true;
    }

    /// <summary>Writes a feature.</summary>
    /// <param name="device">The device.</param>
    /// <param name="feature"><c>VFIO_DEVICE_FEATURE_…</c></param>
    /// <param name="data">What the feature takes.</param>
    public static void SetFeature(this DeviceHandle device, ushort feature, ReadOnlySpan<byte> data)
    {
        int head = Unsafe.SizeOf<vfio_device_feature>();
        byte[] buffer = new byte[head + data.Length];
        MemoryMarshal.Write(buffer, new vfio_device_feature { argsz = (uint)buffer.Length, flags = feature | VFIO_DEVICE_FEATURE_SET });
        data.CopyTo(buffer.AsSpan(head));
        VfioFault.Check(device.Ioctl(VFIO_DEVICE_FEATURE, buffer), nameof(VFIO_DEVICE_FEATURE), device.Subject);
    }
}
