// QEMU's words, read: what each means, and which code of the public contract says so. QEMU has no error codes beyond GenericError.

using System.Collections.Immutable;

namespace AssignHub.Engine.Guests;

/// <summary>What a failure that QEMU told is about.</summary>
public enum QemuCause
{
    /// <summary>Nothing that AssignHub knows; QEMU's words stand for themselves.</summary>
    Unknown,
    /// <summary>The host has no such device any more.</summary>
    DeviceGone,
    /// <summary>The guest has no device of that id.</summary>
    DeviceNotInGuest,
    /// <summary>The guest has a device of that id, or of that address, already.</summary>
    DeviceAlreadyInGuest,
    /// <summary>The device has no IOMMU group: the IOMMU is off.</summary>
    IommuOff,
    /// <summary>A member of the group is on a host driver.</summary>
    GroupNotViable,
    /// <summary>The group has no VFIO file: no member is bound to a VFIO driver.</summary>
    GroupUnbound,
    /// <summary>Another process holds the group or the device.</summary>
    GroupHeldElsewhere,
    /// <summary>The guest's process has no right to the VFIO file.</summary>
    AccessDenied,
    /// <summary>The kernel offers no IOMMU model that QEMU knows.</summary>
    NoIommuModel,
    /// <summary>The kernel refused the container.</summary>
    ContainerRefused,
    /// <summary>The locked-memory limit is too low for the DMA mapping.</summary>
    MemoryLock,
    /// <summary>The host's IOMMU cannot map the guest's addresses.</summary>
    AddressWidth,
    /// <summary>The guest's IOMMU tells the devices of one group apart: they must sit behind one conventional bridge.</summary>
    GroupSplit,
    /// <summary>The kernel does not hand out the device: in use, or a VF token is wanted.</summary>
    DeviceBusy,
    /// <summary>A file was passed without an iommufd object.</summary>
    FileWithoutIommufd,
    /// <summary>The device's reset would hit others that are not owned.</summary>
    ResetNotOwned,
    /// <summary>The device cannot be reset.</summary>
    NoReset,
    /// <summary>The device does not wake up.</summary>
    DeviceDead,
    /// <summary>The guest's IOMMU lacks an option that VFIO needs.</summary>
    GuestIommuOption,
    /// <summary>The bus or port takes no hot-plugged device.</summary>
    NoHotplug,
    /// <summary>The slot is taken.</summary>
    SlotTaken,
    /// <summary>The guest is busy with the slot; the same again later may work.</summary>
    GuestBusy,
    /// <summary>An unplug was asked for before and is under way.</summary>
    UnplugUnderWay,
    /// <summary>The guest did not let go of a device in time.</summary>
    GuestKeepsDevice,
}

/// <summary>The table of QEMU's words. The first line that fits counts, so that a wrapper never hides the reason that it wraps.</summary>
public static class QemuErrors
{
    /// <summary>A line of the table: all of the words must occur, whatever stands between them.</summary>
    /// <param name="Cause">What they mean.</param>
    /// <param name="Words">The words, compared without regard to case.</param>
    public sealed record Line(QemuCause Cause, ImmutableArray<string> Words);

