// The regions and interrupts of an open device: reading, writing, mapping, enabling.

using System.Buffers.Binary;
using System.Collections.Immutable;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Engine.Vfio;

public sealed partial class VfioDevice
{
    /// <summary>A region.</summary>
    /// <exception cref="ArgumentException">The device has no such region.</exception>
    public VfioRegion Region(PciRegion index) =>
        Regions.FirstOrDefault(region => region.Index == index) ?? throw new ArgumentException($"{Address} has no region {index}", nameof(index));

    /// <summary>
    /// Reads from a region through the device fd. A read of 1, 2 or 4 bytes at a multiple of its length is one access of the device.
    /// </summary>
    /// <param name="region">Which.</param>
    /// <param name="offset">Where in it, in bytes.</param>
    /// <param name="destination">To where; its length says how much.</param>
    /// <exception cref="ArgumentException">No such region, or outside it.</exception>
    /// <exception cref="HostFault">The kernel refused (EIO: memory or I/O decoding is off in the device's command register).</exception>
    public void Read(PciRegion region, ulong offset, Span<byte> destination)
    {
        ulong at = FdOffset(Region(region), offset, destination.Length);
        while (destination.Length > 0)
        {
            nint count = Libc.Check(Libc.Pread(Handle, destination, at), "pread", Handle.Subject, $"{region} at {offset:x}");
            if (count == 0)
            {
                throw new HostFault("pread", Handle.Subject, Errno.None, $"{region} ends before {offset + (ulong)destination.Length:x}");
            }

            destination = destination[(int)count..];
            at += (ulong)count;
        }
    }

    /// <summary>Writes to a region through the device fd. A write of 1, 2 or 4 bytes at a multiple of its length is one access of the device.</summary>
    /// <param name="region">Which.</param>
    /// <param name="offset">Where in it, in bytes.</param>
    /// <param name="source">What.</param>
    /// <exception cref="ArgumentException">No such region, or outside it.</exception>
    /// <exception cref="HostFault">The kernel refused.</exception>
    public void Write(PciRegion region, ulong offset, ReadOnlySpan<byte> source)
    {
        ulong at = FdOffset(Region(region), offset, source.Length);
        while (source.Length > 0)
        {
            nint count = Libc.Check(Libc.Pwrite(Handle, source, at), "pwrite", Handle.Subject, $"{region} at {offset:x}");
            if (count == 0)
            {
                throw new HostFault("pwrite", Handle.Subject, Errno.None, $"{region} ends before {offset + (ulong)source.Length:x}");
            }

            source = source[(int)count..];
            at += (ulong)count;
        }
    }

    /// <summary>Reads 2 bytes of configuration space.</summary>
    /// <param name="offset">Where, in bytes; a multiple of 2.</param>
    public ushort ReadConfig16(ulong offset)
    {
        Span<byte> value = stackalloc byte[sizeof(ushort)];
        Read(PciRegion.Config, offset, value);
        return BinaryPrimitives.ReadUInt16LittleEndian(value);
    }

    /// <summary>Reads 4 bytes of configuration space.</summary>
    /// <param name="offset">Where, in bytes; a multiple of 4.</param>
    public uint ReadConfig32(ulong offset)
    {
        Span<byte> value = stackalloc byte[sizeof(uint)];
        Read(PciRegion.Config, offset, value);
        return BinaryPrimitives.ReadUInt32LittleEndian(value);
    }

    /// <summary>Writes 2 bytes of configuration space. The kernel keeps some bits for itself: read back what counts.</summary>
    /// <param name="offset">Where, in bytes; a multiple of 2.</param>
    /// <param name="value">What.</param>
    public void WriteConfig16(ulong offset, ushort value)
    {
        Span<byte> bytes = stackalloc byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16LittleEndian(bytes, value);
        Write(PciRegion.Config, offset, bytes);
    }

