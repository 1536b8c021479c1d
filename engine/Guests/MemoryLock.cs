// How much memory a guest's process may lock: what VFIO pins of it, and room to breathe.

namespace AssignHub.Engine.Guests;

/// <summary>
/// The locked-memory limit (RLIMIT_MEMLOCK). A container pins all of the guest's memory, and the kernel counts the same page once for
/// each container that pins it. Where one container serves the whole address space the memory counts once; with a guest IOMMU, and with
/// an iommufd object a group, it counts once a container. 1 GiB on top is for the devices' BARs that QEMU maps into the IOMMU as well.
/// The rule is libvirt's for x86, so that a guest moved from there behaves the same.
/// </summary>
public static class MemoryLock
{
    /// <summary>Room beyond the guest's memory.</summary>
    public const long Reserve = 1L << 30;

    /// <summary>
    /// The limit for a guest. With no container yet it is that of one: the limit is set before the first device is plugged, and a limit
    /// that nothing uses costs nothing.
    /// </summary>
    /// <param name="memoryBytes">The guest's memory.</param>
    /// <param name="containers">How many containers it has or gets.</param>
    /// <param name="containerEach">Whether each container pins on its own account: a guest IOMMU is there, or the backend is iommufd.</param>
    /// <returns>The limit in bytes.</returns>
    public static long Limit(long memoryBytes, int containers, bool containerEach) =>
        checked((containerEach ? Math.Max(containers, 1) : 1) * memoryBytes + Reserve);
}
