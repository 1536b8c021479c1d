// The C library's functions that AssignHub calls, under their libc names. No other file imports native code.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace AssignHub.Engine;

/// <summary>libc, as it is. A call that fails returns -1 and leaves its error in <see cref="Marshal.GetLastPInvokeError"/>.</summary>
internal static unsafe partial class Libc
{
    private const string Name = "libc";

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
    internal const int AT_FDCWD = -100;
    internal const int AT_SYMLINK_NOFOLLOW = 0x100;
    internal const uint STATX_BASIC_STATS = 0x7ff;

    [LibraryImport(Name, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int chown(string path, uint owner, uint group);

    [LibraryImport(Name, SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    internal static partial int statx(int dirfd, string path, int flags, uint mask, out Statx buffer);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial int prlimit(int pid, int resource, in RLimit newLimit, nint oldLimit);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint syscall(nint number, nint pid, nint flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint syscall(nint number, SafeFileHandle pidfd, nint signal, nint info, nint flags);

    [LibraryImport(Name, SetLastError = true)]
    internal static partial nint sendmsg(SafeHandle socket, in MsgHdr message, int flags);

    /// <summary><c>struct statx</c> of <c>linux/stat.h</c> up to the device numbers, 256 bytes.</summary>
    [StructLayout(LayoutKind.Sequential, Size = 256)]
    internal struct Statx
    {
        internal uint stx_mask;
        internal uint stx_blksize;
        internal ulong stx_attributes;
        internal uint stx_nlink;
        internal uint stx_uid;
        internal uint stx_gid;
        internal ushort stx_mode;
    }

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
