// What the backend of the host changes in the plans for a guest: iommufd needs no emulated IOMMU to keep the groups apart.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Unit.Rules;

public sealed class BackendTests
{
    private static readonly PciAddress[] Devices = [PciAddress.Parse("0000:01:00.0"), PciAddress.Parse("0000:02:00.0"), PciAddress.Parse("0000:02:00.1")];

    [Theory]
    [InlineData("iommufd", GuestIommu.Auto, false)]
    [InlineData("iommufd", GuestIommu.On, true)]
    [InlineData("type1v2", GuestIommu.Auto, true)]
    [InlineData("type1v2", GuestIommu.On, true)]
    public void Start_TwoGroups_IommuWhereTheBackendNeedsOne(string backend, GuestIommu asked, bool given)
    {
        Plan plan = Planner.Decide(Created(backend, asked), new StartGuest("web01")).Plan!;

        Assert.Equal(given, Assert.Single(plan.Steps.OfType<LaunchGuest>()).WithIommu);

        // With an IOMMU the two devices of the second group share a bridge; without one each has a port of its own.
        string[] buses = [.. plan.Steps.OfType<PlugDevice>().Select(plug => plug.Bus)];
        Assert.Equal(given ? ["port0", "bridge0", "bridge0"] : ["port0", "port1", "port2"], buses);
    }

    [Theory]
    [InlineData("iommufd", null)]
    [InlineData("type1v2", ProblemCode.GuestIommuRequired)]
    public void Create_TwoGroupsWithoutIommu_OnlyWhereEachIsAContextOfItsOwn(string backend, ProblemCode? refused) =>
        Assert.Equal(refused, Planner.Decide(Host(backend), Creation(GuestIommu.Off)).Refusals.Select(refusal => (ProblemCode?)refusal.Code).FirstOrDefault());

    [Fact]
    public void Attach_GuestLaunchedWithoutIommuAndTheHostNowOnType1_IsRefused()
    {
        World world = ModelHost.Run(Created("iommufd", GuestIommu.Auto), new StartGuest("web01"));
        world = world with
        {
            Host = world.Host with { Vfio = world.Host.Vfio with { Backend = "type1v2" } },
            Inventory = world.Inventory with
            {
                Containers = world.Inventory.Containers.ToImmutableSortedDictionary(one => one.Key, one => one.Value with { Backend = "type1v2" }, StringComparer.Ordinal),
            },
        };
        world = ModelHost.Run(world, new DetachDevice("web01", Devices[0]));

        Assert.Contains(Planner.Decide(world, new AttachDevice("web01", Devices[0])).Refusals, refusal => refusal.Code == ProblemCode.GuestIommuRequired);
    }

    private static CreateGuest Creation(GuestIommu iommu) => new(new GuestSpec { Name = "web01", Devices = [.. Devices], GuestIommu = iommu });

    private static World Created(string backend, GuestIommu iommu) => ModelHost.Run(Host(backend), Creation(iommu));

    private static World Host(string backend)
    {
        PciDevice[] all =
        [
            .. Devices.Select(address => new PciDevice
            {
                Address = address, VendorId = 0x8086, DeviceId = 0x10d3, ClassCode = 0x020000, Driver = "e1000e", Group = address.Bus,
            }),
        ];
        return new World(
            new HostState
            {
                Host = "model",
                ReadAt = ModelHost.Start,
                Devices = all.ToImmutableSortedDictionary(device => device.Address, device => device),
                Groups = all.GroupBy(device => device.Group!.Value)
                    .ToImmutableSortedDictionary(group => group.Key, group => new IommuGroup(group.Key, [.. group.Select(device => device.Address)], "DMA", [])),
                Vfio = new VfioSupport { IommuEnabled = true, Available = true, Backend = backend },
            },
            Inventory.Empty);
    }
}
