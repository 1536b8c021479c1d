// Which drivers are VFIO's own.

namespace AssignHub.Engine.Host;

/// <summary>Tells drivers that hand a device to user space through VFIO from those that drive it.</summary>
public static class VfioDrivers
{
    /// <summary>The driver that takes any endpoint.</summary>
    public const string Generic = "vfio-pci";

    /// <summary>
    /// Whether a driver is <c>vfio-pci</c> or a variant of it: <c>mlx5_vfio_pci</c>, <c>hisi-acc-vfio-pci</c>, <c>nvgrace-gpu-vfio-pci</c>,
    /// <c>virtio-vfio-pci</c>, …: all variants in the kernel end so.
    /// </summary>
    public static bool IsVfio(string? driver) =>
        driver is not null && (driver.EndsWith("vfio-pci", StringComparison.Ordinal) || driver.EndsWith("vfio_pci", StringComparison.Ordinal));
}
