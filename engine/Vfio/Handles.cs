// The descriptors of VFIO, a type each. Their order of closing is VfioContainer's business.

namespace AssignHub.Engine.Vfio;

/// <summary>An open <c>/dev/vfio/vfio</c>: a container, an IOMMU context.</summary>
internal class ContainerHandle : FileDescriptor;

/// <summary>An open <c>/dev/iommu</c>: a container of the iommufd backend.</summary>
internal sealed class IommufdHandle : FileDescriptor;

/// <summary>An open <c>/dev/vfio/N</c>: a group, which has one opener only.</summary>
internal class GroupHandle : FileDescriptor;

/// <summary>An open device.</summary>
internal sealed class DeviceHandle : FileDescriptor;

/// <summary>An eventfd: a counter that the kernel adds to when an interrupt fires.</summary>
internal sealed class EventHandle : FileDescriptor
{
    /// <summary>A new one with a counter of zero.</summary>
    /// <exception cref="HostFault"><c>eventfd</c> failed.</exception>
    public static EventHandle Create(string subject) => Own<EventHandle>(Libc.Check(Libc.Eventfd(), "eventfd", subject), subject);
}
