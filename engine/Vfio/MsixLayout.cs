// Where a device keeps its MSI-X table and pending bits, read from its configuration space (PCIe Base Specification, 7.7.2).

using System.Buffers.Binary;

namespace AssignHub.Engine.Vfio;

/// <summary>The place of the MSI-X structures in the BARs.</summary>
/// <param name="Vectors">How many vectors, 1 to 2048.</param>
/// <param name="TableBar">The BAR with the table, 0 to 5.</param>
/// <param name="TableOffsetBytes">Where the table begins in it.</param>
/// <param name="PbaBar">The BAR with the pending bit array, 0 to 5.</param>
/// <param name="PbaOffsetBytes">Where the array begins in it.</param>
public sealed record MsixLayout(int Vectors, uint TableBar, ulong TableOffsetBytes, uint PbaBar, ulong PbaOffsetBytes)
{
    private const int StatusOffset = 0x06;
    private const ushort StatusCapabilityList = 1 << 4;
    private const int CapabilitiesPointer = 0x34;
    private const int HeaderBytes = 0x40;
    private const byte MsixCapability = 0x11;
    private const int MsixCapabilityBytes = 12;
    private const int TableEntryBytes = 16;

    /// <summary>How much of configuration space <see cref="Find"/> wants, in bytes.</summary>
    public const int ConfigBytes = 256;

    /// <summary>The table's length in bytes: 16 a vector.</summary>
    public ulong TableSizeBytes => (ulong)Vectors * TableEntryBytes;

    /// <summary>The pending bit array's length in bytes: a bit a vector, in whole 64-bit words.</summary>
    public ulong PbaSizeBytes => (ulong)((Vectors + 63) / 64) * sizeof(ulong);

    /// <summary>
    /// Finds the MSI-X capability. A device may write what it likes into its capability list: pointers out of range end the walk, and
    /// so does a loop.
    /// </summary>
    /// <param name="config">The first 256 bytes of configuration space of a device with a type 0 header.</param>
    /// <returns>The layout, or null if the device has no MSI-X or says nonsense.</returns>
    public static MsixLayout? Find(ReadOnlySpan<byte> config)
    {
        if (config.Length < ConfigBytes || (BinaryPrimitives.ReadUInt16LittleEndian(config[StatusOffset..]) & StatusCapabilityList) == 0)
        {
            return null;
        }

        // Capabilities are aligned to 4 bytes, so no list without a loop is longer than this.
        int left = (ConfigBytes - HeaderBytes) / sizeof(uint);
        for (int at = config[CapabilitiesPointer] & ~3; at >= HeaderBytes && left > 0; at = config[at + 1] & ~3, left--)
        {
            if (config[at] == MsixCapability)
            {
                return at + MsixCapabilityBytes <= ConfigBytes ? Parse(config.Slice(at, MsixCapabilityBytes)) : null;
            }
        }

        return null;
    }

    private static MsixLayout? Parse(ReadOnlySpan<byte> capability)
    {
        int vectors = (BinaryPrimitives.ReadUInt16LittleEndian(capability[2..]) & 0x7ff) + 1;
        uint table = BinaryPrimitives.ReadUInt32LittleEndian(capability[4..]);
        uint pba = BinaryPrimitives.ReadUInt32LittleEndian(capability[8..]);

        // The low three bits name the BAR; 6 and 7 are reserved.
        return (table & 7) > 5 || (pba & 7) > 5 ? null : new MsixLayout(vectors, table & 7, table & ~7u, pba & 7, pba & ~7u);
    }
}
