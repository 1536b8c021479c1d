// A directory of sysfs or /proc, held by its fd, and the few calls that reading it takes: three for an attribute, one for a link.
// What is gone (a device unplugged between two calls) is an answer, not an error; everything else that fails is a HostFault.

using System.Buffers;
using System.Runtime.InteropServices;
using System.Text;

namespace AssignHub.Engine.Host;

/// <summary>An open directory. The fd is an <c>O_PATH</c> one: good for lookups below it.</summary>
internal readonly unsafe struct SysDir : IDisposable
{
    private const int MaxName = 512;

    // One more than the fd, so that a default value is no open directory, and not standard input.
    private readonly int _handle;
    private readonly string _path;

    private SysDir(int fd, string path)
    {
        _handle = fd + 1;
        _path = path;
    }

    private int Fd => _handle - 1;

    /// <summary>What a directory was named when it was opened, for error messages.</summary>
    public string Path => _path;

    /// <summary>Opens a directory by its path; false if it is not there.</summary>
    /// <exception cref="HostFault">It is there and cannot be opened.</exception>
    public static bool TryOpen(string path, out SysDir dir) => TryOpenAt(Libc.AT_FDCWD, "", path, out dir);

    /// <summary>Opens a directory below this one.</summary>
    /// <exception cref="HostFault">It is there and cannot be opened.</exception>
    public bool TryOpenBelow(string name, out SysDir dir) => TryOpenAt(Fd, _path, name, out dir);

    private static bool TryOpenAt(int at, string parent, string name, out SysDir dir)
    {
        Span<byte> buffer = stackalloc byte[MaxName];
        using PathBuffer path = new(name, buffer);
        int fd;
        fixed (byte* text = path.Bytes)
        {
            fd = Libc.openat(at, text, Libc.O_PATH | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
        }

        if (fd < 0)
        {
            dir = default;
            return ThrowUnlessGone("open", parent.Length == 0 ? name : $"{parent}/{name}");
        }

        dir = new SysDir(fd, parent.Length == 0 ? name : $"{parent}/{name}");
        return true;
    }

    /// <summary>What tells this directory from another one that later stands in its place.</summary>
    /// <remarks>
    /// kernfs gives every new directory a new inode number (cyclic, 64 bits with its generation). A synthetic tree's file system may
    /// use one again at once, so its time of birth is taken along where the file system knows it.
    /// </remarks>
    public DirIdentity Identity()
    {
        Libc.statx_t stat;
        byte empty = 0;
        if (Libc.statx(Fd, &empty, Libc.AT_EMPTY_PATH, Libc.STATX_INO | Libc.STATX_BTIME, &stat) != 0)
        {
            throw Fault("stat", _path);
        }

        bool born = (stat.stx_mask & Libc.STATX_BTIME) != 0;
        return new DirIdentity(
            (ulong)stat.stx_dev_major << 32 | stat.stx_dev_minor, stat.stx_ino, born ? stat.stx_btime_sec : 0, born ? stat.stx_btime_nsec : 0);
    }

    /// <summary>Reads an attribute into <paramref name="buffer"/>, the trailing newline taken off; false if it is not there.</summary>
    /// <exception cref="HostFault">It is there and cannot be read.</exception>
    public bool TryRead(scoped ReadOnlySpan<byte> name, Span<byte> buffer, out ReadOnlySpan<byte> text)
    {
        text = default;
        Span<byte> terminated = stackalloc byte[MaxName];
        Terminate(name, terminated);
        int fd;
        fixed (byte* path = terminated)
        {
            fd = Libc.openat(Fd, path, Libc.O_RDONLY | Libc.O_CLOEXEC);
        }

        if (fd < 0)
        {
            return ThrowUnlessGone("open", $"{_path}/{Encoding.UTF8.GetString(name)}");
        }

        nint length;
        int errno = 0;
        fixed (byte* data = buffer)
        {
            length = Libc.read(fd, data, (nuint)buffer.Length);
            if (length < 0)
            {
                errno = Marshal.GetLastPInvokeError();
            }
        }

        _ = Libc.close(fd);
        if (length < 0)
        {
            // An attribute whose value cannot be formed answers EINVAL or EIO; a directory in its place EISDIR.
            return IsGone(errno) || errno is (int)Errno.EINVAL or (int)Errno.EIO or (int)Errno.EOPNOTSUPP
                ? false
                : throw new HostFault("read", $"{_path}/{Encoding.UTF8.GetString(name)}", (Errno)errno);
        }

        text = ((ReadOnlySpan<byte>)buffer)[..(int)length].TrimEnd("\n\0 "u8);
        return true;
    }

    /// <summary>Opens a file for reading at offsets (config space); the caller closes it. Negative if it is not there.</summary>
    /// <exception cref="HostFault">It is there and cannot be opened.</exception>
    public int OpenFile(ReadOnlySpan<byte> name)
    {
        Span<byte> terminated = stackalloc byte[MaxName];
        Terminate(name, terminated);
        fixed (byte* path = terminated)
        {
            int fd = Libc.openat(Fd, path, Libc.O_RDONLY | Libc.O_CLOEXEC);
            if (fd < 0)
            {
                ThrowUnlessGone("open", $"{_path}/{Encoding.UTF8.GetString(name)}");
            }

            return fd;
        }
    }

    /// <summary>Reads where a link points to; false if it is not there or is no link.</summary>
    /// <exception cref="HostFault">It cannot be read.</exception>
    public bool TryReadLink(scoped ReadOnlySpan<byte> name, Span<byte> buffer, out ReadOnlySpan<byte> target)
    {
        target = default;
        Span<byte> terminated = stackalloc byte[MaxName];
        Terminate(name, terminated);
        nint length;
        fixed (byte* path = terminated, data = buffer)
        {
            length = Libc.readlinkat(Fd, path, data, (nuint)buffer.Length);
        }

        if (length < 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            return IsGone(errno) || errno == (int)Errno.EINVAL
                ? false
                : throw new HostFault("readlink", $"{_path}/{Encoding.UTF8.GetString(name)}", (Errno)errno);
        }

        target = ((ReadOnlySpan<byte>)buffer)[..(int)length];
        return true;
    }

    /// <inheritdoc cref="TryReadLink(ReadOnlySpan{byte}, Span{byte}, out ReadOnlySpan{byte})"/>
    public bool TryReadLink(string name, Span<byte> buffer, out ReadOnlySpan<byte> target)
    {
        Span<byte> utf8 = stackalloc byte[MaxName];
        return TryReadLink(utf8[..Encoding.UTF8.GetBytes(name, utf8)], buffer, out target);
    }

    /// <summary>Whether something of this name is there.</summary>
    public bool Exists(ReadOnlySpan<byte> name)
    {
        Span<byte> terminated = stackalloc byte[MaxName];
        Terminate(name, terminated);
        fixed (byte* path = terminated)
        {
            return Libc.faccessat(Fd, path, 0, 0) == 0;
        }
    }

    /// <summary>The names in a directory below this one (<c>.</c> for itself), in the kernel's order; empty if it is not there.</summary>
    /// <exception cref="HostFault">It cannot be read.</exception>
    public List<string> List(string name = ".")
    {
        List<string> names = [];
        byte[] entries = ArrayPool<byte>.Shared.Rent(16 << 10);
        try
        {
            int length = ReadEntries(name, ref entries);
            AddNames(entries.AsSpan(0, length), names);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(entries);
        }

        return names;
    }

    /// <summary>Reads a directory's entries as the kernel packs them (<c>struct linux_dirent64</c>), inode numbers and all.</summary>
    /// <param name="name">The directory below this one, or <c>.</c>.</param>
    /// <param name="entries">A buffer of <see cref="ArrayPool{T}.Shared"/>, exchanged for a larger one if it has to be.</param>
    /// <returns>Bytes read; 0 if the directory is not there.</returns>
    /// <exception cref="HostFault">It cannot be read.</exception>
    public int ReadEntries(string name, ref byte[] entries)
    {
        Span<byte> buffer = stackalloc byte[MaxName];
        using PathBuffer path = new(name, buffer);
        int fd;
        fixed (byte* text = path.Bytes)
        {
            fd = Libc.openat(Fd, text, Libc.O_RDONLY | Libc.O_DIRECTORY | Libc.O_CLOEXEC);
        }

        if (fd < 0)
        {
            ThrowUnlessGone("open", $"{_path}/{name}");
            return 0;
        }

        int filled = 0;
        try
        {
            while (true)
            {
                if (entries.Length - filled < 4096)
                {
                    byte[] larger = ArrayPool<byte>.Shared.Rent(entries.Length * 2);
                    entries.AsSpan(0, filled).CopyTo(larger);
                    ArrayPool<byte>.Shared.Return(entries);
                    entries = larger;
                }

                nint length;
                fixed (byte* data = entries)
                {
                    length = Libc.getdents64(fd, data + filled, (nuint)(entries.Length - filled));
                }

                if (length < 0)
                {
                    ThrowUnlessGone("read", $"{_path}/{name}");
                    return 0;
                }

                if (length == 0)
                {
                    return filled;
                }

                filled += (int)length;
            }
        }
        finally
        {
            _ = Libc.close(fd);
        }
    }

    /// <summary>When an entry was last added or removed, for file systems that keep track of it (not sysfs).</summary>
    /// <exception cref="HostFault">The directory is gone.</exception>
    public DateTimeOffset Changed()
    {
        Libc.statx_t stat;
        byte empty = 0;
        if (Libc.statx(Fd, &empty, Libc.AT_EMPTY_PATH, Libc.STATX_CTIME, &stat) != 0)
        {
            throw Fault("stat", _path);
        }

        return DateTimeOffset.FromUnixTimeSeconds(stat.stx_ctime_sec).AddTicks(stat.stx_ctime_nsec / 100);
    }

    /// <summary>Whether this is the kernel's own sysfs and not a tree that looks like it.</summary>
    public bool IsSysfs()
    {
        Libc.statfs_t stat;
        return Libc.fstatfs(Fd, &stat) == 0 && stat.f_type == Libc.SYSFS_MAGIC;
    }

    /// <summary>The text of a whole file, however long; null if it is not there.</summary>
    /// <exception cref="HostFault">It cannot be read.</exception>
    public static string? ReadText(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception missing) when (missing is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
        catch (Exception failed) when (failed is IOException or UnauthorizedAccessException)
        {
            // .NET keeps errno in HResult on Unix for I/O errors; a refused access carries none.
            Errno errno = failed is UnauthorizedAccessException ? Errno.EACCES : (Errno)failed.HResult;
            return IsGone((int)errno) ? null : throw new HostFault("read", path, errno, failed.Message, failed);
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_handle != 0)
        {
            _ = Libc.close(Fd);
        }
    }

    /// <summary>Whether an error says that the subject is not, or no longer, there: ENOENT, ENXIO, ENODEV, ENOTDIR, ESRCH.</summary>
    internal static bool IsGone(int errno) => errno is 2 or 6 or 19 or 20 or 3;

    // struct linux_dirent64 { u64 d_ino; s64 d_off; u16 d_reclen; u8 d_type; char d_name[]; }
    internal static void AddNames(ReadOnlySpan<byte> entries, List<string> names)
    {
        while (entries.Length > 19)
        {
            int length = MemoryMarshal.Read<ushort>(entries[16..]);
            ReadOnlySpan<byte> name = entries[19..length];
            name = name[..name.IndexOf((byte)0)];
            if (!name.SequenceEqual("."u8) && !name.SequenceEqual(".."u8))
            {
                names.Add(Encoding.UTF8.GetString(name));
            }

            entries = entries[length..];
        }
    }

    private static void Terminate(ReadOnlySpan<byte> name, Span<byte> terminated)
    {
        name.CopyTo(terminated);
        terminated[name.Length] = 0;
    }

    private static bool ThrowUnlessGone(string operation, string subject)
    {
        int errno = Marshal.GetLastPInvokeError();
        return IsGone(errno) ? false : throw new HostFault(operation, subject, (Errno)errno);
    }

    private static HostFault Fault(string operation, string subject) => new(operation, subject, (Errno)Marshal.GetLastPInvokeError());

    /// <summary>A path as the kernel wants it, on the stack unless it is long.</summary>
    private readonly ref struct PathBuffer : IDisposable
    {
        private readonly byte[]? _rented;

        public PathBuffer(string path, Span<byte> stack)
        {
            int most = Encoding.UTF8.GetMaxByteCount(path.Length) + 1;
            _rented = most > stack.Length ? ArrayPool<byte>.Shared.Rent(most) : null;
            Span<byte> bytes = _rented ?? stack;
            bytes[Encoding.UTF8.GetBytes(path, bytes)] = 0;
            Bytes = bytes;
        }

        public Span<byte> Bytes { get; }

        public void Dispose()
        {
            if (_rented is not null)
            {
                ArrayPool<byte>.Shared.Return(_rented);
            }
        }
    }
}

/// <summary>Which directory it is: device, inode and, where known, time of birth.</summary>
internal readonly record struct DirIdentity(ulong Device, ulong Inode, long BornSeconds, uint BornNanoseconds);
