// What the host does with network interfaces: addresses, default routes, and what is stacked on them (bonds, bridges, teams, VLANs).

using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
using System.Text;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

internal sealed partial class HostUses
{
    private void ReadInterfaces(Dictionary<PciAddress, PciDevice> driven, Dictionary<PciAddress, List<HostUse>> uses)
    {
        ClassEntries entries = _interfaces.Read();
        InterfaceStack? stack = null;
        Dictionary<PciAddress, HostUse>? elsewhere = null;
        using SysDir interfaces = SysDir.TryOpen(Path.Combine(sysfsRoot, "class/net"), out SysDir opened) ? opened : default;
        foreach (PciDevice device in driven.Values)
        {
            if (entries.ByFunction.TryGetValue(device.Address, out List<string>? names))
            {
                stack ??= new InterfaceStack(interfaces, procRoot, entries.Others);
                foreach (string name in names)
                {
                    foreach (HostUse use in stack.Uses(name))
                    {
                        Add(uses, device.Address, use);
                    }
                }
            }
            else if (device.ClassCode >> 16 == ClassNetwork
                && Directory.Exists(Path.Combine(sysfsRoot, "bus/pci/devices", device.Address.ToString(), "net")))
            {
                // sysfs shows only the interfaces of the network namespace that it was mounted in; the empty folder stays.
                elsewhere ??= NetworkNamespaces.Find(procRoot);
                Add(uses, device.Address, elsewhere.TryGetValue(device.Address, out HostUse? found) ? found : new HostUse(
                    HostUseKind.Network, "its interface is in another network namespace", "Find that namespace (lsns -t net) and move the interface back to this one."));
            }
        }
    }

    /// <summary>Walks from an interface up through what is stacked on it.</summary>
    private sealed class InterfaceStack
    {
        private const uint InterfaceUp = 0x1;
        private readonly SysDir _interfaces;
        private readonly HashSet<string> _defaultRoutes4 = new(StringComparer.Ordinal);
        private readonly HashSet<string> _defaultRoutes6;
        private readonly Dictionary<string, List<string>> _addresses = new(StringComparer.Ordinal);
        private readonly Dictionary<string, List<string>> _uppers = new(StringComparer.Ordinal);

        public InterfaceStack(SysDir interfaces, string procRoot, IReadOnlyList<(string Name, string Path)> virtuals)
        {
            _interfaces = interfaces;
            ReadUppers(virtuals);
            List<Route4> routes = NetText.ParseRoutes(Text(procRoot, "net/route"));
            _defaultRoutes6 = NetText.ParseDefaultRoutes6(Text(procRoot, "net/ipv6_route"));
            foreach (Route4 route in routes)
            {
                if (route is { Destination: 0, Mask: 0 })
                {
                    _defaultRoutes4.Add(route.Interface);
                }
            }

            // The kernel's own list of addresses is exact; /proc has no such list for IPv4, so for a synthetic host it is derived.
            if (!InterfaceAddresses.TryRead(procRoot, _addresses))
            {
                NetText.Assign4(NetText.ParseLocal4(Text(procRoot, "net/fib_trie")), routes, _addresses);
                NetText.ParseAddresses6(Text(procRoot, "net/if_inet6"), _addresses);
            }
        }

        public List<HostUse> Uses(string name)
        {
            List<HostUse> found = [];
            Climb(name, name, [], found);
            return found;
        }

