// Memory that was mapped and will be unmapped once: a part of a device's region, or a buffer for its DMA.

using Microsoft.Win32.SafeHandles;

namespace AssignHub.Engine.Vfio;

/// <summary>The owner of one mapping; every access goes through bounds.</summary>
internal sealed class MappedMemory : SafeHandleZeroOrMinusOneIsInvalid
{
    private readonly nuint mappedBytes;

    private MappedMemory(nint address, ulong lengthBytes, nuint mappedBytes)
        : base(ownsHandle: true)
    {
        SetHandle(address);
        LengthBytes = lengthBytes;
        this.mappedBytes = mappedBytes;
    }

    /// <summary>How many bytes may be touched.</summary>
    public ulong LengthBytes { get; }

    /// <summary>Maps a part of a device fd, shared.</summary>
    /// <param name="device">The device.</param>
    /// <param name="offset">Where in its fd, in bytes; a page boundary.</param>
    /// <param name="length">How much in bytes; the last page is mapped whole.</param>
    /// <param name="writable">Whether to map it for writing too.</param>
    /// <exception cref="HostFault"><c>mmap</c> failed.</exception>
    public static MappedMemory OfDevice(DeviceHandle device, ulong offset, ulong length, bool writable)
    {
        nuint mapped = WholePages(length);
        nint address = Libc.Mmap(device, offset, mapped, writable ? Libc.PROT_READ | Libc.PROT_WRITE : Libc.PROT_READ);
        return new MappedMemory(Libc.Check(address, "mmap", device.Subject), length, mapped);
    }

    /// <summary>Zeroed memory of this process, whole pages.</summary>
    /// <exception cref="HostFault"><c>mmap</c> failed.</exception>
    public static MappedMemory Anonymous(ulong length)
    {
        nuint mapped = WholePages(length);
        return new MappedMemory(Libc.Check(Libc.MmapAnonymous(mapped), "mmap", $"{mapped} bytes of memory"), mapped, mapped);
    }

    /// <summary>Lends a part of the mapping, which stays mapped until the loan is disposed.</summary>
    /// <param name="offset">Where, in bytes from the start.</param>
    /// <param name="length">How much, in bytes.</param>
    /// <param name="alignment">What <paramref name="offset"/> must be a multiple of.</param>
    /// <exception cref="ArgumentOutOfRangeException">The part is not inside the mapping, or not aligned.</exception>
    /// <exception cref="ObjectDisposedException">It is no longer mapped.</exception>
    public Loan Lend(ulong offset, ulong length, uint alignment = 1)
    {
        if (offset > LengthBytes || length > LengthBytes - offset || offset % alignment != 0)
        {
            throw new ArgumentOutOfRangeException(
                nameof(offset), offset, $"{length} bytes do not fit there: the mapping has {LengthBytes}, the alignment is {alignment}");
        }

        return new Loan(this, offset);
    }

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.Munmap(handle, mappedBytes) == 0;

    private static nuint WholePages(ulong length)
    {
        ulong page = (ulong)Environment.SystemPageSize;
        return checked((nuint)((length + page - 1) / page * page));
    }

    /// <summary>A pointer into the mapping, good until disposed.</summary>
    internal readonly unsafe ref struct Loan : IDisposable
    {
        private readonly MappedMemory memory;

        public Loan(MappedMemory memory, ulong offset)
        {
            bool added = false;
            memory.DangerousAddRef(ref added);
            this.memory = memory;

            // SAFETY: the caller has checked the offset; the reference just taken keeps the mapping.
            Pointer = (byte*)memory.handle + offset;
        }

        /// <summary>Where the part begins.</summary>
        public byte* Pointer { get; }

        public void Dispose() => memory.DangerousRelease();
    }
}
