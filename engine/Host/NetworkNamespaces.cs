// Interfaces in network namespaces other than this one's: sysfs does not show them, so each namespace is entered and its kernel asked. That is
// done by a thread of its own, which ends there; it is done only for a device whose interface is nowhere else.

using System.Globalization;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using AssignHub.Engine.Pci;
using Microsoft.Win32.SafeHandles;

namespace AssignHub.Engine.Host;

/// <summary>Looks into the network namespaces of the host.</summary>
internal static unsafe class NetworkNamespaces
{
    // Where ip-netns(8) keeps those that have a name.
    private const string Named = "/run/netns";

    /// <summary>
    /// The interfaces of PCI functions in other namespaces, as uses; a function whose namespace has neither name nor process is not found. Empty
    /// if <paramref name="procRoot"/> is no real procfs: then another host is looked at.
    /// </summary>
    public static Dictionary<PciAddress, HostUse> Find(string procRoot)
    {
        Dictionary<PciAddress, HostUse> found = [];
        if (!InterfaceAddresses.IsOfThisHost(procRoot))
        {
            return found;
        }

        var walk = new Thread(() =>
        {
            foreach ((string file, string words, string enter) in Namespaces(procRoot))
            {
                Look(file, found, words, enter);
            }
        })
        { IsBackground = true, Name = "network namespaces" };
        walk.Start();
        walk.Join();
        return found;
    }

    /// <summary>The file of each namespace but this one's, its name in words, and the command that reaches into it.</summary>
    private static List<(string File, string Words, string Enter)> Namespaces(string procRoot)
    {
        List<(string File, string Words, string Enter)> namespaces = [];
        HashSet<string> seen = [Identity(Path.Combine(procRoot, "self/ns/net"))];
        foreach (string file in Directory.Exists(Named) ? Directory.EnumerateFiles(Named) : [])
        {
            string name = Path.GetFileName(file);
            if (seen.Add(Identity(file)))
            {
                namespaces.Add((file, $"the network namespace {name}", $"ip -n {name}"));
            }
        }

        foreach (string process in Directory.EnumerateDirectories(procRoot))
        {
            string file = Path.Combine(process, "ns/net");
            if (int.TryParse(Path.GetFileName(process), NumberStyles.None, CultureInfo.InvariantCulture, out int pid) && seen.Add(Identity(file)))
            {
                namespaces.Add((file, $"the network namespace of process {pid}", $"nsenter -t {pid} -n ip"));
            }
        }

        return namespaces;
    }

    // All files of a namespace have its inode; a thread of the kernel, or a process that just ended, has none.
    private static string Identity(string file)
    {
        Libc.statx_t stat;
        fixed (byte* path = Encoding.UTF8.GetBytes(file + '\0'))
        {
            return Libc.statx(Libc.AT_FDCWD, path, 0, Libc.STATX_INO, &stat) == 0 ? stat.stx_ino.ToString(CultureInfo.InvariantCulture) : "";
        }
    }

    private static void Look(string file, Dictionary<PciAddress, HostUse> found, string words, string enter)
    {
        try
        {
            using SafeFileHandle handle = File.OpenHandle(file);
            if (Libc.setns(handle, Libc.CLONE_NEWNET) != 0)
            {
                return;
            }

            // A socket belongs to the namespace in which it was made.
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            foreach (string name in NetworkInterface.GetAllNetworkInterfaces().Select(static entry => entry.Name))
            {
                if (PciAddress.TryParse(BusInfo(socket, name), out PciAddress function))
                {
                    found[function] = new HostUse(HostUseKind.Network, $"its interface {name} is in {words}", $"{enter} link set {name} netns 1");
                }
            }
        }
        catch (Exception gone) when (gone is IOException or UnauthorizedAccessException or SocketException or NetworkInformationException)
        {
            // The namespace ended with its last process, or this service may not enter it: the interface is told without a name.
        }
    }

    /// <summary>What stands below an interface: <c>bus_info</c> of <c>struct ethtool_drvinfo</c> (linux/ethtool.h), for a PCI function its address.</summary>
    private static string BusInfo(Socket socket, string name)
    {
        Libc.ethtool_drvinfo info = new() { cmd = Libc.ETHTOOL_GDRVINFO };
        Libc.ifreq_t request = new() { ifr_data = &info };
        // A name has at most 15 bytes, so that its end stays a zero.
        Encoding.UTF8.GetBytes(name, new Span<byte>(request.ifr_name, 15));
        return Libc.Ioctl(socket.SafeHandle, Libc.SIOCETHTOOL, ref request) < 0 ? "" : Marshal.PtrToStringUTF8((nint)info.bus_info)!;
    }
}
