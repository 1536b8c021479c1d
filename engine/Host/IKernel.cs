// The changes that AssignHub makes to a host's PCI devices. There are two hosts: the real kernel (LinuxKernel) and a tree that looks like
// its sysfs (ModelledKernel). Both run the same verbs (SysfsKernel) and differ in what a single write does.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Host;

/// <summary>
/// Verbs on devices. Each is idempotent (what already is, is done), verifies what it did by reading back, and never blocks its caller's
/// thread: the kernel may hold a write for ever (an unbind while a file is open), so each verb runs on a thread of its own and is given up at
/// its deadline or when its token fires. Such a verb fails with <see cref="Errno.ETIMEDOUT"/>, naming the write that hangs; until the
/// kernel lets go of it, further verbs on that device fail at once with <see cref="Errno.EBUSY"/>.
/// </summary>
/// <remarks>All throw <see cref="HostFault"/> with the kernel's error, and <see cref="OperationCanceledException"/> if the token had fired before anything began.</remarks>
public interface IKernel
{
    /// <summary>Binds a device to a driver that would not take it by itself: <c>driver_override</c>, off the old driver, <c>drivers_probe</c>.</summary>
    /// <param name="device">The device.</param>
    /// <param name="driver">The driver's name (<c>vfio-pci</c>); its module has to be loaded.</param>
    /// <param name="cancellation">Gives up.</param>
    Task BindAsync(PciAddress device, string driver, CancellationToken cancellation);

    /// <summary>Takes a device off its driver. Its <c>driver_override</c> stays.</summary>
    Task UnbindAsync(PciAddress device, CancellationToken cancellation);

    /// <summary>Clears the override and gives a device back to the driver that it had, or to none.</summary>
    /// <param name="device">The device.</param>
    /// <param name="driver">The driver that was written down before the claim; null leaves the device without one.</param>
    /// <param name="cancellation">Gives up.</param>
    Task RestoreAsync(PciAddress device, string? driver, CancellationToken cancellation);

    /// <summary>Loads a kernel module with what it depends on; done at once if it is there or built in.</summary>
    /// <param name="module">Its name, with dashes or underscores.</param>
    /// <param name="cancellation">Gives up; the helper process is killed.</param>
    Task LoadModuleAsync(string module, CancellationToken cancellation);

    /// <summary>
    /// Resets everything below a bridge (<c>reset_subordinate</c>). The kernel does not ask who uses what is below: the caller must have.
    /// <see cref="Errno.ENOTTY"/>: nothing below can be reset so, or the kernel has no such file; but also, a second later, that the reset was
    /// done and the link did not say in time that it is up (seen with the ports of QEMU): what is below has to be looked at either way.
    /// </summary>
    Task ResetSubordinateAsync(PciAddress bridge, CancellationToken cancellation);

    /// <summary>Resets one function by the first of its reset methods. <see cref="Errno.ENOTTY"/>: it has none.</summary>
    Task ResetAsync(PciAddress device, CancellationToken cancellation);

    /// <summary>Creates or removes virtual functions (<c>sriov_numvfs</c>); from one count to another by way of none.</summary>
    /// <param name="physicalFunction">The physical function; its driver must support it.</param>
    /// <param name="count">How many; 0 removes all.</param>
    /// <param name="cancellation">Gives up.</param>
    Task SetVirtualFunctionsAsync(PciAddress physicalFunction, int count, CancellationToken cancellation);

    /// <summary>
    /// Takes the group into a container in the kernel, reads what it says then, and lets go again. The devices have to be on VFIO.
    /// </summary>
    /// <param name="group">The group's number.</param>
    /// <param name="endpoints">Its devices that are on VFIO.</param>
    /// <param name="openDevices">Whether to open them too; the kernel resets each at its opening.</param>
    /// <param name="cancellation">Gives up.</param>
    Task<ContainerProof> ProveAsync(int group, ImmutableArray<PciAddress> endpoints, bool openDevices, CancellationToken cancellation);

    /// <summary>Reads configuration space afresh: whether a device still answers after a reset, and as the same.</summary>
    Task<DeviceAnswer> ReadAnswerAsync(PciAddress device, CancellationToken cancellation);
}

/// <summary>What a device says of itself now.</summary>
/// <param name="Answers">Whether its configuration space is anything but all ones.</param>
/// <param name="VendorId">Its vendor id; 0xffff on a virtual function by the standard.</param>
/// <param name="CapabilityFingerprint">The layout of its capabilities, as in <see cref="PciDevice.CapabilityFingerprint"/>.</param>
public sealed record DeviceAnswer(bool Answers, ushort VendorId, string CapabilityFingerprint)
{
    /// <summary>What differs from the device as it was, in words; null if it answers as before.</summary>
    /// <param name="vendorId">Its vendor id before; a virtual function's configuration space may say 0xffff instead.</param>
    /// <param name="capabilityFingerprint">Its capabilities before.</param>
    public string? DifferenceFrom(ushort vendorId, string capabilityFingerprint)
    {
        if (!Answers)
        {
            return "its configuration space does not answer";
        }

        if (VendorId != vendorId && VendorId != 0xffff)
        {
            return $"its vendor id reads {VendorId:x4} instead of {vendorId:x4}";
        }

        return CapabilityFingerprint == capabilityFingerprint
            ? null
            : $"its capabilities are '{CapabilityFingerprint}' instead of '{capabilityFingerprint}'";
    }
}
