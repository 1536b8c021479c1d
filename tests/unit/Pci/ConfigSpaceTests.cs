// Configuration space, well-formed and hostile.

using System.Buffers.Binary;
using AssignHub.Engine.Pci;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Unit.Pci;

public class ConfigSpaceTests
{
    [Fact]
    public void Parse_Endpoint_ReadsHeaderListsAndSerial()
    {
        SyntheticDevice device = new("0000:01:00.0") { Serial = 0x0011223344556677, TotalVfs = 7, Revision = 3 };

        ConfigSpace config = ConfigSpace.Parse(device.Config());

        Assert.True(config.Answers);
        Assert.False(config.Malformed);
        Assert.Equal(0x8086, config.VendorId);
        Assert.Equal(0x10D3, config.DeviceId);
        Assert.Equal(0x020000u, config.ClassCode);
        Assert.Equal(3, config.Revision);
        Assert.Equal("0011223344556677", config.Serial);
        Assert.Equal((ushort?)7, config.TotalVfs);
        Assert.Equal(PcieType.Endpoint, config.PcieType);
        Assert.Null(config.Acs);
        Assert.Equal("01@40 05@50 10@70 0001@100 0003@148 0010@158", config.Fingerprint);
    }

    [Fact]
    public void Parse_RootPort_ReadsBusesAndAcs()
    {
        SyntheticDevice port = new("0000:00:1c.0") { Buses = (3, 5), PcieType = PcieType.RootPort, Acs = 0x1D };

        ConfigSpace config = ConfigSpace.Parse(port.Config());

        Assert.Equal(1, config.HeaderType);
        Assert.Equal(3, config.SecondaryBus);
        Assert.Equal(5, config.SubordinateBus);
        Assert.True(config.Acs!.Value.Isolates);
    }

    [Fact]
    public void Parse_AllOnes_DoesNotAnswer()
    {
        byte[] gone = new byte[4096];
        gone.AsSpan().Fill(0xFF);

        ConfigSpace config = ConfigSpace.Parse(gone);

        Assert.False(config.Answers);
        Assert.Equal(0xFFFF, config.VendorId);
        Assert.Equal("", config.Fingerprint);
    }

    [Fact]
    public void Parse_VirtualFunction_AnswersThoughItsIdsAreAllOnes()
    {
        byte[] config = new SyntheticDevice("0000:01:10.0").Config();
        config.AsSpan(0, 4).Fill(0xFF);

        Assert.True(ConfigSpace.Parse(config).Answers);
    }

    [Fact]
    public void Parse_LoopInLegacyList_EndsAndSaysSo()
    {
        byte[] config = new SyntheticDevice("0000:01:00.0") { PcieType = PcieType.None }.Config();
        config[0x51] = 0x40;

        ConfigSpace parsed = ConfigSpace.Parse(config);

        Assert.True(parsed.Malformed);
        Assert.Equal(2, parsed.Capabilities.Length);
    }

    [Fact]
    public void Parse_LoopInExtendedList_EndsAndSaysSo()
    {
        byte[] config = new SyntheticDevice("0000:01:00.0") { Serial = 1 }.Config();
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(0x148), 0x0003 | 1u << 16 | 0x100u << 20);

        ConfigSpace parsed = ConfigSpace.Parse(config);

        Assert.True(parsed.Malformed);
        Assert.Equal(2, parsed.Extended.Length);
    }

    [Fact]
    public void Parse_PointerIntoTheHeader_IsMalformed()
    {
        byte[] config = new SyntheticDevice("0000:01:00.0").Config();
        config[0x34] = 0x10;

        Assert.True(ConfigSpace.Parse(config).Malformed);
    }

    [Fact]
    public void Parse_CapabilityAtTheVeryEnd_ReadsNothingBeyond()
    {
        byte[] config = new SyntheticDevice("0000:01:00.0").Config();
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(0x100), 0x0001 | 1u << 16 | 0xFFCu << 20);
        BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(0xFFC), 0x0003 | 1u << 16);

        ConfigSpace parsed = ConfigSpace.Parse(config);

        Assert.Null(parsed.Serial);
        Assert.Equal(2, parsed.Extended.Length);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(63)]
    [InlineData(64)]
    [InlineData(256)]
    [InlineData(258)]
    [InlineData(4096)]
    public void Parse_RandomBytes_NeverThrows(int length)
    {
        Random random = new(length);
        byte[] config = new byte[length];
        for (int i = 0; i < 3000; i++)
        {
            random.NextBytes(config);
            if (length > 0x34)
            {
                config[6] |= 0x10;
            }

            ConfigSpace parsed = ConfigSpace.Parse(config);
            Assert.True(parsed.Capabilities.Length <= 48 && parsed.Extended.Length <= 480);
        }
    }
}
