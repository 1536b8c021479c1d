// The C library: every call that AssignHub makes into it, under libc's own names, and how an errno becomes a HostFault.
// No other file imports native code. Calls return what libc returns, or -errno, so that nothing can overwrite the error
// between the call and its reading; EINTR is retried here and seen by no caller.

using System.Runtime.InteropServices;

namespace AssignHub.Engine;

/// <summary>libc's calls with safe handles, and its constants (the values that x86-64, arm64 and ppc64le share).</summary>
internal static unsafe partial class Libc
{
    /// <summary><c>open</c>: for reading and writing (<c>fcntl.h</c>).</summary>
    public const int O_RDWR = 2;
    /// <summary><c>open</c>: the descriptor does not survive an exec. A VFIO descriptor that leaks into a child would keep a group held.</summary>
    public const int O_CLOEXEC = 0x80000;
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
    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    private static partial int open(string pathname, int flags, uint mode);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int ioctl(SafeHandle fd, nuint request, nuint argument);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint mmap(nint address, nuint length, int prot, int flags, SafeHandle fd, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint mmap(nint address, nuint length, int prot, int flags, int fd, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int munmap(nint address, nuint length);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint pread(SafeHandle fd, byte* buffer, nuint count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint pwrite(SafeHandle fd, byte* buffer, nuint count, long offset);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint read(SafeHandle fd, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint write(SafeHandle fd, void* buffer, nuint count);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int eventfd(uint initval, int flags);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int poll(pollfd* fds, nuint nfds, int timeout);

    [LibraryImport("libc", SetLastError = true)]
    private static partial int close(int fd);
}
