// Which parts of a region may be mapped into a process: a pure function over what the kernel said of the region.

using System.Collections.Immutable;

namespace AssignHub.Engine.Vfio;

/// <summary>Decides the parts of a region to map.</summary>
public static class RegionMapPlan
{
    /// <summary>
    /// The parts to map: the region's sparse-mmap areas if the kernel gave any; otherwise the whole, minus the pages that hold the
    /// MSI-X table and pending bits unless the kernel says that those may be mapped (Linux 4.16). A region of size zero has none.
    /// </summary>
    /// <param name="sizeBytes">The region's size.</param>
    /// <param name="mappable">Whether the kernel maps it at all (<c>VFIO_REGION_INFO_FLAG_MMAP</c>).</param>
    /// <param name="sparseAreas">
    /// The areas of the sparse-mmap capability, or null without one. An empty list means that nothing may be mapped. What lies outside
    /// the region is cut off, and a page that the areas cover only in part is left out, because mappings are whole pages.
    /// </param>
    /// <param name="excluded">Parts that must not be mapped; the pages that they touch are left out. Ignored where areas are given.</param>
    /// <param name="pageBytes">The size of a page of this host, a power of two.</param>
    /// <returns>Parts in ascending order, disjoint, not empty, beginning and ending on a page or at the region's end.</returns>
    public static ImmutableArray<MapArea> Of(
        ulong sizeBytes, bool mappable, IReadOnlyCollection<MapArea>? sparseAreas, IReadOnlyCollection<MapArea> excluded, ulong pageBytes)
    {
        ArgumentNullException.ThrowIfNull(excluded);
        ArgumentOutOfRangeException.ThrowIfNotEqual(ulong.PopCount(pageBytes), 1UL, nameof(pageBytes));
        if (sizeBytes == 0 || !mappable)
        {
            return [];
        }

        return sparseAreas is not null
            ? [.. Merge(sparseAreas.Select(area => Clip(area, sizeBytes))).Select(area => Inner(area, sizeBytes, pageBytes)).Where(area => area.SizeBytes > 0)]
            : Gaps(Merge(excluded.Select(area => Outer(area, sizeBytes, pageBytes))), sizeBytes);
    }

    /// <summary>What of a BAR the MSI-X structures occupy.</summary>
    /// <param name="msix">Their place, or null if the device has none.</param>
    /// <param name="bar">The BAR.</param>
    public static ImmutableArray<MapArea> MsixAreas(MsixLayout? msix, uint bar)
    {
        ImmutableArray<MapArea>.Builder areas = ImmutableArray.CreateBuilder<MapArea>();
        if (msix is not null && msix.TableBar == bar)
        {
            areas.Add(new MapArea(msix.TableOffsetBytes, msix.TableSizeBytes));
        }

        if (msix is not null && msix.PbaBar == bar)
        {
            areas.Add(new MapArea(msix.PbaOffsetBytes, msix.PbaSizeBytes));
        }

        return areas.ToImmutable();
    }

    // Start and end (exclusive) inside the region; offset + size may overflow, so the size is cut against what is left.
    private static (ulong Start, ulong End) Clip(MapArea area, ulong size) =>
        area.OffsetBytes >= size ? (size, size) : (area.OffsetBytes, area.OffsetBytes + Math.Min(area.SizeBytes, size - area.OffsetBytes));

    // Whole pages that lie in the area. Its last page may be cut by the region's end, which mmap allows.
    private static MapArea Inner(MapArea area, ulong size, ulong page)
    {
        ulong end = area.OffsetBytes + area.SizeBytes;
        ulong last = end == size ? end : end - (end % page);
        ulong first = PageAfter(area.OffsetBytes, size, page);
        return new MapArea(first, first < last ? last - first : 0);
    }

    // Whole pages that the area touches.
    private static (ulong Start, ulong End) Outer(MapArea area, ulong size, ulong page)
    {
        (ulong start, ulong end) = Clip(area, size);
        return start < end ? (start - (start % page), PageAfter(end, size, page)) : (size, size);
    }

    // The first page boundary at or after an offset, or the region's end if that comes first.
    private static ulong PageAfter(ulong offset, ulong size, ulong page)
    {
        ulong missing = (page - (offset % page)) % page;
        return missing < size - offset ? offset + missing : size;
    }

    private static ImmutableArray<MapArea> Merge(IEnumerable<(ulong Start, ulong End)> spans)
    {
        ImmutableArray<MapArea>.Builder merged = ImmutableArray.CreateBuilder<MapArea>();
        foreach ((ulong start, ulong end) in spans.Where(span => span.Start < span.End).Order())
        {
            MapArea? last = merged.Count > 0 ? merged[^1] : null;
            if (last is null || start > last.OffsetBytes + last.SizeBytes)
            {
                merged.Add(new MapArea(start, end - start));
            }
            else if (end > last.OffsetBytes + last.SizeBytes)
            {
                merged[^1] = last with { SizeBytes = end - last.OffsetBytes };
            }
        }

        return merged.ToImmutable();
    }

    private static ImmutableArray<MapArea> Gaps(ImmutableArray<MapArea> holes, ulong size)
    {
        ImmutableArray<MapArea>.Builder gaps = ImmutableArray.CreateBuilder<MapArea>();
        ulong at = 0;
        foreach (MapArea hole in holes)
        {
            if (hole.OffsetBytes > at)
            {
                gaps.Add(new MapArea(at, hole.OffsetBytes - at));
            }

            at = hole.OffsetBytes + hole.SizeBytes;
        }

        if (at < size)
        {
            gaps.Add(new MapArea(at, size - at));
        }

        return gaps.ToImmutable();
    }
}
