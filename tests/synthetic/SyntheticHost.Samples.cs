// Ready-made synthetic hosts.

using AssignHub.Engine.Pci;

namespace AssignHub.Synthetic;

public sealed partial class SyntheticHost
{
    /// <summary>The sample topology of the lab: a NIC (group 11) and an NVMe disk (12) alone, three devices behind one PCI bridge (13), the host's own disk and NIC.</summary>
    public static SyntheticHost Sample(string? folder = null)
    {
        PciAddress port1 = PciAddress.Parse("0000:00:02.0");
        PciAddress port2 = PciAddress.Parse("0000:00:03.0");
        PciAddress port3 = PciAddress.Parse("0000:00:04.0");
        PciAddress bridge = PciAddress.Parse("0000:03:00.0");
        SyntheticHost host = new(folder);
        host.AddDriver("vfio-pci");
        host.Add(Port(port1, 1, 1, 2)).Add(Port(port2, 2, 2, 3)).Add(Port(port3, 3, 4, 4));
        host.Add(new SyntheticDevice("0000:00:00.0") { DeviceId = 0x29C0, ClassCode = 0x060000, Group = 0, ResetMethods = "", PcieType = PcieType.None });
        host.Add(new SyntheticDevice("0000:00:05.0")
        {
            VendorId = 0x1AF4, DeviceId = 0x1042, ClassCode = 0x010000, Driver = "virtio-pci", Group = 5, ResetMethods = "",
        });
        host.Add(new SyntheticDevice("0000:00:06.0")
        {
            VendorId = 0x1AF4, DeviceId = 0x1041, ClassCode = 0x020000, Driver = "virtio-pci", Group = 6, ResetMethods = "",
        });
        host.Add(new SyntheticDevice("0000:01:00.0") { Parent = port1, Driver = "e1000e", Group = 11, ResetMethods = "pm bus", Serial = 0x525400FFFF123456 });
        host.Add(new SyntheticDevice("0000:02:00.0")
        {
            Parent = port2, VendorId = 0x1B36, DeviceId = 0x0010, ClassCode = 0x010802, Driver = "nvme", Group = 12,
        });
        host.Add(new SyntheticDevice(bridge)
        {
            Parent = port3, VendorId = 0x1B36, DeviceId = 0x000E, ClassCode = 0x060400, Buses = (4, 4), Group = 13, ResetMethods = "pm bus",
            PcieType = PcieType.PciBridge,
        });
        host.Add(new SyntheticDevice("0000:04:01.0")
        {
            Parent = bridge, VendorId = 0x1234, DeviceId = 0x11E8, ClassCode = 0x00FF00, Group = 13, ResetMethods = "", PcieType = PcieType.None,
        });
        host.Add(new SyntheticDevice("0000:04:02.0")
        {
            Parent = bridge, DeviceId = 0x100E, Driver = "e1000", Group = 13, ResetMethods = "", PcieType = PcieType.None,
        });
        host.Add(new SyntheticDevice("0000:04:03.0")
        {
            Parent = bridge, VendorId = 0x1B36, DeviceId = 0x0005, ClassCode = 0x00FF00, Group = 13, ResetMethods = "", PcieType = PcieType.None,
        });
        host.AddDisk(PciAddress.Parse("0000:00:05.0"), "vda", 1).Mount("vda1", "/");
        host.AddInterface(PciAddress.Parse("0000:00:06.0"), "eth0", true, "192.0.2.2/24").DefaultRoute("eth0");
        host.AddInterface(PciAddress.Parse("0000:01:00.0"), "enp1s0");
        host.AddInterface(PciAddress.Parse("0000:04:02.0"), "enp4s2");
        host.AddDisk(PciAddress.Parse("0000:02:00.0"), "nvme0n1");
        return host;
    }

    /// <summary>
    /// A host of any size: half of the groups are root ports alone, the others the endpoints below one port each. Among the endpoints are
    /// NVMe disks (one in eight; every other one mounted) and NICs (one in seven up with an address).
    /// </summary>
    /// <param name="devices">Functions, ports included; at most 8 for each endpoint group.</param>
    /// <param name="groups">IOMMU groups, at most 2 a function.</param>
    /// <param name="folder">Where; null makes a temporary folder.</param>
    public static SyntheticHost Large(int devices, int groups, string? folder = null)
    {
        const int PortsPerDomain = 200;
        int ports = groups / 2;
        int slots = groups - ports;
        int endpoints = devices - ports;
        ArgumentOutOfRangeException.ThrowIfLessThan(endpoints, slots);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(endpoints, slots * 8);
        SyntheticHost host = new(folder);
        host.AddDriver("vfio-pci");
        int made = 0;
        for (int slot = 0; slot < slots; slot++)
        {
            uint domain = (uint)(slot / PortsPerDomain);
            int index = slot % PortsPerDomain;
            PciAddress port = PciAddress.FromDevFn(domain, 0, (byte)(index + 8));
            byte bus = (byte)(index + 1);
            bool hasPort = slot < ports;
            if (hasPort)
            {
                host.Add(Port(port, slot, bus, bus));
            }

            int functions = endpoints / slots + (slot < endpoints % slots ? 1 : 0);
            for (byte function = 0; function < functions; function++)
            {
                host.AddEndpoint(new PciAddress(domain, bus, 0, function), hasPort ? port : null, ports + slot, made++);
            }
        }

        return host;
    }

    private void AddEndpoint(PciAddress address, PciAddress? parent, int group, int number)
    {
        if (number % 8 == 0)
        {
            string disk = $"nvme{number}n1";
            Add(new SyntheticDevice(address)
            {
                Parent = parent, Group = group, VendorId = 0x144D, DeviceId = 0xA80A, ClassCode = 0x010802, Driver = "nvme", NumaNode = number % 2,
            });
            AddDisk(address, disk, 2);
            if (number % 16 == 0)
            {
                Mount($"{disk}p1", $"/srv/disk{number}");
            }
        }
        else
        {
            Add(new SyntheticDevice(address) { Parent = parent, Group = group, Driver = "ixgbe", DeviceId = 0x10FB, NumaNode = number % 2, Serial = (ulong)number });
            if (number % 4 == 0)
            {
                AddInterface(address, $"eth{number}", true, $"10.{number / 250}.{number % 250}.1/24");
            }
            else
            {
                AddInterface(address, $"eth{number}");
            }
        }
    }

    private static SyntheticDevice Port(PciAddress address, int group, byte secondary, byte subordinate) => new(address)
    {
        VendorId = 0x1B36, DeviceId = 0x000C, ClassCode = 0x060400, Driver = "pcieport", Group = group, Buses = (secondary, subordinate),
        ResetMethods = "pm", PcieType = PcieType.RootPort, Acs = 0x1D,
    };
}
