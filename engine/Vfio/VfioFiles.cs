// The files of VFIO: the container /dev/vfio/vfio and the groups /dev/vfio/N, which have one opener at a time; of the iommufd backend /dev/iommu
// and the devices /dev/vfio/devices/vfioN.

using System.Globalization;
using AssignHub.Engine.Pci;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>The files of VFIO below a root, which is <c>/dev</c> outside tests.</summary>
internal static class VfioFiles
{
    /// <summary>Opens a container that is empty yet.</summary>
    /// <param name="devRoot">Where <c>vfio/vfio</c> is.</param>
    /// <param name="subject">How faults speak of it.</param>
    /// <exception cref="HostFault"><c>open</c> failed, or the kernel's VFIO is of another version.</exception>
    public static ContainerHandle OpenContainer(string devRoot, string subject)
    {
        string path = ContainerPath(devRoot);
        nint result = Libc.Open(path, Libc.O_RDWR);
        Libc.Check(result, "open", path, result < 0 ? VfioFault.ExplainOpen(isGroup: false, (Errno)(-result)) : null);
        ContainerHandle container = FileDescriptor.Own<ContainerHandle>(result, subject);
        try
        {
            uint version = container.GetApiVersion();
            return version == VFIO_API_VERSION
                ? container
                : throw new HostFault(nameof(VFIO_GET_API_VERSION), path, Errno.None, $"version {version} is unknown here; {VFIO_API_VERSION} was expected");
        }
        catch
        {
            container.Dispose();
            throw;
        }
    }

    /// <summary>Opens a group; it has one opener at a time.</summary>
    /// <exception cref="HostFault"><c>open</c> failed: EBUSY if another process has it, ENOENT if nothing of it is bound to VFIO.</exception>
    public static GroupHandle OpenGroup(string devRoot, int number)
    {
        string path = GroupPath(devRoot, number);
        nint result = Libc.Open(path, Libc.O_RDWR);
        Libc.Check(result, "open", path, result < 0 ? VfioFault.ExplainOpen(isGroup: true, (Errno)(-result)) : null);
        return FileDescriptor.Own<GroupHandle>(result, string.Create(CultureInfo.InvariantCulture, $"group {number}"));
    }

    /// <summary>Opens an iommufd context that is empty yet.</summary>
    /// <param name="devRoot">Where <c>iommu</c> is.</param>
    /// <param name="subject">How faults speak of it.</param>
    /// <exception cref="HostFault"><c>open</c> failed.</exception>
    public static IommufdHandle OpenIommufd(string devRoot, string subject)
    {
        string path = IommufdPath(devRoot);
        nint result = Libc.Open(path, Libc.O_RDWR);
        Libc.Check(result, "open", path, result < 0 ? VfioFault.ExplainOpen(isGroup: false, (Errno)(-result)) : null);
        return FileDescriptor.Own<IommufdHandle>(result, subject);
    }

    /// <summary>Opens a device by its own file. That alone claims and resets nothing: putting it under an iommufd does.</summary>
    /// <param name="host">The host.</param>
    /// <param name="address">The device, bound to vfio-pci.</param>
    /// <exception cref="HostFault"><c>open</c> failed, or the device has no such file.</exception>
    public static DeviceHandle OpenDevice(VfioHost host, PciAddress address)
    {
        string name = DeviceName(host, address)
            ?? throw new HostFault("open", address.ToString(), Errno.ENOENT, "it is not bound to vfio-pci, or the kernel has no device files for VFIO (CONFIG_VFIO_DEVICE_CDEV)");
        string path = Path.Combine(host.DevRoot, "vfio", "devices", name);
        nint result = Libc.Open(path, Libc.O_RDWR);
        Libc.Check(result, "open", path, result < 0 ? VfioFault.ExplainOpen(isGroup: false, (Errno)(-result)) : null);
        return FileDescriptor.Own<DeviceHandle>(result, address.ToString());
    }

    /// <summary>The name of a device's own file, <c>vfioN</c>; null if it is not on a VFIO driver. Documentation/ABI/testing/sysfs-devices-vfio-dev.</summary>
    public static string? DeviceName(VfioHost host, PciAddress address)
    {
        string directory = Path.Combine(host.SysfsRoot, "bus/pci/devices", address.ToString(), "vfio-dev");
        return Directory.Exists(directory) ? Directory.EnumerateDirectories(directory).Select(Path.GetFileName).FirstOrDefault() : null;
    }

    /// <summary>Asks who has a group, by opening it and closing it at once. Whoever opens it in that instant gets EBUSY.</summary>
    /// <exception cref="HostFault"><c>open</c> failed for another reason: EACCES, EPERM, EMFILE.</exception>
    public static GroupUse ProbeGroup(string devRoot, int number)
    {
        try
        {
            OpenGroup(devRoot, number).Dispose();
            return GroupUse.Free;
        }
        catch (HostFault fault) when (fault.Errno == Errno.EBUSY)
        {
            return GroupUse.Held;
        }
        catch (HostFault fault) when (fault.Errno is Errno.ENOENT or Errno.ENODEV)
        {
            return GroupUse.Absent;
        }
    }

    /// <summary>The container file's path.</summary>
    public static string ContainerPath(string devRoot) => Path.Combine(devRoot, "vfio", "vfio");

    /// <summary>The iommufd's path.</summary>
    public static string IommufdPath(string devRoot) => Path.Combine(devRoot, "iommu");

    /// <summary>Whether VFIO made the group up for a device without an IOMMU: the kernel gives its file another name (vfio_device_set_group).</summary>
    public static bool IsNoIommu(string devRoot, int number) => File.Exists(NoIommuPath(devRoot, number));

    private static string GroupPath(string devRoot, int number) => IsNoIommu(devRoot, number)
        ? NoIommuPath(devRoot, number)
        : Path.Combine(devRoot, "vfio", number.ToString(CultureInfo.InvariantCulture));

    private static string NoIommuPath(string devRoot, int number) =>
        Path.Combine(devRoot, "vfio", string.Create(CultureInfo.InvariantCulture, $"noiommu-{number}"));
}

/// <summary>Who has a group's VFIO file.</summary>
public enum GroupUse
{
    /// <summary>There is none: no device of the group is bound to VFIO.</summary>
    Absent,
    /// <summary>Nobody.</summary>
    Free,
    /// <summary>Some process, perhaps this one.</summary>
    Held,
}
