// Placement: one device a port, one container a bridge.

using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Pci;

namespace AssignHub.Tests.Unit.Guests;

public sealed class GuestPortsTests
{
    [Fact]
    public void Place_SingleDevices_LowestFreePort()
    {
        Assert.Equal(new GuestSlot("port0"), GuestPorts.Place(2, [], "c", false));
        Assert.Equal(new GuestSlot("port1"), GuestPorts.Place(2, [On("a", "port0")], "c", false));
        Assert.Equal(new GuestSlot("port0"), GuestPorts.Place(2, [On("a", "port1")], "c", false));
    }

    [Fact]
    public void Place_AllPortsTaken_Null()
    {
        Assert.Null(GuestPorts.Place(2, [On("a", "port0"), On("b", "port1", state: GuestDeviceState.Failed)], "c", false));
        Assert.Null(GuestPorts.Place(0, [], "c", false));
    }

    [Fact]
    public void Place_DeviceNotPlacedYet_DoesNotCount() =>
        Assert.Equal(new GuestSlot("port0"), GuestPorts.Place(1, [On("a", null)], "c", false));

    [Fact]
    public void Place_GroupOfSeveral_OneBridge()
    {
        Assert.Equal(new GuestSlot("bridge0", 1), GuestPorts.Place(4, [], "c", true));
        Assert.Equal(new GuestSlot("bridge0", 2), GuestPorts.Place(4, [On("c", "bridge0", 1)], "c", true));
        Assert.Equal(new GuestSlot("bridge0", 1), GuestPorts.Place(4, [On("c", "bridge0", 2)], "c", true));
    }

    [Fact]
    public void Place_SecondGroup_BridgeOfItsOwn()
    {
        GuestDevice[] placed = [On("a", "bridge0", 1)];
        Assert.Equal(new GuestSlot("bridge1", 1), GuestPorts.Place(4, placed, "c", true));
        Assert.Null(GuestPorts.Place(4, [.. placed, On("b", "bridge1", 1)], "c", true));
        Assert.Equal(new GuestSlot("bridge1", 2), GuestPorts.Place(4, [.. placed, On("c", "bridge1", 1)], "c", true));
    }

    [Fact]
    public void Place_BridgeFull_NullThoughAnotherIsFree()
    {
        GuestDevice[] full = [.. Enumerable.Range(1, 31).Select(slot => On("c", "bridge0", slot))];
        Assert.Null(GuestPorts.Place(4, full, "c", true));
    }

    /// <summary>Whatever comes and goes: no place twice, no bridge with two containers, no container on two bridges.</summary>
    [Fact]
    public void Place_RandomHistory_NeverShares()
    {
        var random = new Random(20260101);
        var placed = new List<GuestDevice>();
        for (int i = 0; i < 5000; i++)
        {
            if (placed.Count > 0 && random.Next(3) == 0)
            {
                placed.RemoveAt(random.Next(placed.Count));
                continue;
            }

            int container = random.Next(6);
            if (GuestPorts.Place(3, placed, $"c{container}", container % 2 == 0) is { } slot)
            {
                placed.Add(On($"c{container}", slot.Bus, slot.Slot));
            }

            Assert.Distinct(placed.Select(device => (device.Bus, device.Slot)));
            Assert.All(placed.GroupBy(device => device.Bus), bus => Assert.Single(bus.Select(device => device.Container).Distinct()));
            Assert.All(
                placed.Where(device => device.Slot is not null).GroupBy(device => device.Container),
                container => Assert.Single(container.Select(device => device.Bus).Distinct()));
        }
    }

    private static GuestDevice On(string container, string? bus, int? slot = null, GuestDeviceState state = GuestDeviceState.Attached) =>
        new(PciAddress.Parse("0000:03:00.0"), container, state, bus, slot);
}
