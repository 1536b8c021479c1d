// The C library: every call that AssignHub makes into it, under libc's own names, and how an errno becomes a HostFault.
// No other file imports native code. The calls with a capital are the ones with safe handles: they return what libc returns, or -errno,
// so that nothing can overwrite the error between the call and its reading, and retry EINTR; the plain ones leave errno to the marshaller.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace AssignHub.Engine;

/// <summary>libc's calls, and its constants (the values that x86-64, arm64 and ppc64le share, where nothing else is said).</summary>
internal static unsafe partial class Libc
{
    private const string Library = "libc";

    /// <summary><c>open</c>: for reading and writing (<c>fcntl.h</c>).</summary>
    public const int O_RDWR = 2;
    /// <summary><c>eventfd</c>: close on exec (<c>sys/eventfd.h</c>).</summary>
    public const int EFD_CLOEXEC = 0x80000;
    /// <summary><c>eventfd</c>: a read of a zero counter fails with EAGAIN and does not wait.</summary>
    public const int EFD_NONBLOCK = 0x800;
    /// <summary><c>mmap</c>: pages may be read (<c>sys/mman.h</c>).</summary>
    public const int PROT_READ = 1;
    /// <summary><c>mmap</c>: pages may be written.</summary>
    public const int PROT_WRITE = 2;
    /// <summary><c>mmap</c>: writes reach the file, here the device.</summary>
    public const int MAP_SHARED = 1;
    /// <summary><c>mmap</c>: writes stay in this process.</summary>
    public const int MAP_PRIVATE = 2;
    /// <summary><c>mmap</c>: memory without a file, zeroed.</summary>
    public const int MAP_ANONYMOUS = 0x20;
    /// <summary><c>poll</c>: there is something to read (<c>poll.h</c>).</summary>
    public const short POLLIN = 1;

#pragma warning disable CS8981 // The name is libc's; C# reserves lower-case names for itself.
    /// <summary>One descriptor for <c>poll</c> (<c>poll.h</c>).</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct pollfd
#pragma warning restore CS8981
    {
        /// <summary>The descriptor.</summary>
        public int fd;
        /// <summary>Events asked for.</summary>
        public short events;
        /// <summary>Events seen.</summary>
        public short revents;
    }

    /// <summary>Opens <paramref name="path"/> with <c>O_CLOEXEC</c>.</summary>
    /// <returns>The descriptor, or -errno.</returns>
    public static nint Open(string path, int flags)
    {
        nint result;
        do
        {
            result = open(path, flags | O_CLOEXEC, 0);
        }
        while (Interrupted(ref result));
        return result;
    }

    /// <summary>A new eventfd with a counter of zero: <c>EFD_CLOEXEC | EFD_NONBLOCK</c>.</summary>
    /// <returns>The descriptor, or -errno (EMFILE, ENFILE: no descriptor left).</returns>
    public static nint Eventfd()
    {
        nint result = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        _ = Interrupted(ref result);
        return result;
    }

    /// <summary>An ioctl whose argument is a pointer to a structure of fixed size.</summary>
    /// <returns>What the ioctl returned, or -errno.</returns>
    public static int Ioctl<T>(SafeHandle fd, uint request, ref T argument)
        where T : unmanaged => Ioctl(fd, request, MemoryMarshal.AsBytes(new Span<T>(ref argument)));

    /// <summary>An ioctl whose argument is a pointer to a buffer: a structure with an open tail, or a string.</summary>
    /// <returns>What the ioctl returned, or -errno.</returns>
    public static int Ioctl(SafeHandle fd, uint request, Span<byte> argument)
    {
        // SAFETY: pinned for the call; the kernel keeps to the argsz (or the terminating zero) that the caller wrote into it.
        fixed (byte* pointer = argument)
        {
            return IoctlValue(fd, request, (nuint)pointer);
        }
    }

    /// <summary>An ioctl whose argument is a number, not a pointer; 0 where it takes none.</summary>
    /// <returns>What the ioctl returned, or -errno.</returns>
    public static int IoctlValue(SafeHandle fd, uint request, nuint argument = 0)
    {
        nint result;
        do
        {
            result = ioctl(fd, request, argument);
        }
        while (Interrupted(ref result));
        return (int)result;
    }

    /// <summary>Maps <paramref name="length"/> bytes of <paramref name="fd"/> from <paramref name="offset"/>, shared.</summary>
    /// <returns>The address, or -errno.</returns>
    public static nint Mmap(SafeHandle fd, ulong offset, nuint length, int prot)
    {
        nint result = mmap(0, length, prot, MAP_SHARED, fd, (long)offset);
        _ = Interrupted(ref result);
        return result;
    }

