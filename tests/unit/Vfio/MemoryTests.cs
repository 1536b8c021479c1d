// Memory for DMA and mapped regions: bounds, alignment, lifetime, and the addresses that a container takes.

using System.Globalization;
using AssignHub.Engine.Vfio;

namespace AssignHub.Tests.Unit.Vfio;

public sealed class MemoryTests
{
    private static readonly IommuReport Iommu = new()
    {
        Backend = "type1v2",
        PageSizesBytes = [4096, 2 << 20],
        IovaRanges = [new(0, 0xfedfffff), new(0xfef00000, ulong.MaxValue)],
    };

    [Fact]
    public void DmaBuffer_CopyInAndOut_GivesTheSameBytes()
    {
        using DmaBuffer buffer = DmaBuffer.Allocate(5000);
        Assert.Equal(8192UL, buffer.LengthBytes);
        byte[] back = new byte[4];

        buffer.CopyFrom(8188, [1, 2, 3, 4]);
        buffer.CopyTo(8188, back);

        Assert.Equal([1, 2, 3, 4], back);
    }

    [Theory]
    [InlineData(8189ul)]
    [InlineData(8193ul)]
    [InlineData(ulong.MaxValue)]
    public void DmaBuffer_CopyOverTheEnd_IsRefused(ulong offset)
    {
        using DmaBuffer buffer = DmaBuffer.Allocate(8192);

        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.CopyFrom(offset, [1, 2, 3, 4]));
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.CopyTo(offset, new byte[4]));
    }

    [Fact]
    public void DmaBuffer_Disposed_IsRefused()
    {
        DmaBuffer buffer = DmaBuffer.Allocate(1);
        buffer.Dispose();

        Assert.Throws<ObjectDisposedException>(() => buffer.CopyFrom(0, [1]));
    }

    [Fact]
    public void MappedRegion_EachWidth_ReadsWhatWasWritten()
    {
        bool released = false;
        using (var region = new MappedRegion(MappedMemory.Anonymous(4096), new MapArea(0, 4096), _ => released = true))
        {
            region.Write64(8, 0x1122334455667788);

            Assert.Equal(0x1122334455667788UL, region.Read64(8));
            Assert.Equal(0x55667788U, region.Read32(8));
            Assert.Equal(0x7788, region.Read16(8));
            Assert.Equal(0x88, region.Read8(8));
            region.Write32(12, 1);
            region.Write16(10, 2);
            region.Write8(8, 3);
            Assert.Equal(0x0000000100027703UL, region.Read64(8));
        }

        Assert.True(released);
    }

    [Fact]
    public void MappedRegion_OutsideOrNotAligned_IsRefused()
    {
        using var region = new MappedRegion(MappedMemory.Anonymous(4096), new MapArea(0, 4096), _ => { });

        Assert.Throws<ArgumentOutOfRangeException>(() => region.Read32(4096));
        Assert.Throws<ArgumentOutOfRangeException>(() => region.Read32(2));
        Assert.Throws<ArgumentOutOfRangeException>(() => region.Write64(4092, 0));
        Assert.Throws<ArgumentOutOfRangeException>(() => region.Read8(ulong.MaxValue));
    }

    [Fact]
    public void MappedRegion_Disposed_IsRefused()
    {
        var region = new MappedRegion(MappedMemory.Anonymous(4096), new MapArea(0, 4096), _ => { });
        region.Dispose();

        Assert.Throws<ObjectDisposedException>(() => region.Read8(0));
    }

    [Fact]
    public void DmaMapping_BufferDisposedFirst_KeepsTheMemoryUntilItEnds()
    {
        DmaBuffer buffer = DmaBuffer.Allocate(4096);
        int unmapped = 0;
        var mapping = new DmaMapping(buffer.Memory, 0x1000, _ => unmapped++);

        buffer.Dispose();
        Assert.True(IsMapped(buffer));
        mapping.Dispose();
        mapping.Dispose();

        Assert.Equal(1, unmapped);
        Assert.True(buffer.Memory.IsClosed);
    }

    [Theory]
    [InlineData(0ul, 4096ul, true)]
    [InlineData(0xfedff000ul, 4096ul, true)]
    [InlineData(0xfedff000ul, 8192ul, false)] // runs into the hole
    [InlineData(0xfee00000ul, 4096ul, false)] // the MSI window
    [InlineData(0xfffffffffffff000ul, 4096ul, true)] // up to the last address
    [InlineData(0xfffffffffffff000ul, 8192ul, false)] // over it
    [InlineData(0x800ul, 4096ul, false)]
    [InlineData(0x1000ul, 2048ul, false)]
    public void Objection_Range_IsTakenOnlyInsideAndAligned(ulong iova, ulong length, bool taken) =>
        Assert.Equal(taken, DmaMapping.Objection(Iommu, iova, length) is null);

    // The mapping's hold keeps the handle's memory although the buffer was disposed: closed to new users, not released. The kernel joins
    // neighbours to one line, so the address need not begin one.
    private static bool IsMapped(DmaBuffer buffer)
    {
        ulong address = (ulong)buffer.Memory.DangerousGetHandle();
        return !buffer.Memory.IsInvalid && File.ReadLines("/proc/self/maps").Select(line => line.Split(' ')[0].Split('-')).Any(range =>
            ulong.Parse(range[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture) <= address
            && address < ulong.Parse(range[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture));
    }
}
