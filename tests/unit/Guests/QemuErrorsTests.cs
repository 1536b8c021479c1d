// QEMU's words, as its versions 7.2 to 10 say them, and what AssignHub reads in them.

using AssignHub.Engine.Guests;

namespace AssignHub.Tests.Unit.Guests;

public sealed class QemuErrorsTests
{
    [Theory]
    [InlineData("vfio 0000:03:00.0: no such host device: No such file or directory", QemuCause.DeviceGone, "device_not_found")]
    [InlineData("vfio 0000:03:00.0: no iommu_group found: No such file or directory", QemuCause.IommuOff, "iommu_disabled")]
    [InlineData("vfio 0000:03:00.0: group 7 is not viable", QemuCause.GroupNotViable, "group_not_viable")]
    [InlineData("Please ensure all devices within the iommu_group are bound to their vfio bus driver.", QemuCause.GroupNotViable, "group_not_viable")]
    [InlineData("vfio 0000:03:00.0: Could not open '/dev/vfio/7': No such file or directory", QemuCause.GroupUnbound, "group_not_viable")]
    [InlineData("vfio 0000:03:00.0: failed to open /dev/vfio/7: No such file or directory", QemuCause.GroupUnbound, "group_not_viable")]
    [InlineData("vfio 0000:03:00.0: Could not open '/dev/vfio/7': Device or resource busy", QemuCause.GroupHeldElsewhere, "group_foreign")]
    [InlineData("vfio 0000:03:00.0: failed to open /dev/vfio/7: Device or resource busy", QemuCause.GroupHeldElsewhere, "group_foreign")]
    [InlineData("vfio 0000:03:00.0: Could not open '/dev/vfio/7': Permission denied", QemuCause.AccessDenied, "host_fault")]
    [InlineData("vfio 0000:03:00.0: failed to open /dev/vfio/7: Operation not permitted", QemuCause.AccessDenied, "host_fault")]
    [InlineData("vfio 0000:03:00.0: failed to setup container for group 7: No available IOMMU models", QemuCause.NoIommuModel, "vfio_unavailable")]
    [InlineData("vfio 0000:03:00.0: Failed to set group container: Invalid argument", QemuCause.ContainerRefused, "host_fault")]
    [InlineData("vfio 0000:03:00.0: Failed to set iommu for container: Operation not permitted", QemuCause.ContainerRefused, "host_fault")]
    [InlineData("vfio 0000:03:00.0: failed to setup container for group 7: something new", QemuCause.ContainerRefused, "host_fault")]
    [InlineData(
        "vfio 0000:03:00.0: failed to setup container for group 7: memory listener initialization failed: Region pc.ram: "
        + "vfio_container_dma_map(0x5581, 0x0, 0xa0000, 0x7f55) = -12 (Cannot allocate memory)", QemuCause.MemoryLock, "memory_lock_exceeded")]
    [InlineData("vfio_dma_map(0x5581, 0x0, 0xa0000, 0x7f55) = -12 (Cannot allocate memory)", QemuCause.MemoryLock, "memory_lock_exceeded")]
    [InlineData("VFIO_MAP_DMA failed: Cannot allocate memory", QemuCause.MemoryLock, "memory_lock_exceeded")]
    [InlineData("vfio_container_dma_map(0x5581, 0x8000000000, 0x1000, 0x7f55) = -22 (Invalid argument)", QemuCause.AddressWidth, "qemu_error")]
    [InlineData("VFIO_MAP_DMA failed: Invalid argument", QemuCause.AddressWidth, "qemu_error")]
    [InlineData("vfio 0000:03:00.1: group 7 used in multiple address spaces", QemuCause.GroupSplit, "container_exists")]
    [InlineData("virtio-iommu does not support aliased BDF", QemuCause.GroupSplit, "container_exists")]
    [InlineData("vfio 0000:03:00.0: error getting device from group 7: Invalid argument", QemuCause.DeviceBusy, "busy")]
    [InlineData("vfio 0000:03:00.0: device is already attached", QemuCause.DeviceAlreadyInGuest, "busy")]
    [InlineData("Duplicate device ID 'dev-0000-03-00-0'", QemuCause.DeviceAlreadyInGuest, "busy")]
    [InlineData("vfio 0000:03:00.0: Use FD passing only with iommufd backend", QemuCause.FileWithoutIommufd, "qemu_error")]
    [InlineData("vfio 0000:03:00.0: error bind device fd=31 to iommufd=30: Device or resource busy", QemuCause.GroupHeldElsewhere, "group_foreign")]
    [InlineData("vfio: Cannot reset device 0000:03:00.0, depends on group 8 which is not owned.", QemuCause.ResetNotOwned, "reset_blocked")]
    [InlineData("vfio: Cannot reset device 0000:03:00.0, no available reset mechanism.", QemuCause.NoReset, "reset_unsupported")]
    [InlineData("vfio: Unable to power on device, stuck in D3", QemuCause.DeviceDead, "device_quarantined")]
    [InlineData("vfio 0000:03:00.0: Failed to set vIOMMU: no", QemuCause.GuestIommuOption, "guest_iommu_required")]
    [InlineData("We need to set caching-mode=on for intel-iommu to enable device assignment.", QemuCause.GuestIommuOption, "guest_iommu_required")]
    [InlineData("Bus 'pcie.0' does not support hotplugging", QemuCause.NoHotplug, "no_free_slot")]
    [InlineData("Hot-plug failed: unsupported by the port device 'port0'", QemuCause.NoHotplug, "no_free_slot")]
    [InlineData("Unsupported PCI slot 0 for standard hotplug controller. Valid slots are between 1 and 31.", QemuCause.NoHotplug, "no_free_slot")]
    [InlineData("PCI: slot 0 function 0 already occupied by vfio-pci, new func vfio-pci cannot be exposed to guest.", QemuCause.SlotTaken, "no_free_slot")]
    [InlineData("PCI: slot 1 function 0 not available for vfio-pci, in use by vfio-pci,id=x", QemuCause.SlotTaken, "no_free_slot")]
    [InlineData("Hot-unplug failed: guest is busy (power indicator blinking)", QemuCause.GuestBusy, "busy")]
    [InlineData("Device dev-0000-03-00-0 is already in the process of unplug", QemuCause.UnplugUnderWay, "busy")]
    [InlineData("Device 'dev-0000-03-00-0' not found", QemuCause.DeviceNotInGuest, "qemu_error")]
    [InlineData("Parameter 'driver' expects a pluggable device type", QemuCause.Unknown, "qemu_error")]
    public void Explain_QemusWords_CauseAndCode(string words, QemuCause cause, string code)
    {
        Assert.Equal(cause, QemuErrors.Explain(words));
        Assert.Equal(code, QemuErrors.Code(cause));
        var fault = new QemuFault("device_add", QemuFault.GenericError, words);
        Assert.Equal(code, fault.Code);
        Assert.Contains(words, new QemuException(fault).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Table_EachLine_IsReachedByItsOwnWords() =>
        Assert.All(QemuErrors.Table, line => Assert.Equal(line.Cause, QemuErrors.Explain(string.Join(" 7 ", line.Words))));

    [Fact]
    public void Code_EachCause_IsInTheContract()
    {
        string[] contract =
        [
            "device_not_found", "group_foreign", "group_not_viable", "container_exists", "device_quarantined", "reset_blocked", "reset_unsupported",
            "guest_iommu_required", "no_free_slot", "memory_lock_exceeded", "vfio_unavailable", "iommu_disabled", "busy", "host_fault", "qemu_error",
            "unplug_timeout",
        ];
        Assert.All(Enum.GetValues<QemuCause>(), cause => Assert.Contains(QemuErrors.Code(cause), contract));
    }

    [Fact]
    public void Fault_ClassSaysMoreThanWords_ClassCounts()
    {
        Assert.Equal(QemuCause.DeviceNotInGuest, new QemuFault("device_del", QemuFault.DeviceNotFound, "?").Cause);
        Assert.Equal("unplug_timeout", new QemuFault("device_del", QemuFault.UnplugTimeout, "?").Code);
    }
}
