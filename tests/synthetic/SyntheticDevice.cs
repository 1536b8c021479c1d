// What a synthetic device is to look like, and its configuration space.

using System.Buffers.Binary;
using AssignHub.Engine.Pci;

namespace AssignHub.Synthetic;

/// <summary>A PCI function of a synthetic host.</summary>
public sealed record SyntheticDevice(PciAddress Address)
{
    public SyntheticDevice(string address)
        : this(PciAddress.Parse(address))
    {
    }

    public ushort VendorId { get; init; } = 0x8086;
    public ushort DeviceId { get; init; } = 0x10D3;
    public ushort SubsystemVendorId { get; init; } = 0x8086;
    public ushort SubsystemId { get; init; } = 0xA01F;
    public uint ClassCode { get; init; } = 0x020000;
    public byte Revision { get; init; } = 1;
    public string? Driver { get; init; }
    public int? Group { get; init; }
    public int NumaNode { get; init; } = -1;
    /// <summary>The bridge above; null for a root bus.</summary>
    public PciAddress? Parent { get; init; }
    /// <summary>Makes it a bridge.</summary>
    public (byte Secondary, byte Subordinate)? Buses { get; init; }
    public string ResetMethods { get; init; } = "flr bus";
    public bool BootVga { get; init; }
    public int TotalVfs { get; init; }
    public ulong? Serial { get; init; }
    public PcieType PcieType { get; init; } = PcieType.Endpoint;
    /// <summary>Bits of the ACS control register; null: no such capability.</summary>
    public ushort? Acs { get; init; }
    /// <summary>Makes <c>reset_subordinate</c> of the bridges above fail with ENOTTY.</summary>
    public bool NoBusReset { get; init; }

    /// <summary>Configuration space: header, power management, MSI, PCI Express, and the extended capabilities that were asked for.</summary>
    public byte[] Config()
    {
        byte[] config = new byte[PcieType == PcieType.None ? 256 : 4096];
        U16(config, 0x00, VendorId);
        U16(config, 0x02, DeviceId);
        U16(config, 0x06, 0x0010);
        config[0x08] = Revision;
        config[0x09] = (byte)ClassCode;
        U16(config, 0x0A, (ushort)(ClassCode >> 8));
        config[0x34] = 0x40;
        if (Buses is { } buses)
        {
            config[0x0E] = 1;
            config[0x18] = Address.Bus;
            config[0x19] = buses.Secondary;
            config[0x1A] = buses.Subordinate;
        }
        else
        {
            U16(config, 0x2C, SubsystemVendorId);
            U16(config, 0x2E, SubsystemId);
        }

        U16(config, 0x40, 0x5001);
        U16(config, 0x50, PcieType == PcieType.None ? (ushort)0x0005 : (ushort)0x7005);
        if (PcieType != PcieType.None)
        {
            U16(config, 0x70, 0x0010);
            U16(config, 0x72, (ushort)(2 | (int)PcieType << 4));
            Extended(config);
        }

        return config;
    }

    private void Extended(byte[] config)
    {
        List<(ushort Id, int Size, Action<int> Fill)> list = [(0x0001, 0x48, static _ => { })];
        if (Serial is { } serial)
        {
            list.Add((0x0003, 0x10, at => BinaryPrimitives.WriteUInt64LittleEndian(config.AsSpan(at + 4), serial)));
        }

        if (Acs is { } acs)
        {
            list.Add((0x000D, 0x10, at =>
            {
                U16(config, at + 4, 0x5F);
                U16(config, at + 6, acs);
            }));
        }

        if (TotalVfs > 0)
        {
            list.Add((0x0010, 0x40, at => U16(config, at + 0x0E, (ushort)TotalVfs)));
        }

        int offset = 0x100;
        for (int i = 0; i < list.Count; i++)
        {
            int next = i == list.Count - 1 ? 0 : offset + list[i].Size;
            BinaryPrimitives.WriteUInt32LittleEndian(config.AsSpan(offset), list[i].Id | 1u << 16 | (uint)next << 20);
            list[i].Fill(offset);
            offset = next;
        }
    }

    private static void U16(byte[] config, int at, ushort value) => BinaryPrimitives.WriteUInt16LittleEndian(config.AsSpan(at), value);
}
