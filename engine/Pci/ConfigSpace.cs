// What a PCI function's configuration space says, read from its bytes and nothing else. Offsets and ids are those of
// linux/pci_regs.h. The bytes come from hardware that may be broken or gone, so every chain is bounded.

using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Globalization;
using System.Text;

namespace AssignHub.Engine.Pci;

/// <summary>One capability and where it stands.</summary>
/// <param name="Id">Its id: 8 bits in the legacy list, 16 in the extended one.</param>
/// <param name="Offset">Its offset in configuration space, in bytes.</param>
public readonly record struct PciCapability(ushort Id, ushort Offset);

/// <summary>Access Control Services of one function (PCIe 6.12).</summary>
/// <param name="Capability">What it can do: bit 0 SV, 1 TB, 2 RR, 3 CR, 4 UF, 5 EC, 6 DT.</param>
/// <param name="Control">What is switched on, in the same bits.</param>
public readonly record struct PciAcs(ushort Capability, ushort Control)
{
    /// <summary>Source validation, request and completion redirect, upstream forwarding: what the kernel wants for isolation (<c>REQ_ACS_FLAGS</c>).</summary>
    public const ushort IsolationBits = 0x1D;

    /// <summary>Whether all that isolation needs is switched on.</summary>
    public bool Isolates => (Control & IsolationBits) == IsolationBits;
}

/// <summary>The PCI Express device or port type (PCIe capability, bits 4 to 7 of its flags).</summary>
public enum PcieType
{
    /// <summary>A conventional PCI function, or unknown.</summary>
    None = -1,
    /// <summary>An endpoint.</summary>
    Endpoint = 0,
    /// <summary>A legacy endpoint.</summary>
    LegacyEndpoint = 1,
    /// <summary>A root port.</summary>
    RootPort = 4,
    /// <summary>The upstream port of a switch.</summary>
    Upstream = 5,
    /// <summary>A downstream port of a switch.</summary>
    Downstream = 6,
    /// <summary>A bridge from PCI Express to conventional PCI.</summary>
    PciBridge = 7,
    /// <summary>A bridge from conventional PCI to PCI Express.</summary>
    PcieBridge = 8,
    /// <summary>An endpoint integrated in the root complex.</summary>
    IntegratedEndpoint = 9,
    /// <summary>An event collector in the root complex.</summary>
    EventCollector = 10,
}

/// <summary>A reading of configuration space. <see cref="Parse"/> takes any bytes and never throws.</summary>
public sealed class ConfigSpace
{
    private const int CapabilitiesStart = 0x40;
    private const int ExtendedStart = 0x100;
    private const int MaxCapabilities = 48;
    private const int MaxExtended = (4096 - ExtendedStart) / 8;

    private const byte CapabilityPcie = 0x10;
    private const ushort ExtendedSerial = 0x0003;
    private const ushort ExtendedAcs = 0x000D;
    private const ushort ExtendedSriov = 0x0010;

    private ConfigSpace()
    {
    }

    /// <summary>Whether any of the header is something else than all ones, which is what a function that is gone reads as.</summary>
    /// <remarks>The vendor id alone would not tell: a virtual function's reads 0xffff by the standard (SR-IOV 3.4.1.1).</remarks>
    public bool Answers { get; private init; }
    /// <summary>The vendor id; 0xffff on a virtual function or a function that does not answer.</summary>
    public ushort VendorId { get; private init; } = 0xFFFF;
    /// <summary>The device id; 0xffff as above.</summary>
    public ushort DeviceId { get; private init; } = 0xFFFF;
    /// <summary>The revision.</summary>
    public byte Revision { get; private init; }
    /// <summary>The class code, 24 bits.</summary>
    public uint ClassCode { get; private init; }
    /// <summary>The header's layout: 0 endpoint, 1 PCI-to-PCI bridge, 2 CardBus bridge.</summary>
    public byte HeaderType { get; private init; }
    /// <summary>Whether the slot has more functions.</summary>
    public bool MultiFunction { get; private init; }
    /// <summary>The bus right below a bridge (header type 1).</summary>
    public byte SecondaryBus { get; private init; }
    /// <summary>The highest bus below a bridge (header type 1).</summary>
    public byte SubordinateBus { get; private init; }
    /// <summary>The legacy capability list in the order of its chain.</summary>
    public ImmutableArray<PciCapability> Capabilities { get; private init; } = [];
    /// <summary>The extended capability list in the order of its chain.</summary>
    public ImmutableArray<PciCapability> Extended { get; private init; } = [];
    /// <summary>The PCI Express type.</summary>
    public PcieType PcieType { get; private init; } = PcieType.None;
    /// <summary>The device serial number (16 hex digits), or null.</summary>
    public string? Serial { get; private init; }
    /// <summary>Access control, or null where the function has none.</summary>
    public PciAcs? Acs { get; private init; }
    /// <summary>VFs that this physical function can have; null where it has no SR-IOV.</summary>
    public ushort? TotalVfs { get; private init; }
    /// <summary>Whether a chain ran in a loop or out of the space: the lists hold what came before.</summary>
    public bool Malformed { get; private init; }
    /// <summary>Ids and offsets of both lists in one line, the same before and after a reset that went well.</summary>
    public string Fingerprint { get; private init; } = "";