    /// <summary>Maps <paramref name="length"/> bytes of zeroed memory, readable and writable, for this process alone.</summary>
    /// <returns>The address, or -errno.</returns>
    public static nint MmapAnonymous(nuint length)
    {
        nint result = mmap(0, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        _ = Interrupted(ref result);
        return result;
    }

    /// <summary>Unmaps what was mapped.</summary>
    /// <returns>0, or -1 if the range was none.</returns>
    public static int Munmap(nint address, nuint length) => (int)munmap(address, length);

    /// <summary>Reads at <paramref name="offset"/>.</summary>
    /// <returns>The bytes read, or -errno.</returns>
    public static nint Pread(SafeHandle fd, Span<byte> buffer, ulong offset)
    {
        nint result;

        // SAFETY: pinned for the call; the length passed is the span's.
        fixed (byte* pointer = buffer)
        {
            do
            {
                result = pread(fd, pointer, (nuint)buffer.Length, (long)offset);
            }
            while (Interrupted(ref result));
        }

        return result;
    }

    /// <summary>Writes at <paramref name="offset"/>.</summary>
    /// <returns>The bytes written, or -errno.</returns>
    public static nint Pwrite(SafeHandle fd, ReadOnlySpan<byte> buffer, ulong offset)
    {
        nint result;

        // SAFETY: pinned for the call; the length passed is the span's.
        fixed (byte* pointer = buffer)
        {
            do
            {
                result = pwrite(fd, pointer, (nuint)buffer.Length, (long)offset);
            }
            while (Interrupted(ref result));
        }

        return result;
    }

    /// <summary>Takes an eventfd's counter and sets it to zero.</summary>
    /// <returns>8, or -EAGAIN if the counter is zero.</returns>
    public static nint ReadCounter(SafeHandle eventfd, out ulong counter)
    {
        nint result;

        // SAFETY: an eventfd reads exactly the 8 bytes of the counter.
        fixed (ulong* pointer = &counter)
        {
            *pointer = 0;
            do
            {
                result = read(eventfd, pointer, sizeof(ulong));
            }
            while (Interrupted(ref result));
        }

        return result;
    }

    /// <summary>Adds to an eventfd's counter.</summary>
    /// <returns>8, or -EAGAIN if the counter would overflow.</returns>
    public static nint WriteCounter(SafeHandle eventfd, ulong value)
    {
        nint result;
        do
        {
            // SAFETY: an eventfd takes exactly the 8 bytes of a local.
            result = write(eventfd, &value, sizeof(ulong));
        }
        while (Interrupted(ref result));
        return result;
    }

    /// <summary>Waits without a limit until one of the descriptors has something to say.</summary>
    /// <returns>How many have, or -errno.</returns>
    public static int Poll(Span<pollfd> descriptors)
    {
        nint result;

        // SAFETY: pinned for the call; the count passed is the span's.
        fixed (pollfd* pointer = descriptors)
        {
            do
            {
                result = poll(pointer, (nuint)descriptors.Length, -1);
            }
            while (Interrupted(ref result));
        }

        return (int)result;
    }

    /// <summary>Closes a descriptor. EINTR is not retried: Linux has closed it by then, and its number may be another's.</summary>
    /// <returns>Whether the kernel had nothing to report.</returns>
    public static bool Close(nint descriptor) => close((int)descriptor) == 0;

    /// <summary>Passes a good result on and turns -errno into a fault.</summary>
    /// <exception cref="HostFault"><paramref name="result"/> is -errno.</exception>
    public static nint Check(nint result, string operation, string subject, string? detail = null) =>
        result < 0 ? throw new HostFault(operation, subject, (Errno)(-result), detail) : result;

    // Turns libc's -1 into -errno. True if a signal came first and the call is to be made again.
    private static bool Interrupted(ref nint result)
    {
        if (result != -1)
        {
            return false;
        }

        result = -Marshal.GetLastPInvokeError();
        return result == -(int)Errno.EINTR;
    }

    // open and ioctl are variadic in C. The fixed signatures below are good where variadic integers travel like named ones:
    // on every Linux ABI that .NET has.
    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string pathname, int flags, uint mode);

    [LibraryImport(Library, SetLastError = true)]
    private static partial int ioctl(SafeHandle fd, nuint request, nuint argument);

    [LibraryImport(Library, SetLastError = true)]
    private static partial nint mmap(nint address, nuint length, int prot, int flags, SafeHandle fd, long offset);

