// A part of a device's region in this process's memory: its registers, read and written by plain loads and stores.

namespace AssignHub.Engine.Vfio;

/// <summary>
/// A mapped part of a region. Offsets count from the start of the part; each access is one load or store of its width, as registers
/// need, must be aligned to that width, and is checked against the part's bounds. Values have the CPU's byte order, little-endian
/// on every host that .NET runs on with VFIO. Unmapped when disposed, at the latest when its device is closed.
/// </summary>
public sealed unsafe class MappedRegion : IDisposable
{
    private readonly MappedMemory memory;
    private readonly Action<IDisposable> released;

    internal MappedRegion(MappedMemory memory, MapArea area, Action<IDisposable> released)
    {
        this.memory = memory;
        this.released = released;
        Area = area;
    }

    /// <summary>Which part of the region it is.</summary>
    public MapArea Area { get; }

    /// <summary>Reads 1 byte.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Outside the part.</exception>
    public byte Read8(ulong offset)
    {
        using MappedMemory.Loan loan = memory.Lend(offset, sizeof(byte));

        // SAFETY, here and in the seven methods below: Lend checked bounds and alignment and keeps the mapping for the access.
        return Volatile.Read(ref *loan.Pointer);
    }

    /// <summary>Reads 2 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Outside the part, or not aligned.</exception>
    public ushort Read16(ulong offset)
    {
        using MappedMemory.Loan loan = memory.Lend(offset, sizeof(ushort), sizeof(ushort));
        return Volatile.Read(ref *(ushort*)loan.Pointer);
    }

    /// <summary>Reads 4 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Outside the part, or not aligned.</exception>
    public uint Read32(ulong offset)
    {
        using MappedMemory.Loan loan = memory.Lend(offset, sizeof(uint), sizeof(uint));
        return Volatile.Read(ref *(uint*)loan.Pointer);
    }

    /// <summary>Reads 8 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Outside the part, or not aligned.</exception>
    public ulong Read64(ulong offset)
    {
        using MappedMemory.Loan loan = memory.Lend(offset, sizeof(ulong), sizeof(ulong));
        return Volatile.Read(ref *(ulong*)loan.Pointer);
    }

    /// <summary>Writes 1 byte.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Outside the part.</exception>
    public void Write8(ulong offset, byte value)
    {
        using MappedMemory.Loan loan = memory.Lend(offset, sizeof(byte));
        Volatile.Write(ref *loan.Pointer, value);
    }

    /// <summary>Writes 2 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Outside the part, or not aligned.</exception>
    public void Write16(ulong offset, ushort value)
    {
        using MappedMemory.Loan loan = memory.Lend(offset, sizeof(ushort), sizeof(ushort));
        Volatile.Write(ref *(ushort*)loan.Pointer, value);
    }

    /// <summary>Writes 4 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Outside the part, or not aligned.</exception>
    public void Write32(ulong offset, uint value)
    {
        using MappedMemory.Loan loan = memory.Lend(offset, sizeof(uint), sizeof(uint));
        Volatile.Write(ref *(uint*)loan.Pointer, value);
    }

    /// <summary>Writes 8 bytes.</summary>
    /// <exception cref="ArgumentOutOfRangeException">Outside the part, or not aligned.</exception>
    public void Write64(ulong offset, ulong value)
    {
        using MappedMemory.Loan loan = memory.Lend(offset, sizeof(ulong), sizeof(ulong));
        Volatile.Write(ref *(ulong*)loan.Pointer, value);
    }

    /// <summary>Unmaps it.</summary>
    public void Dispose()
    {
        memory.Dispose();
        released(this);
    }
}