        private void Climb(string name, string title, HashSet<string> seen, List<HostUse> found)
        {
            if (!seen.Add(name) || seen.Count > 64)
            {
                return;
            }

            // The routes first: taking the interface down takes them along, and the remedies are followed in their order.
            if (_defaultRoutes4.Contains(name))
            {
                found.Add(new HostUse(HostUseKind.Network, $"{title} carries a default route", $"ip route del default dev {name}"));
            }

            if (_defaultRoutes6.Contains(name))
            {
                found.Add(new HostUse(HostUseKind.Network, $"{title} carries an IPv6 default route", $"ip -6 route del default dev {name}"));
            }

            if (_addresses.TryGetValue(name, out List<string>? addresses) && IsUp(name))
            {
                found.Add(new HostUse(HostUseKind.Network, $"{title} is up with {string.Join(", ", addresses)}", $"ip link set {name} down"));
            }

            // What is stacked on it: a master (bond, bridge, team, switch) that takes it whole, or VLANs, macvlans and the like.
            if (!_uppers.TryGetValue(name, out List<string>? uppers))
            {
                return;
            }

            Span<byte> buffer = stackalloc byte[512];
            string? master = null;
            if (_interfaces.TryReadLink($"{name}/master", buffer, out ReadOnlySpan<byte> link))
            {
                master = Encoding.UTF8.GetString(DeviceReader.LastPart(link));
                string kind = Exists($"{master}/bonding") ? "bond" : Exists($"{master}/bridge") ? "bridge" : "team or switch";
                found.Add(new HostUse(HostUseKind.Network, $"{title} is a member of the {kind} {master}", $"ip link set {name} nomaster"));
            }

            foreach (string upper in uppers)
            {
                if (upper != master)
                {
                    if (IsUp(upper))
                    {
                        found.Add(new HostUse(HostUseKind.Network, $"{title} carries {upper}, which is up", $"ip link set {upper} down"));
                    }

                    Climb(upper, $"{upper} on {title}", seen, found);
                }
            }
        }

        // What is stacked names what it stands on: virtual/net/eth0.100/lower_eth0; there are fewer such than interfaces of hardware.
        private void ReadUppers(IReadOnlyList<(string Name, string Path)> virtuals)
        {
            const string Lower = "lower_";
            foreach ((string name, string _) in virtuals)
            {
                foreach (string entry in _interfaces.List(name))
                {
                    if (entry.StartsWith(Lower, StringComparison.Ordinal))
                    {
                        AddTo(_uppers, entry[Lower.Length..], name);
                    }
                }
            }
        }

        private bool IsUp(string name)
        {
            Span<byte> buffer = stackalloc byte[32];
            return _interfaces.TryRead(Encoding.UTF8.GetBytes($"{name}/flags"), buffer, out ReadOnlySpan<byte> text) && text.StartsWith("0x"u8)
                && uint.TryParse(text[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint flags) && (flags & InterfaceUp) != 0;
        }

        private bool Exists(string name) => _interfaces.Exists(Encoding.UTF8.GetBytes(name));

        private static string Text(string procRoot, string name) => SysDir.ReadText(Path.Combine(procRoot, name)) ?? "";
    }
}

/// <summary>The addresses of this host's interfaces from <c>getifaddrs</c>.</summary>
internal static unsafe class InterfaceAddresses
{
    /// <summary>Whether a folder is a real procfs, and not a tree that looks like one of another host.</summary>
    public static bool IsOfThisHost(string procRoot)
    {
        Libc.statfs_t stat;
        fixed (byte* path = Encoding.UTF8.GetBytes(procRoot + '\0'))
        {
            return Libc.statfs(path, &stat) == 0 && stat.f_type == Libc.PROC_SUPER_MAGIC;
        }
    }

    /// <summary>Adds them by interface, but for IPv6 link-local ones; false if <paramref name="procRoot"/> is no real procfs.</summary>
    /// <exception cref="HostFault">The kernel does not tell.</exception>
    public static bool TryRead(string procRoot, Dictionary<string, List<string>> addresses)
    {
        if (!IsOfThisHost(procRoot))
        {
            return false;
        }

        Libc.ifaddrs_t* first;
        if (Libc.getifaddrs(&first) != 0)
        {
            throw new HostFault("getifaddrs", procRoot, (Errno)Marshal.GetLastPInvokeError());
        }

        try
        {
            for (Libc.ifaddrs_t* entry = first; entry is not null; entry = entry->ifa_next)
            {
                if (entry->ifa_addr is null)
                {
                    continue;
                }

                // struct sockaddr_in has the address at 4, sockaddr_in6 at 8.
                IPAddress? address = *(ushort*)entry->ifa_addr switch
                {
                    Libc.AF_INET => new IPAddress(new ReadOnlySpan<byte>(entry->ifa_addr + 4, 4)),
                    Libc.AF_INET6 => new IPAddress(new ReadOnlySpan<byte>(entry->ifa_addr + 8, 16)),
                    _ => null,
                };
                if (address is not null && !address.IsIPv6LinkLocal)
                {
                    NetText.Add(addresses, Marshal.PtrToStringUTF8((nint)entry->ifa_name) ?? "", address.ToString());
                }
            }
        }
        finally
        {
            Libc.freeifaddrs(first);
        }

        return true;
    }
}
