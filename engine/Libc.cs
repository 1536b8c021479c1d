// The libc calls of the engine, under libc's own names. No other file imports native code.

using System.Runtime.InteropServices;

namespace AssignHub.Engine;

internal static unsafe partial class Libc
{
    private const string Library = "libc";

    // asm-generic/fcntl.h and linux/fcntl.h; O_DIRECTORY and O_NOFOLLOW differ on Arm, so they are chosen at run time.
    internal const int AT_FDCWD = -100;
    internal const int AT_EMPTY_PATH = 0x1000;
    internal const int AT_SYMLINK_NOFOLLOW = 0x100;
    internal const int O_RDONLY = 0;
    internal const int O_WRONLY = 1;
    internal const int O_EXCL = 0x80;
    internal const int O_NONBLOCK = 0x800;
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

    [LibraryImport(Library)]
    internal static partial void freeifaddrs(ifaddrs_t* ifa);

    /// <summary><c>struct statx</c> of <c>linux/stat.h</c>: 256 bytes, the same on every architecture.</summary>
    [StructLayout(LayoutKind.Explicit, Size = 256)]
    internal struct statx_t
    {
        [FieldOffset(0)] internal uint stx_mask;
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
}
