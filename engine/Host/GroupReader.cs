// IOMMU groups out of kernel/iommu_groups.

using System.Collections.Immutable;
using System.Globalization;
using System.Text.Unicode;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>Reads groups.</summary>
/// <param name="sysfsRoot">Where sysfs is mounted.</param>
/// <param name="names">Shared strings.</param>
internal sealed class GroupReader(string sysfsRoot, NameTable names)
{
    /// <summary>The directory whose entries are the groups.</summary>
    public string GroupsPath { get; } = Path.Combine(sysfsRoot, "kernel/iommu_groups");

    /// <summary>Reads one group whose members are known; null if it is not there.</summary>
    /// <param name="groups">The open <see cref="GroupsPath"/>.</param>
    /// <param name="number">Which.</param>
    /// <param name="members">Its PCI functions in bus order.</param>
    /// <exception cref="HostFault">It is there and cannot be read.</exception>
    public IommuGroup? Read(SysDir groups, int number, ImmutableArray<PciAddress> members)
    {
        // A region takes some 60 bytes; an attribute is one page.
        Span<byte> buffer = stackalloc byte[4096];
        Span<byte> name = stackalloc byte[32];
        if (!Utf8.TryWrite(name, CultureInfo.InvariantCulture, $"{number}/type", out int length)
            || !groups.TryRead(name[..length], buffer, out ReadOnlySpan<byte> text))
        {
            return null;
        }

        string type = names.Get(text);
        ImmutableArray<ReservedRegion> regions =
            Utf8.TryWrite(name, CultureInfo.InvariantCulture, $"{number}/reserved_regions", out length) && groups.TryRead(name[..length], buffer, out text)
                ? ParseRegions(text)
                : [];
        // vfio_noiommu_group_alloc names the groups that it makes; others have no name.
        bool noIommu = Utf8.TryWrite(name, CultureInfo.InvariantCulture, $"{number}/name", out length)
            && groups.TryRead(name[..length], buffer, out text) && text.SequenceEqual("vfio-noiommu"u8);
        return new IommuGroup(number, members, type, regions) { NoIommu = noIommu };
    }

    /// <summary>The PCI members of a group as the kernel lists them now, in bus order.</summary>
    /// <exception cref="HostFault">The list is there and cannot be read.</exception>
    public static ImmutableArray<PciAddress> ReadMembers(SysDir groups, int number)
    {
        ImmutableArray<PciAddress>.Builder members = ImmutableArray.CreateBuilder<PciAddress>();
        foreach (string name in groups.List(string.Create(CultureInfo.InvariantCulture, $"{number}/devices")))
        {
            if (PciAddress.TryParse(name, out PciAddress address))
            {
                members.Add(address);
            }
        }

        members.Sort();
        return members.DrainToImmutable();
    }

    /// <summary>Reads <c>reserved_regions</c>, one region a line: <c>0x00000000fee00000 0x00000000feefffff msi</c>.</summary>
    internal ImmutableArray<ReservedRegion> ParseRegions(ReadOnlySpan<byte> text)
    {
        ImmutableArray<ReservedRegion>.Builder regions = ImmutableArray.CreateBuilder<ReservedRegion>();
        while (!text.IsEmpty)
        {
            int end = text.IndexOf((byte)'\n');
            ReadOnlySpan<byte> line = end < 0 ? text : text[..end];
            text = end < 0 ? default : text[(end + 1)..];
            int first = line.IndexOf((byte)' ');
            int second = first < 0 ? -1 : first + 1 + line[(first + 1)..].IndexOf((byte)' ');
            if (second > first && TryHex(line[..first], out ulong start) && TryHex(line[(first + 1)..second], out ulong last))
            {
                regions.Add(new ReservedRegion(start, last, names.Get(line[(second + 1)..])));
            }
        }

        return regions.DrainToImmutable();
    }

    private static bool TryHex(ReadOnlySpan<byte> text, out ulong value)
    {
        value = 0;
        return text.StartsWith("0x"u8) && ulong.TryParse(text[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
    }
}
