// Which warnings a group and a host get, and which they do not.

using System.Collections.Immutable;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Unit.Rules;

public sealed class TrustTests
{
    private static readonly PciAcs Isolating = new(0x1f, PciAcs.IsolationBits);
    private static readonly PciAddress Port = PciAddress.Parse("0000:00:01.0");
    private static readonly PciAddress Other = PciAddress.Parse("0000:00:02.0");
    private static readonly PciAddress Nic = PciAddress.Parse("0000:01:00.0");
    private static readonly PciAddress Second = PciAddress.Parse("0000:01:00.1");
    private static readonly PciAddress Far = PciAddress.Parse("0000:02:00.0");

    [Fact]
    public void Group_BelowAPortWithAcs_HasNoWarning() => Assert.Empty(Warnings(Host(Isolating, "DMA", [Nic])));

    [Fact]
    public void Group_OfFunctionsOfOneSlot_HasNoWarning() => Assert.Empty(Warnings(Host(Isolating, "DMA", [Nic, Second])));

    [Theory]
    [InlineData(null)]
    [InlineData(0x01)]
    public void Group_BelowAPortWithoutAcsSwitchedOn_NamesThePort(int? control)
    {
        PciAcs? acs = control is { } bits ? new PciAcs(0x1f, (ushort)bits) : null;

        Assert.StartsWith($"{Port} above group 7 shows no ACS", Assert.Single(Warnings(Host(acs, "DMA", [Nic]))), StringComparison.Ordinal);
    }

    [Fact]
    public void Group_WithItsPortInIt_HasNoWarningOfIt() => Assert.Empty(Warnings(Host(null, "DMA", [Port, Nic, Second])));

    [Fact]
    public void Group_OfDevicesBelowDifferentPorts_NamesTwoOfThem() =>
        Assert.StartsWith($"Group 7 has {Nic} and {Far}", Assert.Single(Warnings(Host(Isolating, "DMA", [Nic, Far]))), StringComparison.Ordinal);

    [Fact]
    public void Group_InIdentityMode_IsToldThereAndOfTheHost()
    {
        HostState host = Host(Isolating, "identity", [Nic]);

        Assert.Contains("identity mode", Assert.Single(Warnings(host)), StringComparison.Ordinal);
        Assert.StartsWith("1 of 1 groups are in identity mode", Assert.Single(Trust.WarningsFor(host)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("direct", 1)]
    [InlineData("direct-relaxable", 1)]
    [InlineData("msi", 0)]
    public void Group_WithAReservedRegion_IsWarnedOfIfTheFirmwareHasIt(string type, int warnings)
    {
        HostState host = Host(Isolating, "DMA", [Nic]);
        IommuGroup group = host.Groups[7] with { ReservedRegions = [new ReservedRegion(0x1000, 0x1fff, type)] };

        Assert.Equal(warnings, Trust.WarningsFor(host, group).Count());
    }

    [Fact]
    public void Group_WithoutAnIommu_SaysNothingButThat()
    {
        HostState host = Host(null, "identity", [Nic]);

        Assert.Contains("no IOMMU behind it", Assert.Single(Trust.WarningsFor(host, host.Groups[7] with { NoIommu = true })), StringComparison.Ordinal);
    }

    private static IEnumerable<string> Warnings(HostState host) => Trust.WarningsFor(host, host.Groups[7]);

    private static HostState Host(PciAcs? acs, string type, ImmutableArray<PciAddress> members)
    {
        PciDevice[] devices =
        [
            APort(Port, 1, acs), APort(Other, 2, Isolating), Endpoint(Nic, Port), Endpoint(Second, Port), Endpoint(Far, Other),
        ];
        return new HostState
        {
            Host = "model",
            ReadAt = ModelHost.Start,
            Devices = devices.ToImmutableSortedDictionary(
                device => device.Address, device => members.Contains(device.Address) ? device with { Group = 7 } : device),
            Groups = ImmutableSortedDictionary<int, IommuGroup>.Empty.Add(7, new IommuGroup(7, members, type, [])),
            Vfio = new VfioSupport { IommuEnabled = true, Available = true },
        };
    }

    private static PciDevice APort(PciAddress address, byte bus, PciAcs? acs) => new()
    {
        Address = address, VendorId = 0x8086, ClassCode = 0x060400, Bridge = new BridgeBuses(bus, bus), PcieType = PcieType.RootPort, Acs = acs,
    };

    private static PciDevice Endpoint(PciAddress address, PciAddress parent) => new()
    {
        Address = address, VendorId = 0x8086, ClassCode = 0x020000, PcieType = PcieType.Endpoint, ParentBridge = parent,
    };
}
