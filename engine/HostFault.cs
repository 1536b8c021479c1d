// What the host could not do: a kernel call or file access that failed. Refusals, which are decisions, are values (Rules/Refusal.cs).

namespace AssignHub.Engine;

/// <summary>The host failed at something that the rules allow.</summary>
/// <param name="operation">What was tried, in the kernel's words: <c>open</c>, <c>VFIO_SET_IOMMU</c>, <c>write driver_override</c>.</param>
/// <param name="subject">On what: a path, a device's address, a group.</param>
/// <param name="errno">The kernel's error, or <see cref="Errno.None"/> where there was none (a deadline, a malformed answer).</param>
/// <param name="detail">What is known beyond that, in words.</param>
/// <param name="inner">The exception that told it, if one did.</param>
public sealed class HostFault(string operation, string subject, Errno errno, string? detail = null, Exception? inner = null)
    : Exception($"{operation} on {subject}: {(errno == Errno.None ? detail : detail is null ? errno.ToString() : $"{errno} ({detail})")}", inner)
{
    /// <summary>What was tried.</summary>
    public string Operation { get; } = operation;

    /// <summary>On what it was tried.</summary>
    public string Subject { get; } = subject;

    /// <summary>The kernel's error.</summary>
    public Errno Errno { get; } = errno;
}

/// <summary>The error numbers that AssignHub tells apart, with Linux's values (<c>asm-generic/errno-base.h</c>, <c>errno.h</c>).</summary>
public enum Errno
{
    /// <summary>No error number was given.</summary>
    None = 0,
    /// <summary>Operation not permitted.</summary>
    EPERM = 1,
    /// <summary>No such file or directory.</summary>
    ENOENT = 2,
    /// <summary>Interrupted system call.</summary>
    EINTR = 4,
    /// <summary>I/O error.</summary>
    EIO = 5,
    /// <summary>No such device or address.</summary>
    ENXIO = 6,
    /// <summary>Argument list too long; iommufd: a structure with an unknown tail.</summary>
    E2BIG = 7,
    /// <summary>Bad file descriptor.</summary>
    EBADF = 9,
    /// <summary>Try again.</summary>
    EAGAIN = 11,
    /// <summary>Out of memory; VFIO: the memory-lock limit.</summary>
    ENOMEM = 12,
    /// <summary>Permission denied.</summary>
    EACCES = 13,
    /// <summary>Bad address.</summary>
    EFAULT = 14,
    /// <summary>Device or resource busy.</summary>
    EBUSY = 16,
    /// <summary>File exists.</summary>
    EEXIST = 17,
    /// <summary>No such device.</summary>
    ENODEV = 19,
    /// <summary>Invalid argument.</summary>
    EINVAL = 22,
    /// <summary>Not a typewriter; VFIO and PCI resets: not supported here.</summary>
    ENOTTY = 25,
    /// <summary>No space left; VFIO: the caller's array is too small.</summary>
    ENOSPC = 28,
    /// <summary>Read-only file system.</summary>
    EROFS = 30,
    /// <summary>Result out of range.</summary>
    ERANGE = 34,
    /// <summary>Function not implemented.</summary>
    ENOSYS = 38,
    /// <summary>Message too long; iommufd: the caller's array is too small.</summary>
    EMSGSIZE = 90,
    /// <summary>Operation not supported.</summary>
    EOPNOTSUPP = 95,
    /// <summary>Timed out.</summary>
    ETIMEDOUT = 110,
}