    /// <summary>The table, in the order in which it is read.</summary>
    public static ImmutableArray<Line> Table { get; } =
    [
        new(QemuCause.DeviceGone, ["no such host device"]),
        new(QemuCause.IommuOff, ["no iommu_group found"]),
        new(QemuCause.GroupNotViable, ["group", "is not viable"]),
        new(QemuCause.GroupNotViable, ["Please ensure all devices within the iommu_group"]),
        new(QemuCause.GroupUnbound, ["Could not open '/dev/vfio/", "No such file or directory"]),
        new(QemuCause.GroupHeldElsewhere, ["Could not open '/dev/vfio/", "busy"]),
        new(QemuCause.AccessDenied, ["Could not open '/dev/vfio/", "denied"]),
        new(QemuCause.AccessDenied, ["Could not open '/dev/vfio/", "not permitted"]),
        new(QemuCause.GroupUnbound, ["failed to open /dev/vfio/", "No such file or directory"]),
        new(QemuCause.GroupHeldElsewhere, ["failed to open /dev/vfio/", "busy"]),
        new(QemuCause.AccessDenied, ["failed to open /dev/vfio/", "denied"]),
        new(QemuCause.AccessDenied, ["failed to open /dev/vfio/", "not permitted"]),
        new(QemuCause.NoIommuModel, ["No available IOMMU models"]),
        new(QemuCause.MemoryLock, ["vfio_container_dma_map(", "= -12"]),
        new(QemuCause.MemoryLock, ["vfio_dma_map(", "= -12"]),
        new(QemuCause.AddressWidth, ["vfio_container_dma_map(", "= -22"]),
        new(QemuCause.AddressWidth, ["vfio_dma_map(", "= -22"]),
        new(QemuCause.AddressWidth, ["VFIO_MAP_DMA failed", "Invalid argument"]),
        new(QemuCause.MemoryLock, ["VFIO_MAP_DMA failed"]),
        new(QemuCause.MemoryLock, ["IOMMU_IOAS_MAP failed", "Cannot allocate memory"]),
        new(QemuCause.GroupSplit, ["used in multiple address spaces"]),
        new(QemuCause.GroupSplit, ["does not support aliased BDF"]),
        new(QemuCause.DeviceBusy, ["error getting device from group"]),
        new(QemuCause.DeviceAlreadyInGuest, ["device is already attached"]),
        new(QemuCause.DeviceAlreadyInGuest, ["Duplicate device ID"]),
        new(QemuCause.DeviceAlreadyInGuest, ["Duplicate ID"]),
        new(QemuCause.FileWithoutIommufd, ["Use FD passing only with iommufd backend"]),
        new(QemuCause.GroupHeldElsewhere, ["error bind device fd="]),
        new(QemuCause.ResetNotOwned, ["Cannot reset device", "depends on group"]),
        new(QemuCause.ResetNotOwned, ["Cannot reset device", "which is not owned"]),
        new(QemuCause.NoReset, ["Cannot reset device", "no available reset mechanism"]),
        new(QemuCause.DeviceDead, ["Unable to power on device, stuck in D3"]),
        new(QemuCause.GuestIommuOption, ["Failed to set vIOMMU"]),
        new(QemuCause.GuestIommuOption, ["caching-mode=on"]),
        new(QemuCause.NoHotplug, ["does not support hotplugging"]),
        new(QemuCause.NoHotplug, ["Hot-plug failed: unsupported by the port device"]),
        new(QemuCause.NoHotplug, ["Unsupported PCI slot", "hotplug controller"]),
        new(QemuCause.SlotTaken, ["function 0 already occupied by"]),
        new(QemuCause.SlotTaken, ["not available", "in use by"]),
        new(QemuCause.GuestBusy, ["guest is busy"]),
        new(QemuCause.GuestBusy, ["power indicator blinking"]),
        new(QemuCause.UnplugUnderWay, ["already in the process of unplug"]),
        // The wrappers and the bare refusals come last.
        new(QemuCause.ContainerRefused, ["Failed to set group container"]),
        new(QemuCause.ContainerRefused, ["Failed to set iommu for container"]),
        new(QemuCause.ContainerRefused, ["failed to setup container for group"]),
        new(QemuCause.DeviceNotInGuest, ["Device '", "' not found"]),
    ];

    /// <summary>What QEMU's words mean.</summary>
    public static QemuCause Explain(string words)
    {
        foreach (Line line in Table)
        {
            if (line.Words.All(word => words.Contains(word, StringComparison.OrdinalIgnoreCase)))
            {
                return line.Cause;
            }
        }

        return QemuCause.Unknown;
    }

    /// <summary>The public contract's code for a cause.</summary>
    public static string Code(QemuCause cause) => cause switch
    {
        QemuCause.DeviceGone => "device_not_found",
        QemuCause.IommuOff => "iommu_disabled",
        QemuCause.GroupNotViable or QemuCause.GroupUnbound => "group_not_viable",
        QemuCause.GroupHeldElsewhere => "group_foreign",
        QemuCause.NoIommuModel => "vfio_unavailable",
        QemuCause.MemoryLock => "memory_lock_exceeded",
        QemuCause.GroupSplit => "container_exists",
        QemuCause.ResetNotOwned => "reset_blocked",
        QemuCause.NoReset => "reset_unsupported",
        QemuCause.DeviceDead => "device_quarantined",
        QemuCause.GuestIommuOption => "guest_iommu_required",
        QemuCause.NoHotplug or QemuCause.SlotTaken => "no_free_slot",
        QemuCause.DeviceBusy or QemuCause.DeviceAlreadyInGuest or QemuCause.GuestBusy or QemuCause.UnplugUnderWay => "busy",
        QemuCause.GuestKeepsDevice => "unplug_timeout",
        QemuCause.AccessDenied or QemuCause.ContainerRefused => "host_fault",
        _ => "qemu_error",
    };

    /// <summary>Whether the same command may work if it is sent again a little later.</summary>
    public static bool IsTransient(QemuCause cause) => cause is QemuCause.GuestBusy or QemuCause.UnplugUnderWay or QemuCause.DeviceBusy;
}