    [LibraryImport(Library, SetLastError = true)]
    private static partial nint mmap(nint address, nuint length, int prot, int flags, int fd, long offset);

    [LibraryImport(Library, SetLastError = true)]
    private static partial int munmap(nint address, nuint length);

    [LibraryImport(Library, SetLastError = true)]
    private static partial nint pread(SafeHandle fd, byte* buffer, nuint count, long offset);

    [LibraryImport(Library, SetLastError = true)]
    private static partial nint pwrite(SafeHandle fd, byte* buffer, nuint count, long offset);

    [LibraryImport(Library, SetLastError = true)]
    private static partial nint read(SafeHandle fd, void* buffer, nuint count);

    [LibraryImport(Library, SetLastError = true)]
    private static partial nint write(SafeHandle fd, void* buffer, nuint count);

    [LibraryImport(Library, SetLastError = true)]
    private static partial int eventfd(uint initval, int flags);

    [LibraryImport(Library, SetLastError = true)]
    private static partial int poll(pollfd* fds, nuint nfds, int timeout);


    // asm-generic/fcntl.h and linux/fcntl.h; O_DIRECTORY and O_NOFOLLOW differ on Arm, so they are chosen at run time.
    internal const int AT_FDCWD = -100;
    internal const int AT_EMPTY_PATH = 0x1000;
    internal const int AT_SYMLINK_NOFOLLOW = 0x100;
    internal const int O_RDONLY = 0;
    internal const int O_WRONLY = 1;
    internal const int O_EXCL = 0x80;
    internal const int O_NONBLOCK = 0x800;
    /// <summary><c>open</c>: the descriptor does not survive an exec. A VFIO descriptor that leaks into a child would keep a group held.</summary>
    internal const int O_CLOEXEC = 0x80000;
    internal const int O_PATH = 0x200000;

    internal static readonly int O_DIRECTORY =
        RuntimeInformation.ProcessArchitecture is Architecture.Arm64 or Architecture.Arm or Architecture.Ppc64le ? 0x4000 : 0x10000;

    // linux/stat.h
    internal const uint STATX_CTIME = 0x80;
    internal const uint STATX_INO = 0x100;
    internal const uint STATX_BTIME = 0x800;

    // linux/magic.h
    internal const long PROC_SUPER_MAGIC = 0x9fa0;
    internal const long SYSFS_MAGIC = 0x62656572;

    // linux/if.h, asm-generic socket families
    internal const ushort AF_INET = 2;
    internal const ushort AF_INET6 = 10;
    internal const ushort AF_NETLINK = 16;

    // asm-generic socket types; linux/netlink.h
    internal const int SOCK_RAW = 3;
    internal const int SOCK_CLOEXEC = 0x80000;
    internal const int NETLINK_KOBJECT_UEVENT = 15;

#pragma warning disable CS8981 // The name is the kernel's.
    /// <summary>A netlink address (<c>linux/netlink.h</c>).</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct sockaddr_nl
#pragma warning restore CS8981
    {
        /// <summary>AF_NETLINK.</summary>
        public ushort nl_family;
        private readonly ushort nl_pad;
        /// <summary>0: the kernel chooses.</summary>
        public uint nl_pid;
        /// <summary>Multicast groups, as bits.</summary>
        public uint nl_groups;
    }

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int socket(int domain, int type, int protocol);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int bind(SafeHandle sockfd, sockaddr_nl* addr, uint addrlen);

