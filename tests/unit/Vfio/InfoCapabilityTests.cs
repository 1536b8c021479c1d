// Capability chains of INFO structures and MSI-X capabilities in configuration space, sound and hostile.

using System.Buffers.Binary;
using System.Collections.Immutable;
using AssignHub.Engine.Vfio;
using AssignHub.Engine.Vfio.Abi;
using FsCheck;
using FsCheck.Fluent;

namespace AssignHub.Tests.Unit.Vfio;

public sealed class InfoCapabilityTests
{
    private const int Fixed = 32;

    [Fact]
    public void TryParseChain_TwoCapabilities_FindsBothInOrder()
    {
        byte[] buffer = new byte[96];
        Head(buffer, 32, id: 1, next: 64);
        Head(buffer, 64, id: 3, next: 0);

        Assert.True(InfoCapability.TryParseChain(buffer, 32, Fixed, out ImmutableArray<InfoCapability> chain, out _));
        Assert.Equal([new InfoCapability(1, 1, 32), new InfoCapability(3, 1, 64)], chain.ToArray());
    }

    [Fact]
    public void TryParseChain_NoFirst_IsEmpty() =>
        Assert.True(InfoCapability.TryParseChain(new byte[Fixed], 0, Fixed, out ImmutableArray<InfoCapability> chain, out _) && chain.IsEmpty);

    [Theory]
    [InlineData(8u, "outside")] // in the fixed structure
    [InlineData(90u, "outside")] // its head ends behind the buffer
    [InlineData(0xfffffff8u, "outside")]
    [InlineData(32u, "loops")]
    [InlineData(36u, "overlaps")]
    public void TryParseChain_BadNext_IsRefusedWithTheReason(uint next, string reason)
    {
        byte[] buffer = new byte[96];
        Head(buffer, 32, id: 1, next);

        Assert.False(InfoCapability.TryParseChain(buffer, 32, Fixed, out ImmutableArray<InfoCapability> chain, out string? problem));
        Assert.Contains(reason, problem, StringComparison.Ordinal);
        Assert.Empty(chain);
    }

    [Fact]
    public void TryReadItems_MoreItemsThanRoom_IsRefused()
    {
        byte[] buffer = new byte[32 + 16 + (2 * 16)];
        var capability = new InfoCapability(1, 1, 32);

        Assert.True(capability.TryReadItems<vfio_region_info_cap_sparse_mmap, vfio_region_sparse_mmap_area>(buffer, 2, out ReadOnlySpan<vfio_region_sparse_mmap_area> items));
        Assert.Equal(2, items.Length);
        Assert.False(capability.TryReadItems<vfio_region_info_cap_sparse_mmap, vfio_region_sparse_mmap_area>(buffer, 3, out _));
        Assert.False(capability.TryReadItems<vfio_region_info_cap_sparse_mmap, vfio_region_sparse_mmap_area>(buffer, uint.MaxValue, out _));
    }

    [Fact]
    public void TryParseChain_AnyBytes_EndsAndStaysInside() => Prop.ForAll(
        Gen.Choose(0, 255).Select(n => (byte)n).ArrayOf(160).ToArbitrary(),
        Gen.Choose(0, 200).Select(n => (uint)n).ToArbitrary(),
        (bytes, first) =>
        {
            // Small next pointers, or random bytes would leave the buffer at the first step.
            for (int at = 4; at + 4 <= bytes.Length; at += 8)
            {
                BinaryPrimitives.WriteUInt32LittleEndian(bytes.AsSpan(at), bytes[at] % 176u);
            }

            bool sound = InfoCapability.TryParseChain(bytes, first, Fixed, out ImmutableArray<InfoCapability> chain, out string? problem);
            return sound == (problem is null)
                && chain.All(one => one.Offset >= Fixed && one.Offset <= bytes.Length - 8)
                && chain.Select(one => one.Offset).Order().ToArray() is var offsets
                && offsets.Zip(offsets.Skip(1)).All(pair => pair.Second - pair.First >= 8);
        }).Check(Config.QuickThrowOnFailure.WithMaxTest(500));

    private static void Head(byte[] buffer, int at, ushort id, uint next)
    {
        BinaryPrimitives.WriteUInt16LittleEndian(buffer.AsSpan(at), id);
        BinaryPrimitives.WriteUInt16LittleEndian(buffer.AsSpan(at + 2), 1);
        BinaryPrimitives.WriteUInt32LittleEndian(buffer.AsSpan(at + 4), next);
    }
}

public sealed class MsixLayoutTests
{
    [Fact]
    public void Find_CapabilityBehindAnother_ReadsTableAndPendingBits()
    {
        byte[] config = Config(0x40, (0x40, 0x01, 0x50), (0x50, 0x11, 0x00));
        BinaryPrimitives.WriteUInt16LittleEndian(config.AsSpan(0x52), 64);
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(0x54), 0x2000);
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(0x58), 0x3000 | 4);

        MsixLayout? layout = MsixLayout.Find(config);

        Assert.Equal(new MsixLayout(65, 0, 0x2000, 4, 0x3000), layout);
        Assert.Equal(1040UL, layout!.TableSizeBytes);
        Assert.Equal(16UL, layout.PbaSizeBytes);
    }

    [Fact]
    public void Find_LoopWithoutMsix_Ends() => Assert.Null(MsixLayout.Find(Config(0x40, (0x40, 0x01, 0x50), (0x50, 0x05, 0x40))));

    [Fact]
    public void Find_CapabilityAtTheVeryEnd_IsRefused() => Assert.Null(MsixLayout.Find(Config(0xfc, (0xfc, 0x11, 0x00))));

    [Fact]
    public void Find_ReservedBar_IsRefused()
    {
        byte[] config = Config(0x40, (0x40, 0x11, 0x00));
        config[0x44] = 7;

        Assert.Null(MsixLayout.Find(config));
    }

    [Fact]
    public void Find_NoCapabilityList_IsNone()
    {
        byte[] config = Config(0x40, (0x40, 0x11, 0x00));
        config[0x06] = 0;

        Assert.Null(MsixLayout.Find(config));
        Assert.Null(MsixLayout.Find([]));
    }

    [Fact]
    public void Find_AnyBytes_EndsWithNothingOrAPossibleLayout() => Prop.ForAll(
        Gen.Choose(0, 255).Select(n => (byte)n).ArrayOf(256).ToArbitrary(),
        bytes =>
        {
            bytes[0x06] |= 1 << 4;
            return MsixLayout.Find(bytes) is not { } layout
                || (layout is { Vectors: >= 1 and <= 2048, TableBar: <= 5, PbaBar: <= 5 } && layout.TableOffsetBytes % 8 == 0 && layout.PbaOffsetBytes % 8 == 0);
        }).Check(FsCheck.Config.QuickThrowOnFailure.WithMaxTest(500));

    private static byte[] Config(byte first, params (byte At, byte Id, byte Next)[] capabilities)
    {
        byte[] config = new byte[256];
        config[0x06] = 1 << 4;
        config[0x34] = first;
        foreach ((byte at, byte id, byte next) in capabilities)
        {
            config[at] = id;
            config[at + 1] = next;
        }

        return config;
    }
}