    /// <summary>Reads what the bytes hold; 64 bytes (an unprivileged read of sysfs), 256 or 4,096.</summary>
    /// <param name="config">Configuration space from offset 0.</param>
    public static ConfigSpace Parse(ReadOnlySpan<byte> config)
    {
        if (config.Length < CapabilitiesStart || !config[..CapabilitiesStart].ContainsAnyExcept((byte)0xFF))
        {
            return new ConfigSpace();
        }

        byte layout = (byte)(config[0x0E] & 0x7F);
        bool malformed = false;
        ImmutableArray<PciCapability> legacy = ReadLegacy(config, layout, ref malformed);
        ImmutableArray<PciCapability> extended = ReadExtended(config, ref malformed);
        int pcie = Offset(legacy, CapabilityPcie, config, 4);
        int serial = Offset(extended, ExtendedSerial, config, 12);
        int acs = Offset(extended, ExtendedAcs, config, 8);
        int sriov = Offset(extended, ExtendedSriov, config, 0x10);
        return new ConfigSpace
        {
            Answers = true,
            VendorId = U16(config, 0),
            DeviceId = U16(config, 2),
            Revision = config[8],
            ClassCode = BinaryPrimitives.ReadUInt32LittleEndian(config[8..]) >> 8,
            HeaderType = layout,
            MultiFunction = (config[0x0E] & 0x80) != 0,
            SecondaryBus = layout == 1 ? config[0x19] : (byte)0,
            SubordinateBus = layout == 1 ? config[0x1A] : (byte)0,
            Capabilities = legacy,
            Extended = extended,
            PcieType = pcie < 0 ? PcieType.None : (PcieType)(U16(config, pcie + 2) >> 4 & 0xF),
            // Two dwords, the lower one first (PCIe 7.9.3): the EUI-64 reads from the upper one down.
            Serial = serial < 0 ? null : BinaryPrimitives.ReadUInt64LittleEndian(config[(serial + 4)..]).ToString("x16", CultureInfo.InvariantCulture),
            Acs = acs < 0 ? null : new PciAcs(U16(config, acs + 4), U16(config, acs + 6)),
            TotalVfs = sriov < 0 ? null : U16(config, sriov + 0x0E),
            Malformed = malformed,
            Fingerprint = Describe(legacy, extended),
        };
    }

    private static ImmutableArray<PciCapability> ReadLegacy(ReadOnlySpan<byte> config, byte layout, ref bool malformed)
    {
        const int StatusCapabilityList = 0x10;
        if ((config[0x06] & StatusCapabilityList) == 0 || layout > 2)
        {
            return [];
        }

        ImmutableArray<PciCapability>.Builder found = ImmutableArray.CreateBuilder<PciCapability>();
        int at = config[layout == 2 ? 0x14 : 0x34] & 0xFC;
        while (at != 0)
        {
            if (at < CapabilitiesStart || found.Count == MaxCapabilities || Contains(found, at))
            {
                malformed = true;
                break;
            }

            if (at + 2 > config.Length)
            {
                // An unprivileged read ends here; that is no fault of the device.
                break;
            }

            if (config[at] == 0xFF)
            {
                malformed = true;
                break;
            }

            found.Add(new PciCapability(config[at], (ushort)at));
            at = config[at + 1] & 0xFC;
        }

        return found.DrainToImmutable();
    }

    private static ImmutableArray<PciCapability> ReadExtended(ReadOnlySpan<byte> config, ref bool malformed)
    {
        if (config.Length < ExtendedStart + 4)
        {
            return [];
        }

        ImmutableArray<PciCapability>.Builder found = ImmutableArray.CreateBuilder<PciCapability>();
        int at = ExtendedStart;
        while (at != 0)
        {
            if (at < ExtendedStart || at + 4 > config.Length || found.Count == MaxExtended || Contains(found, at))
            {
                malformed = true;
                break;
            }

            uint header = BinaryPrimitives.ReadUInt32LittleEndian(config[at..]);
            if (header is 0 or uint.MaxValue)
            {
                malformed |= at != ExtendedStart;
                break;
            }

            // Id 0 is a null capability that only carries the chain on (PCIe 7.9.28).
            if ((header & 0xFFFF) != 0)
            {
                found.Add(new PciCapability((ushort)header, (ushort)at));
            }

            int next = NextExtended(header);
            if (next != 0 && next <= at && !Contains(found, next) && (header & 0xFFFF) == 0)
            {
                malformed = true;
                break;
            }

            at = next;
        }

        return found.DrainToImmutable();
    }

    /// <summary>The offset of the next extended capability that a header names; 0 ends the list.</summary>
    internal static int NextExtended(uint header) => (int)(header >> 20) & 0xFFC;

    private static bool Contains(ImmutableArray<PciCapability>.Builder found, int offset)
    {
        for (int i = 0; i < found.Count; i++)
        {
            if (found[i].Offset == offset)
            {
                return true;
            }
        }

        return false;
    }

    private static int Offset(ImmutableArray<PciCapability> list, ushort id, ReadOnlySpan<byte> config, int length)
    {
        foreach (PciCapability capability in list)
        {
            if (capability.Id == id)
            {
                return capability.Offset + length <= config.Length ? capability.Offset : -1;
            }
        }

        return -1;
    }

    private static string Describe(ImmutableArray<PciCapability> legacy, ImmutableArray<PciCapability> extended)
    {
        StringBuilder text = new();
        foreach (PciCapability capability in legacy)
        {
            text.Append(CultureInfo.InvariantCulture, $"{(text.Length > 0 ? " " : "")}{capability.Id:x2}@{capability.Offset:x2}");
        }

        foreach (PciCapability capability in extended)
        {
            text.Append(CultureInfo.InvariantCulture, $"{(text.Length > 0 ? " " : "")}{capability.Id:x4}@{capability.Offset:x3}");
        }

        return text.ToString();
    }

    private static ushort U16(ReadOnlySpan<byte> config, int offset) => BinaryPrimitives.ReadUInt16LittleEndian(config[offset..]);
}
