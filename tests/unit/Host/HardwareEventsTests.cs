// What the kernel's uevents say, in the form that lib/kobject_uevent.c gives them.

using System.Text;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Tests.Unit.Host;

public sealed class HardwareEventsTests
{
    private const string Device = "/devices/pci0000:00/0000:00:01.0/0000:01:00.0";

    [Theory]
    [InlineData("add")]
    [InlineData("remove")]
    public void Parse_FunctionCameOrWent_IsItsAddress(string action) =>
        Assert.Equal(PciAddress.Parse("0000:01:00.0"), Parse($"{action}@{Device}", $"ACTION={action}", $"DEVPATH={Device}", "SUBSYSTEM=pci", "PCI_SLOT_NAME=0000:01:00.0", "SEQNUM=2011"));

    [Theory]
    [InlineData("bind@" + Device, "SUBSYSTEM=pci")]
    [InlineData("add@" + Device + "/net/eth0", "SUBSYSTEM=net")]
    [InlineData("add@/bus/pci/drivers/vfio-pci", "SUBSYSTEM=drivers")]
    [InlineData("add@/devices/pci0000:00/0000:00:01.0/pci_bus/0000:01", "SUBSYSTEM=pci_bus")]
    [InlineData("libudev", "SUBSYSTEM=pci")]
    [InlineData("", "")]
    public void Parse_AnythingElse_IsNothing(string header, string line) => Assert.Null(Parse(header, line));

    [Fact]
    public async Task Wait_WithoutAKernelThatTells_EndsWithTheTime()
    {
        using var events = HardwareEvents.None(TimeProvider.System);

        Assert.Null(await events.WaitAsync(TimeSpan.FromMilliseconds(20), CancellationToken.None));
    }

    private static PciAddress? Parse(params string[] lines) => HardwareEvents.Parse(Encoding.UTF8.GetBytes(string.Join('\0', lines) + '\0'));
}
