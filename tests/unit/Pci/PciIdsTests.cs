// Names out of pci.ids.

using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Tests.Unit.Pci;

public sealed class PciIdsTests : IDisposable
{
    private const string List = """
        # a comment
        1b36  Red Hat, Inc.
        	0010  QEMU NVM Express Controller
        		1af4 1100  QEMU Virtual Machine
        8086  Intel Corporation
        	10d3  82574L Gigabit Network Connection
        		8086 a01f  Gigabit CT Desktop Adapter
        C 02  Network controller
        	00  Ethernet controller
        C 01  Mass storage controller
        	08  Non-Volatile memory controller
        		02  NVM Express
        """;

    private readonly string _path = Path.GetTempFileName();

    public PciIdsTests() => File.WriteAllText(_path, List);

    public void Dispose() => File.Delete(_path);

    [Fact]
    public void Lookup_KnownDevice_GivesAllNames() =>
        Assert.Equal(
            new PciNames("Intel Corporation", "82574L Gigabit Network Connection", "Gigabit CT Desktop Adapter", "Ethernet controller"),
            Lookup(_path, 0x8086, 0x10D3, 0x8086, 0xA01F, 0x020000));

    [Fact]
    public void Lookup_DeviceOfAnotherVendor_IsNotMixedUp() =>
        Assert.Equal(new PciNames("Red Hat, Inc.", null, null, "Network controller"), Lookup(_path, 0x1B36, 0x10D3, 0x8086, 0xA01F, 0x028000));

    [Fact]
    public void Lookup_ProgrammingInterface_NamesTheSubclass() =>
        Assert.Equal("Non-Volatile memory controller", Lookup(_path, 0x1B36, 0x0010, 0, 0, 0x010802).Class);

    [Fact]
    public void Lookup_ListLongerThanItsBuffer_FindsWhatIsLast()
    {
        File.WriteAllText(_path, string.Concat(Enumerable.Range(0, 20000).Select(n => $"\t{n & 0xffff:x4}  of no one\n")) + List);
        Assert.Equal("Non-Volatile memory controller", Lookup(_path, 0x1B36, 0x0010, 0, 0, 0x010802).Class);
    }

    [Fact]
    public void Lookup_NoFile_GivesNoNames() =>
        Assert.Equal(new PciNames(null, null, null, null), Lookup(null, 0x8086, 0x10D3, 0, 0, 0x020000));

    private static PciNames Lookup(string? path, ushort vendor, ushort device, ushort subsystemVendor, ushort subsystem, uint classCode)
    {
        var host = new HostState { Host = "lab", ReadAt = DateTimeOffset.UnixEpoch };
        PciDevice asked = new()
        {
            Address = PciAddress.Parse("0000:01:00.0"),
            VendorId = vendor,
            DeviceId = device,
            SubsystemVendorId = subsystemVendor,
            SubsystemId = subsystem,
            ClassCode = classCode,
        };
        return new PciIds(path).Lookup(asked, host);
    }
}
