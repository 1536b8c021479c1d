// Memory that devices reach: buffers that the engine owns, and their mappings in a container.

using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

/// <summary>What the devices of a container may do with a mapped buffer.</summary>
[Flags]
public enum DmaAccess
{
    /// <summary>Nothing; no mapping can be made with it.</summary>
    None = 0,
    /// <summary>Read it.</summary>
    Read = 1,
    /// <summary>Write it.</summary>
    Write = 2,
}

/// <summary>How the group backends write access down.</summary>
internal static class DmaAccessFlags
{
    /// <summary><c>VFIO_DMA_MAP_FLAG_…</c></summary>
    public static uint ToFlags(this DmaAccess access) =>
        (access.HasFlag(DmaAccess.Read) ? VFIO_DMA_MAP_FLAG_READ : 0) | (access.HasFlag(DmaAccess.Write) ? VFIO_DMA_MAP_FLAG_WRITE : 0);
}

/// <summary>Zeroed, page-aligned memory for DMA. Freed when it is disposed and no mapping of it is left.</summary>
public sealed class DmaBuffer : IDisposable
{
    private DmaBuffer(MappedMemory memory) => Memory = memory;

    /// <summary>Its length in bytes: whole pages.</summary>
    public ulong LengthBytes => Memory.LengthBytes;

    internal MappedMemory Memory { get; }

    /// <summary>Allocates at least so many bytes.</summary>
    /// <param name="bytes">More than 0; rounded up to whole pages.</param>
    /// <exception cref="HostFault">There is no memory.</exception>
    public static DmaBuffer Allocate(ulong bytes)
    {
        ArgumentOutOfRangeException.ThrowIfZero(bytes);
        return new DmaBuffer(MappedMemory.Anonymous(bytes));
    }

    /// <summary>Copies out of the buffer.</summary>
    /// <param name="offset">From where, in bytes.</param>
    /// <param name="destination">To where; its length says how much.</param>
    /// <exception cref="ArgumentOutOfRangeException">That is not all inside the buffer.</exception>
    public unsafe void CopyTo(ulong offset, Span<byte> destination)
    {
        using MappedMemory.Loan loan = Memory.Lend(offset, (ulong)destination.Length);

        // SAFETY: Lend checked that so many bytes are there, and keeps them mapped.
        new ReadOnlySpan<byte>(loan.Pointer, destination.Length).CopyTo(destination);
    }

    /// <summary>Copies into the buffer.</summary>
    /// <param name="offset">To where, in bytes.</param>
    /// <param name="source">What.</param>
    /// <exception cref="ArgumentOutOfRangeException">That is not all inside the buffer.</exception>
    public unsafe void CopyFrom(ulong offset, ReadOnlySpan<byte> source)
    {
        using MappedMemory.Loan loan = Memory.Lend(offset, (ulong)source.Length);

        // SAFETY: Lend checked that so many bytes are there, and keeps them mapped.
        source.CopyTo(new Span<byte>(loan.Pointer, source.Length));
    }

    /// <summary>Lets go of the memory.</summary>
    public void Dispose() => Memory.Dispose();
}

/// <summary>A buffer that a container's devices reach at an I/O virtual address, until this is disposed or the container closes.</summary>
public sealed class DmaMapping : IDisposable
{
    private readonly MappedMemory memory;
    private Action<DmaMapping>? unmap;

    internal DmaMapping(MappedMemory memory, ulong iova, Action<DmaMapping> unmap)
    {
        // The kernel pins the pages, but a later unmap is by address: the buffer has to stay where it is until then.
        bool added = false;
        memory.DangerousAddRef(ref added);
        this.memory = memory;
        this.unmap = unmap;
        Iova = iova;
    }

    /// <summary>The address at which the devices reach the buffer.</summary>
    public ulong Iova { get; }

    /// <summary>Its length in bytes.</summary>
    public ulong LengthBytes => memory.LengthBytes;

    /// <summary>Takes the mapping away: from here on the devices' accesses are faults.</summary>
    /// <exception cref="HostFault">The kernel refused; the mapping is there until the container closes.</exception>
    public void Dispose()
    {
        Action<DmaMapping>? call = Interlocked.Exchange(ref unmap, null);
        if (call is null)
        {
            return;
        }

        try
        {
            call(this);
        }
        catch
        {
            // Still mapped: the container's end will let go of the memory.
            unmap = call;
            throw;
        }

        memory.DangerousRelease();
    }

    /// <summary>Lets go of the memory because the container, and every mapping with it, is closed.</summary>
    internal void Forget()
    {
        if (Interlocked.Exchange(ref unmap, null) is not null)
        {
            memory.DangerousRelease();
        }
    }

    /// <summary>What speaks against a mapping, in words; null if nothing.</summary>
    /// <param name="iommu">The container's IOMMU.</param>
    /// <param name="iova">Where the mapping would begin.</param>
    /// <param name="lengthBytes">Its length.</param>
    internal static string? Objection(IommuReport iommu, ulong iova, ulong lengthBytes)
    {
        ulong page = iommu.PageSizesBytes.IsEmpty ? 1 : iommu.PageSizesBytes.Min();
        if (iova % page != 0 || lengthBytes % page != 0)
        {
            return $"address and length must be multiples of the IOMMU's page, {page} bytes";
        }

        // Both ends are inclusive: an end of 2^64 - 1 is the last address there is, and lengths are compared, not sums.
        bool inside = iommu.IovaRanges.IsEmpty
            ? lengthBytes - 1 <= ulong.MaxValue - iova
            : iommu.IovaRanges.Any(range => iova >= range.Start && iova <= range.End && lengthBytes - 1 <= range.End - iova);
        return inside ? null : "the range is not inside the I/O addresses that the container can map";
    }
}