    /// <summary>Maps a part of a region into this process.</summary>
    /// <param name="region">Which.</param>
    /// <param name="area">One of the parts of <see cref="VfioRegion.MapPlan"/>, or a part of one that begins on a page.</param>
    /// <exception cref="ArgumentException">No such region, or the part is in none of its plan's.</exception>
    /// <exception cref="HostFault"><c>mmap</c> failed.</exception>
    public MappedRegion Map(PciRegion region, MapArea area)
    {
        ArgumentNullException.ThrowIfNull(area);
        VfioRegion whole = Region(region);
        bool planned = area.SizeBytes > 0 && whole.MapPlan.Any(part =>
            area.OffsetBytes >= part.OffsetBytes && area.SizeBytes <= part.SizeBytes
            && area.OffsetBytes - part.OffsetBytes <= part.SizeBytes - area.SizeBytes);
        if (!planned || area.OffsetBytes % (ulong)Environment.SystemPageSize != 0)
        {
            throw new ArgumentException($"{Address} {region}: {area} is not a part to map", nameof(area));
        }

        return Keep(release => new MappedRegion(
            MappedMemory.OfDevice(Handle, whole.FdOffset + area.OffsetBytes, area.SizeBytes, whole.Writable), area, release));
    }

    /// <summary>Enables an interrupt type with an eventfd a vector. Only one of INTx, MSI and MSI-X can be enabled at a time.</summary>
    /// <param name="type">Which.</param>
    /// <param name="vectors">How many vectors, from the first.</param>
    /// <exception cref="ArgumentOutOfRangeException">The device has not so many.</exception>
    /// <exception cref="HostFault">The kernel refused.</exception>
    public VfioInterrupts EnableInterrupts(PciIrq type, int vectors)
    {
        uint count = Irqs.FirstOrDefault(irq => irq.Name == NameOf(type))?.Count ?? 0;
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(vectors);
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)vectors, count, nameof(vectors));
        return Keep(release => new VfioInterrupts(Handle, type, vectors, release));
    }

    private static string NameOf(PciIrq type) => Enum.GetName(type)?.ToLowerInvariant() ?? $"irq{(int)type}";

    private static ulong FdOffset(VfioRegion region, ulong offset, int length) =>
        offset <= region.SizeBytes && (ulong)length <= region.SizeBytes - offset
            ? region.FdOffset + offset
            : throw new ArgumentOutOfRangeException(nameof(offset), offset, $"{length} bytes there are outside {region.Name}, {region.SizeBytes} bytes");

    // Configuration space first: it tells where the MSI-X structures are, which the other regions' plans leave out.
    private ImmutableArray<VfioRegion> ReadRegions(uint count)
    {
        MsixLayout? msix = null;
        if (count > VFIO_PCI_CONFIG_REGION_INDEX && VfioRegion.Read(Handle, VFIO_PCI_CONFIG_REGION_INDEX, null) is { SizeBytes: >= MsixLayout.ConfigBytes } config)
        {
            byte[] bytes = new byte[MsixLayout.ConfigBytes];
            nint read = Libc.Check(Libc.Pread(Handle, bytes, config.FdOffset), "pread", Handle.Subject, "configuration space");
            msix = MsixLayout.Find(bytes.AsSpan(0, (int)read));
        }

        ImmutableArray<VfioRegion>.Builder regions = ImmutableArray.CreateBuilder<VfioRegion>();
        for (uint index = 0; index < count; index++)
        {
            if (VfioRegion.Read(Handle, index, msix) is { } region)
            {
                regions.Add(region);
            }
        }

        return regions.ToImmutable();
    }

    private ImmutableArray<IrqReport> ReadIrqs(uint count)
    {
        ImmutableArray<IrqReport>.Builder irqs = ImmutableArray.CreateBuilder<IrqReport>();
        for (uint index = 0; index < count; index++)
        {
            vfio_irq_info info;
            try
            {
                info = Handle.GetIrqInfo(index);
            }
            catch (HostFault fault) when (fault.Errno == Errno.EINVAL && index == VFIO_PCI_ERR_IRQ_INDEX)
            {
                // The one index that answers so for "none" and does not say count 0: the device is not PCIe (vfio_pci_core.c).
                continue;
            }

            if (info.count > 0)
            {
                irqs.Add(new IrqReport(
                    NameOf((PciIrq)index), info.count, (info.flags & VFIO_IRQ_INFO_MASKABLE) != 0, (info.flags & VFIO_IRQ_INFO_AUTOMASKED) != 0));
            }
        }

        return irqs.ToImmutable();
    }
}
