// The kernel's list of what a bus reset hits, against the topology, and what keeps VFIO from doing it.

using System.Collections.Immutable;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;

namespace AssignHub.Tests.Unit.Rules;

public sealed class HotResetTests
{
    private static readonly PciAddress Outer = PciAddress.Parse("0000:00:01.0");
    private static readonly PciAddress Inner = PciAddress.Parse("0000:01:02.0");
    private static readonly PciAddress Edu = PciAddress.Parse("0000:01:01.0");
    private static readonly PciAddress Deep = PciAddress.Parse("0000:02:01.0");

    [Fact]
    public void Domain_SameAsTheKernels_HasNoDifference()
    {
        Assert.Null(HotReset.DomainDifference(Host(), Host().Devices[Edu], Report(Edu, Deep, Inner, Edu)));
        Assert.Null(HotReset.DomainDifference(Host(), Host().Devices[Deep], Report(Deep, Deep)));
    }

    [Fact]
    public void Domain_OtherThanTheKernels_IsToldDeviceByDevice()
    {
        PciAddress gone = PciAddress.Parse("0000:01:09.0");

        string? difference = HotReset.DomainDifference(Host(), Host().Devices[Deep], Report(Deep, Edu, gone));

        Assert.Equal(
            $"{Deep} is below the same bridge, and the kernel did not name it; the kernel named {Edu}, which the topology does not show below the same bridge; "
            + $"the kernel named {gone}, which is gone since",
            difference);
    }

    [Fact]
    public void Obstacle_BridgeBelow_IsNamedWithTheWayThatIsLeft()
    {
        string? obstacle = HotReset.Obstacle(Host(), Host().Devices[Edu], Report(Edu, Edu, Inner, Deep));

        Assert.Contains($"it hits the bridge {Inner}, and a bridge cannot be on VFIO", obstacle, StringComparison.Ordinal);
        Assert.Contains($"POST /v1/bridges/{Outer}/reset", obstacle, StringComparison.Ordinal);
    }

    [Fact]
    public void Obstacle_NeighbourOnAHostDriver_IsNamed()
    {
        HostState host = Host();
        host = host with { Devices = host.Devices.SetItem(Deep, host.Devices[Deep] with { Driver = "e1000" }) };

        Assert.Contains($"it hits {Deep}, which is on e1000", HotReset.Obstacle(host, host.Devices[Edu], Report(Edu, Edu, Deep)), StringComparison.Ordinal);
    }

    [Fact]
    public void Obstacle_AllOnVfio_IsNone() => Assert.Null(HotReset.Obstacle(Host(), Host().Devices[Deep], Report(Deep, Deep)));

    [Fact]
    public void Obstacle_NoSuchReset_SaysSoAndIsNoDifference()
    {
        DeviceReport report = new() { Address = Edu, ReadAt = ModelHost.Start };

        Assert.Contains("neither the slot nor the bus", HotReset.Obstacle(Host(), Host().Devices[Edu], report), StringComparison.Ordinal);
        Assert.Null(HotReset.DomainDifference(Host(), Host().Devices[Edu], report));
    }

    private static DeviceReport Report(PciAddress address, params ImmutableArray<PciAddress> dependent) =>
        new() { Address = address, ReadAt = ModelHost.Start, DependentDevices = dependent };

    /// <summary>A device beside a bridge, and another below that bridge; both devices are on VFIO.</summary>
    private static HostState Host()
    {
        PciDevice outer = new() { Address = Outer, ClassCode = 0x060400, Bridge = new BridgeBuses(1, 2), Driver = "pcieport" };
        PciDevice inner = outer with { Address = Inner, Bridge = new BridgeBuses(2, 2), Driver = null, ParentBridge = Outer };
        PciDevice edu = new() { Address = Edu, Driver = "vfio-pci", ParentBridge = Outer };
        PciDevice deep = edu with { Address = Deep, ParentBridge = Inner };
        return new HostState
        {
            Host = "model",
            ReadAt = ModelHost.Start,
            Devices = new[] { outer, inner, edu, deep }.ToImmutableSortedDictionary(device => device.Address, device => device),
        };
    }
}
