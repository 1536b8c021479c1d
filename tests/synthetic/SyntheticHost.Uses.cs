// Disks and networks of a synthetic host, and what its host does with them.

using System.Buffers.Binary;
using System.Globalization;
using System.Net;
using AssignHub.Engine.Pci;

namespace AssignHub.Synthetic;

public sealed partial class SyntheticHost
{
    private int _minor;
    private int _mount = 30;

    /// <summary>Puts a disk below a controller: <c>nvme/nvme0/nvme0n1</c> with partitions <c>nvme0n1p1</c> and on.</summary>
    /// <param name="controller">The controller.</param>
    /// <param name="name">The disk's name; a name that starts with nvme ends in its namespace (<c>nvme0n1</c>).</param>
    /// <param name="partitions">How many partitions.</param>
    public SyntheticHost AddDisk(PciAddress controller, string name, int partitions = 0)
    {
        ArgumentNullException.ThrowIfNull(name);
        bool nvme = name.StartsWith("nvme", StringComparison.Ordinal);
        string below = nvme ? $"nvme/{name[..name.LastIndexOf('n')]}" : "ata1/host0/target0:0:0/0:0:0:0/block";
        string disk = Path.Combine(_paths[controller], below, name);
        AddBlock(disk);
        for (int i = 1; i <= partitions; i++)
        {
            AddBlock(Path.Combine(disk, $"{name}{(nvme ? "p" : "")}{i}"));
        }

        return this;
    }

    /// <summary>Stacks a virtual block device on others: <c>dm-0</c>, <c>md0</c>, <c>bcache0</c>.</summary>
    public SyntheticHost AddHolder(string name, string? mapperName, string? mapperUuid, params string[] below)
    {
        ArgumentNullException.ThrowIfNull(below);
        string path = Path.Combine(SysfsRoot, "devices/virtual/block", name);
        AddBlock(path);
        if (mapperName is not null)
        {
            Directory.CreateDirectory(Path.Combine(path, "dm"));
            File.WriteAllText(Path.Combine(path, "dm/name"), mapperName + "\n");
            File.WriteAllText(Path.Combine(path, "dm/uuid"), mapperUuid + "\n");
        }

        foreach (string lower in below)
        {
            Link(Path.Combine(BlockPath(lower), "holders", name), path);
            Link(Path.Combine(path, "slaves", lower), BlockPath(lower));
        }

        return this;
    }

    /// <summary>Mounts a block device.</summary>
    public SyntheticHost Mount(string device, string mountPoint, string fileSystem = "ext4")
    {
        ArgumentNullException.ThrowIfNull(mountPoint);
        string number = fileSystem == "btrfs" ? "0:77" : File.ReadAllText(Path.Combine(BlockPath(device), "dev")).Trim();
        return MountSource(number, $"/dev/{device}", mountPoint, fileSystem);
    }

    /// <summary>Mounts anything.</summary>
    public SyntheticHost MountSource(string number, string source, string mountPoint, string fileSystem, string options = "rw")
    {
        ArgumentNullException.ThrowIfNull(mountPoint);
        string escaped = mountPoint.Replace(" ", "\\040", StringComparison.Ordinal);
        Append("self/mountinfo", string.Create(
            CultureInfo.InvariantCulture, $"{_mount++} 22 {number} / {escaped} rw,relatime shared:1 - {fileSystem} {source} {options}\n"));
        return this;
    }

    /// <summary>Swaps on a block device.</summary>
    public SyntheticHost Swap(string device)
    {
        Append("swaps", $"/dev/{device}                               partition\t1998844\t\t0\t\t-2\n");
        return this;
    }

    /// <summary>Makes a block device a member of a btrfs file system.</summary>
    public SyntheticHost AddBtrfs(string uuid, params string[] members)
    {
        ArgumentNullException.ThrowIfNull(members);
        string path = Path.Combine(SysfsRoot, "fs/btrfs", uuid, "devices");
        Directory.CreateDirectory(path);
        foreach (string member in members)
        {
            Link(Path.Combine(path, member), BlockPath(member));
        }

        return this;
    }

