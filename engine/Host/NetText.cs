// The kernel's texts on addresses and routes: /proc/net/{route,ipv6_route,if_inet6,fib_trie}. Pure.

using System.Buffers.Binary;
using System.Globalization;
using System.Net;

namespace AssignHub.Engine.Host;

/// <summary>One IPv4 route of the main table.</summary>
/// <param name="Interface">The interface that it leaves by.</param>
/// <param name="Destination">The network, the first address byte in the top bits.</param>
/// <param name="Mask">Its mask, in the same order; 0 for a default route.</param>
internal readonly record struct Route4(string Interface, uint Destination, uint Mask);

/// <summary>Reads them.</summary>
internal static class NetText
{
    private const int RouteUp = 0x1;
    private const int RouteReject = 0x200;
    private const int ScopeLink = 0x20;

    /// <summary>
    /// Reads /proc/net/route; addresses are hex in memory order, so on little-endian 192.0.2.0 reads 000200C0:
    /// <c>eth0	000200C0	00000000	0001	0	0	0	00FFFFFF	0	0	0</c>.
    /// </summary>
    public static List<Route4> ParseRoutes(string text)
    {
        List<Route4> routes = [];
        Span<Range> fields = stackalloc Range[12];
        foreach (ReadOnlySpan<char> line in text.AsSpan().EnumerateLines())
        {
            if (line.SplitAny(fields, " \t", StringSplitOptions.RemoveEmptyEntries) >= 8
                && TryHex(line[fields[1]], out uint destination) && TryHex(line[fields[3]], out uint flags) && TryHex(line[fields[7]], out uint mask)
                && (flags & (RouteUp | RouteReject)) == RouteUp)
            {
                routes.Add(new Route4(line[fields[0]].ToString(), NetworkOrder(destination), NetworkOrder(mask)));
            }
        }

        return routes;
    }

    /// <summary>
    /// The interfaces with an IPv6 default route, from /proc/net/ipv6_route: destination, prefix length, source, its length, next hop,
    /// metric, reference count, use, flags, interface. The rejecting default route on <c>lo</c> is none:
    /// <c>00000000000000000000000000000000 00 0000… 00 fd00…01 00000400 00000002 00000000 00000003     eth0</c>.
    /// </summary>
    public static HashSet<string> ParseDefaultRoutes6(string text)
    {
        HashSet<string> interfaces = new(StringComparer.Ordinal);
        Span<Range> fields = stackalloc Range[11];
        foreach (ReadOnlySpan<char> line in text.AsSpan().EnumerateLines())
        {
            if (line.SplitAny(fields, " \t", StringSplitOptions.RemoveEmptyEntries) >= 10
                && line[fields[1]] is "00" && !line[fields[0]].ContainsAnyExcept('0')
                && TryHex(line[fields[8]], out uint flags) && (flags & (RouteUp | RouteReject)) == RouteUp)
            {
                interfaces.Add(line[fields[9]].ToString());
            }
        }

        return interfaces;
    }

    /// <summary>
    /// Adds the IPv6 addresses of /proc/net/if_inet6 (address, index, prefix length, scope, flags, interface) but link-local ones, which
    /// every interface that is up gives itself: <c>fd000000000000000000000000000002 04 40 00 82     eth0</c>.
    /// </summary>
    public static void ParseAddresses6(string text, Dictionary<string, List<string>> addresses)
    {
        Span<Range> fields = stackalloc Range[7];
        Span<byte> bytes = stackalloc byte[16];
        foreach (ReadOnlySpan<char> line in text.AsSpan().EnumerateLines())
        {
            if (line.SplitAny(fields, " \t", StringSplitOptions.RemoveEmptyEntries) >= 6 && line[fields[0]].Length == 32
                && TryHex(line[fields[3]], out uint scope) && (scope & ScopeLink) == 0
                && UInt128.TryParse(line[fields[0]], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out UInt128 value))
            {
                BinaryPrimitives.WriteUInt128BigEndian(bytes, value);
                Add(addresses, line[fields[5]].ToString(), new IPAddress(bytes).ToString());
            }
        }
    }

    /// <summary>
    /// The host's own IPv4 addresses, from the leaves of the local table in /proc/net/fib_trie: a line <c>|-- 192.0.2.2</c> and below it
    /// <c>/32 host LOCAL</c>. It does not say on which interface they are: see <see cref="Assign4"/>.
    /// </summary>
    public static HashSet<uint> ParseLocal4(string text)
    {
        HashSet<uint> local = [];
        uint leaf = 0;
        Span<byte> bytes = stackalloc byte[4];
        foreach (ReadOnlySpan<char> line in text.AsSpan().EnumerateLines())
        {
            ReadOnlySpan<char> trimmed = line.Trim();
            if (trimmed.StartsWith("|-- ", StringComparison.Ordinal))
            {
                leaf = IPAddress.TryParse(trimmed[4..], out IPAddress? address) && address.TryWriteBytes(bytes, out int length) && length == 4
                    ? BinaryPrimitives.ReadUInt32BigEndian(bytes)
                    : 0;
            }
            else if (leaf != 0 && trimmed is "/32 host LOCAL")
            {
                local.Add(leaf);
            }
        }

        return local;
    }

    /// <summary>Puts each of the host's addresses on the interface whose connected network holds it.</summary>
    public static void Assign4(IReadOnlySet<uint> local, IReadOnlyList<Route4> routes, Dictionary<string, List<string>> addresses)
    {
        Span<byte> bytes = stackalloc byte[4];
        foreach (uint address in local)
        {
            foreach (Route4 route in routes)
            {
                if (route.Mask != 0 && (address & route.Mask) == route.Destination)
                {
                    BinaryPrimitives.WriteUInt32BigEndian(bytes, address);
                    Add(addresses, route.Interface, new IPAddress(bytes).ToString());
                }
            }
        }
    }

    /// <summary>Adds one address to an interface, once.</summary>
    public static void Add(Dictionary<string, List<string>> addresses, string name, string address)
    {
        if (!addresses.TryGetValue(name, out List<string>? list))
        {
            addresses.Add(name, list = []);
        }

        if (!list.Contains(address))
        {
            list.Add(address);
        }
    }

    private static bool TryHex(ReadOnlySpan<char> text, out uint value) =>
        uint.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);

    private static uint NetworkOrder(uint value) => BitConverter.IsLittleEndian ? BinaryPrimitives.ReverseEndianness(value) : value;
}