    // linux/sched.h, linux/sockios.h, linux/ethtool.h
    internal const int CLONE_NEWNET = 0x40000000;
    internal const uint SIOCETHTOOL = 0x8946;
    internal const uint ETHTOOL_GDRVINFO = 3;

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int openat(int dirfd, byte* pathname, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int close(int fd);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint read(int fd, void* buf, nuint count);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint write(int fd, void* buf, nuint count);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint pread(int fd, void* buf, nuint count, long offset);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint readlinkat(int dirfd, byte* pathname, byte* buf, nuint bufsiz);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint getdents64(int fd, void* dirp, nuint count);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int statx(int dirfd, byte* pathname, int flags, uint mask, statx_t* statxbuf);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int faccessat(int dirfd, byte* pathname, int mode, int flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int statfs(byte* path, statfs_t* buf);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int fstatfs(int fd, statfs_t* buf);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int getifaddrs(ifaddrs_t** ifap);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int setns(SafeHandle fd, int nstype);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial byte* realpath(string path, byte* resolved);

    /// <summary>A path without links and dots; the path itself if there is nothing at it.</summary>
    internal static string RealPath(string path)
    {
        // PATH_MAX of linux/limits.h: what realpath writes at most.
        byte* resolved = stackalloc byte[4096];
        return realpath(path, resolved) is null ? path : Marshal.PtrToStringUTF8((nint)resolved)!;
    }

    [LibraryImport(Library)]
    internal static partial void freeifaddrs(ifaddrs_t* ifa);

    /// <summary><c>struct statx</c> of <c>linux/stat.h</c>: 256 bytes, the same on every architecture.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    internal struct statx_t
    {
        [FieldOffset(0)] internal uint stx_mask;
        [FieldOffset(24)] internal uint stx_gid;
        [FieldOffset(28)] internal ushort stx_mode;
        [FieldOffset(32)] internal ulong stx_ino;
        [FieldOffset(80)] internal long stx_btime_sec;
        [FieldOffset(88)] internal uint stx_btime_nsec;
        [FieldOffset(96)] internal long stx_ctime_sec;
        [FieldOffset(104)] internal uint stx_ctime_nsec;
        [FieldOffset(128)] internal uint stx_rdev_major;
        [FieldOffset(132)] internal uint stx_rdev_minor;
        [FieldOffset(136)] internal uint stx_dev_major;
        [FieldOffset(140)] internal uint stx_dev_minor;
    }

    /// <summary>The head of <c>struct statfs</c> on 64-bit Linux, with room for the rest (120 bytes with glibc).</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    internal struct statfs_t
    {
        [FieldOffset(0)] internal long f_type;
    }

    /// <summary><c>struct ifaddrs</c> of <c>ifaddrs.h</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct ifaddrs_t
    {
        internal ifaddrs_t* ifa_next;
        internal byte* ifa_name;
        internal uint ifa_flags;
        internal byte* ifa_addr;
        internal byte* ifa_netmask;
        internal byte* ifa_ifu;
        internal void* ifa_data;
    }

    /// <summary><c>struct ethtool_drvinfo</c> of <c>linux/ethtool.h</c>, with of its texts the one that is read: what an interface stands on.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 196)]
    internal struct ethtool_drvinfo
    {
        [FieldOffset(0)] internal uint cmd;
        [FieldOffset(100)] internal fixed byte bus_info[32];
    }

    /// <summary><c>struct ifreq</c> of <c>net/if.h</c>.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 40)]
    internal struct ifreq_t
    {
        [FieldOffset(0)] internal fixed byte ifr_name[16];
        [FieldOffset(16)] internal void* ifr_data;
    }

    // asm-generic/unistd.h: the same numbers on every architecture; glibc wraps them only since 2.36.
    internal const nint SYS_pidfd_send_signal = 424;
    internal const nint SYS_pidfd_open = 434;

    internal const int SIGKILL = 9;
    internal const int RLIMIT_MEMLOCK = 8;
    internal const int ESRCH = 3;
    internal const int SOL_SOCKET = 1;
    internal const int SCM_RIGHTS = 1;
    internal const int SO_PEERCRED = 17;
    internal const int MSG_NOSIGNAL = 0x4000;
    internal const uint STATX_BASIC_STATS = 0x7ff;

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int chown(string path, uint owner, uint group);

    [LibraryImport(Library, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int statx(int dirfd, string path, int flags, uint mask, out statx_t buffer);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial int prlimit(int pid, int resource, in RLimit newLimit, nint oldLimit);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint syscall(nint number, nint pid, nint flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint syscall(nint number, SafeFileHandle pidfd, nint signal, nint info, nint flags);

    [LibraryImport(Library, SetLastError = true)]
    internal static partial nint sendmsg(SafeHandle socket, in MsgHdr message, int flags);

    /// <summary><c>struct rlimit</c> with 64-bit members.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct RLimit
    {
        internal ulong rlim_cur;
        internal ulong rlim_max;
    }

    /// <summary><c>struct msghdr</c> of glibc on 64-bit systems, 56 bytes.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct MsgHdr
    {
        internal void* msg_name;
        internal uint msg_namelen;
        internal IoVec* msg_iov;
        internal nuint msg_iovlen;
        internal void* msg_control;
        internal nuint msg_controllen;
        internal int msg_flags;
    }

    /// <summary><c>struct iovec</c>.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct IoVec
    {
        internal void* iov_base;
        internal nuint iov_len;
    }

    /// <summary>A <c>struct cmsghdr</c> with one file descriptor: CMSG_LEN(4) is 20 and CMSG_SPACE(4) is 24 on 64-bit systems.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 24)]
    internal struct CMsgFile
    {
        internal nuint cmsg_len;
        internal int cmsg_level;
        internal int cmsg_type;
        internal int fd;
    }
}