    /// <summary>Puts an interface below a network controller.</summary>
    /// <param name="controller">The controller; null makes a virtual one (a bond, bridge, VLAN).</param>
    /// <param name="name">Its name.</param>
    /// <param name="up">Whether it is up.</param>
    /// <param name="addresses">Addresses with prefix lengths: <c>192.0.2.2/24</c>, <c>2001:db8::2/64</c>.</param>
    public SyntheticHost AddInterface(PciAddress? controller, string name, bool up = false, params string[] addresses)
    {
        ArgumentNullException.ThrowIfNull(addresses);
        string path = Path.Combine(controller is { } device ? _paths[device] : Path.Combine(SysfsRoot, "devices/virtual"), "net", name);
        Directory.CreateDirectory(path);
        File.WriteAllText(Path.Combine(path, "flags"), up ? "0x1003\n" : "0x1002\n");
        Link(Path.Combine(SysfsRoot, "class/net", name), path);
        foreach (string address in addresses)
        {
            int slash = address.IndexOf('/', StringComparison.Ordinal);
            AddAddress(name, IPAddress.Parse(address[..slash]), int.Parse(address[(slash + 1)..], CultureInfo.InvariantCulture));
        }

        return this;
    }

    /// <summary>Makes an interface a member of a bond, bridge or team.</summary>
    public SyntheticHost Enslave(string name, string master, string kind = "bonding")
    {
        if (kind.Length > 0)
        {
            Directory.CreateDirectory(Path.Combine(InterfacePath(master), kind));
        }

        Link(Path.Combine(InterfacePath(name), "master"), InterfacePath(master));
        return StackInterface(name, master);
    }

    /// <summary>Stacks an interface (a VLAN) on another.</summary>
    public SyntheticHost StackInterface(string lower, string upper)
    {
        Link(Path.Combine(InterfacePath(lower), $"upper_{upper}"), InterfacePath(upper));
        Link(Path.Combine(InterfacePath(upper), $"lower_{lower}"), InterfacePath(lower));
        return this;
    }

    /// <summary>Sends the IPv4 default route through an interface.</summary>
    public SyntheticHost DefaultRoute(string name)
    {
        Append("net/route", $"{name}\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        return this;
    }

    private void AddAddress(string name, IPAddress address, int prefix)
    {
        byte[] bytes = address.GetAddressBytes();
        if (bytes.Length == 16)
        {
            string hex = Convert.ToHexStringLower(bytes);
            string scope = address.IsIPv6LinkLocal ? "20" : "00";
            Append("net/if_inet6", string.Create(CultureInfo.InvariantCulture, $"{hex} 04 {prefix:x2} {scope} 80 {name,8}\n"));
            return;
        }

        uint value = BinaryPrimitives.ReadUInt32BigEndian(bytes);
        uint mask = prefix == 0 ? 0 : uint.MaxValue << (32 - prefix);
        uint network = BinaryPrimitives.ReverseEndianness(value & mask);
        Append("net/route", $"{name}\t{network:X8}\t00000000\t0001\t0\t0\t0\t{BinaryPrimitives.ReverseEndianness(mask):X8}\t0\t0\t0\n");
        Append("net/fib_trie", $"           |-- {address}\n              /32 host LOCAL\n");
    }

    private void AddBlock(string path)
    {
        string number = string.Create(CultureInfo.InvariantCulture, $"259:{_minor++}");
        Directory.CreateDirectory(Path.Combine(path, "holders"));
        Directory.CreateDirectory(Path.Combine(path, "slaves"));
        File.WriteAllText(Path.Combine(path, "dev"), number + "\n");
        Link(Path.Combine(SysfsRoot, "dev/block", number), path);
        Link(Path.Combine(SysfsRoot, "class/block", Path.GetFileName(path)), path);
    }

    private string BlockPath(string name) => Resolve(Path.Combine(SysfsRoot, "class/block"), name);

    private string InterfacePath(string name) => Resolve(Path.Combine(SysfsRoot, "class/net"), name);

    private static string Resolve(string folder, string name) =>
        Path.GetFullPath(Path.Combine(folder, new DirectoryInfo(Path.Combine(folder, name)).LinkTarget!));
}
