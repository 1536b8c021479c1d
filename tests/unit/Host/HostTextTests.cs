// The kernel's texts.

using AssignHub.Engine.Host;

namespace AssignHub.Tests.Unit.Host;

public class HostTextTests
{
    [Fact]
    public void ParseMounts_KernelLines_ReadsNumberPointTypeAndSource()
    {
        List<Mount> mounts = [];

        MountText.ParseMounts(
            "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n25 24 0:23 / /dev/shm rw - tmpfs tmpfs rw\nrubbish\n", mounts);

        Assert.Equal([new Mount("98:0", "/mnt 2", "ext3", "/dev/root"), new Mount("0:23", "/dev/shm", "tmpfs", "tmpfs")], mounts);
    }

    [Fact]
    public void ParseSwaps_PartitionAndFile_GivesThePartition() =>
        Assert.Equal(["/dev/dm-1"], MountText.ParseSwaps(
            "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n/dev/dm-1                               partition\t1998844\t\t0\t\t-2\n/swapfile file\t1\t0\t-3\n"));

    [Fact]
    public void ParseRoutes_DefaultAndConnected_ReadsNetworkOrder()
    {
        List<Route4> routes = NetText.ParseRoutes(
            "Iface\tDestination\tGateway\n"
            + "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
            + "eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n");

        Assert.Equal([new Route4("eth0", 0, 0), new Route4("eth0", 0xC0000200, 0xFFFFFF00)], routes);
    }

    [Fact]
    public void ParseDefaultRoutes6_RejectRouteOnLo_IsNone() =>
        Assert.Equal(["eth0"], NetText.ParseDefaultRoutes6(
            "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth1\n"
            + "00000000000000000000000000000000 00 00000000000000000000000000000000 00 fd000000000000000000000000000001 00000400 00000002 00000000 00000003     eth0\n"
            + "00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n"));

    [Fact]
    public void ParseAddresses6_LinkLocal_IsLeftOut()
    {
        Dictionary<string, List<string>> addresses = [];

        NetText.ParseAddresses6(
            "fd000000000000000000000000000002 04 40 00 82     eth0\nfe8000000000000000fc00fffe000001 04 40 20 80     eth0\n", addresses);

        Assert.Equal(["fd00::2"], addresses["eth0"]);
    }

    [Fact]
    public void ParseLocal4_TrieOfTwoTables_GivesHostAddresses()
    {
        const string Trie = """
            Main:
              +-- 0.0.0.0/0 3 0 5
                 |-- 0.0.0.0
                    /0 universe UNICAST
                 +-- 192.0.2.0/24 2 0 2
                       |-- 192.0.2.0
                          /24 link UNICAST
                       |-- 192.0.2.2
                          /32 host LOCAL
                    |-- 192.0.2.255
                       /32 link BROADCAST
            """;

        Assert.Equal([0xC0000202], NetText.ParseLocal4(Trie));
    }

    [Theory]
    [InlineData("quiet pcie_acs_override=downstream", true)]
    [InlineData("pcie_acs_override", true)]
    [InlineData("quiet xpcie_acs_override=1 pcie_acs_overridex=1", false)]
    public void HasParameter_Word_IsMatchedWhole(string commandLine, bool expected) =>
        Assert.Equal(expected, VfioSupportReader.HasParameter(commandLine, "pcie_acs_override"));

    [Theory]
    [InlineData("../../../devices/pci0000:00/0000:00:1c.0/0000:03:00.0", "0000:00:1c.0")]
    [InlineData("../../../devices/pci0000:00/0000:00:1c.0", null)]
    [InlineData("../../../devices/pci0000:00/0000:00:0e.0/pci10000:e0/10000:e0:06.0", null)]
    public void ParentOf_Path_IsTheBridgeRightAbove(string path, string? expected) =>
        Assert.Equal(expected, DeviceReader.ParentOf(System.Text.Encoding.ASCII.GetBytes(path))?.ToString());
}
