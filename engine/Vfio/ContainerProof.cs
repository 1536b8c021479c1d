// The proof of a claim: the kernel itself is asked to take the group into a container, and what it says then is written down.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Vfio;

/// <summary>What the kernel said when AssignHub held a group for a moment. Nothing of it stays open.</summary>
/// <param name="Iommu">The container's IOMMU.</param>
/// <param name="Devices">The devices that were opened, in the order asked for.</param>
public sealed record ContainerProof(IommuReport Iommu, ImmutableArray<DeviceReport> Devices)
{
    /// <summary>
    /// Opens a container, attaches the group, sets the IOMMU, reads what it can do, opens the devices if asked to, and closes everything.
    /// It blocks as long as the kernel does: about a second for each device that is reset when it is opened.
    /// </summary>
    /// <param name="group">The group's number.</param>
    /// <param name="endpoints">Its devices on vfio-pci.</param>
    /// <param name="openDevices">Whether to open them. The kernel resets each at its opening and at its closing.</param>
    /// <param name="backend">The backend, or null for the best.</param>
    /// <param name="host">The host; null is this one.</param>
    /// <param name="clock">What the reports' times are read from.</param>
    /// <exception cref="HostFault">The kernel refused: which call, and why, in words.</exception>
    public static ContainerProof Take(
        int group, IReadOnlyList<PciAddress> endpoints, bool openDevices, string? backend = null, VfioHost? host = null, TimeProvider? clock = null)
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        using VfioContainer container = VfioContainer.Open(group, backend, host);

        // All at once, as a guest has them: closing one while the others are open spares the reset of their bus in between.
        ImmutableArray<VfioDevice> devices = openDevices ? [.. endpoints.Select(address => container.OpenDevice(address))] : [];
        DateTimeOffset now = (clock ?? TimeProvider.System).GetUtcNow();
        return new ContainerProof(container.ReadIommu(), [.. devices.Select(device => device.Report(now))]);
    }
}
