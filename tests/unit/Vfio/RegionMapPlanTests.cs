// Which parts of a region are mapped: cases from real devices, and properties that hold whatever a kernel or device says.

using AssignHub.Engine.Vfio;
using FsCheck;
using FsCheck.Fluent;

namespace AssignHub.Tests.Unit.Vfio;

public sealed class RegionMapPlanTests
{
    private const ulong Page = 4096;

    // Offsets and sizes near pages, near the region's ends, and near the end of what 64 bits hold.
    private static readonly Gen<ulong> Numbers = Gen.OneOf(
        Gen.Choose(0, 40).Select(n => (ulong)n * Page),
        Gen.Choose(0, 40 * 4096).Select(n => (ulong)n),
        Gen.Choose(0, 8200).Select(n => ulong.MaxValue - (ulong)n));

    private static readonly Gen<MapArea> Areas = Numbers.SelectMany(offset => Numbers.Select(size => new MapArea(offset, size)));

    [Fact]
    public void Of_SizeZero_MapsNothing() => Assert.Empty(RegionMapPlan.Of(0, true, null, [], Page));

    [Fact]
    public void Of_NotMappable_MapsNothing() => Assert.Empty(RegionMapPlan.Of(0x10000, false, [new(0, 0x1000)], [], Page));

    [Fact]
    public void Of_EmptySparseAreas_MapsNothing() => Assert.Empty(RegionMapPlan.Of(0x10000, true, [], [], Page));

    [Fact]
    public void Of_NothingExcluded_MapsTheWhole() => Assert.Equal([new MapArea(0, 0x100)], RegionMapPlan.Of(0x100, true, null, [], Page).ToArray());

    [Fact]
    public void Of_MsixTableInside_LeavesItsPageOut()
    {
        // An NVMe controller of QEMU: 16 KiB, the table at 0x2000 and the pending bits at 0x3000.
        var msix = new MsixLayout(65, 0, 0x2000, 0, 0x3000);

        Assert.Equal([new MapArea(0, 0x2000)], RegionMapPlan.Of(0x4000, true, null, RegionMapPlan.MsixAreas(msix, 0), Page).ToArray());
        Assert.Equal([new MapArea(0, 0x4000)], RegionMapPlan.Of(0x4000, true, null, RegionMapPlan.MsixAreas(msix, 1), Page).ToArray());
    }

    [Fact]
    public void Of_TableAcrossAPageBorder_LeavesBothPagesOut() =>
        Assert.Equal([new MapArea(0, 0x1000), new MapArea(0x3000, 0x1000)], RegionMapPlan.Of(0x4000, true, null, [new(0x1ff0, 0x20)], Page).ToArray());

    [Fact]
    public void Of_SparseAreasOverlappingAndOverrunning_AreCutAndMerged() =>
        Assert.Equal(
            [new MapArea(0x1000, 0x3000), new MapArea(0x8000, 0x2000)],
            RegionMapPlan.Of(0xa000, true, [new(0x8000, ulong.MaxValue), new(0x2000, 0x2000), new(0x1000, 0x1800), new(0xf000, 0x1000), new(0x6000, 0)], [], Page).ToArray());

    [Fact]
    public void Of_SparseAreaInsideAPage_IsNotMapped() => Assert.Empty(RegionMapPlan.Of(0x4000, true, [new(0x1800, 0x400)], [], Page));

    [Fact]
    public void Of_AnySparseAreas_StaysInsideThem() => Check((size, areas) =>
    {
        IReadOnlyList<MapArea> plan = RegionMapPlan.Of(size, true, areas, [], Page);
        IEnumerable<ulong> pages = Pages(size);
        return IsSound(plan, size) && pages.All(page =>
            Covers(plan, page, PageEnd(page, size)) == BytesOf(page, PageEnd(page, size)).All(at => areas.Any(area => at >= area.OffsetBytes && at - area.OffsetBytes < area.SizeBytes)));
    });

    [Fact]
    public void Of_AnyExclusions_MapsExactlyThePagesThatTheyDoNotTouch() => Check((size, areas) =>
    {
        IReadOnlyList<MapArea> plan = RegionMapPlan.Of(size, true, null, areas, Page);
        return IsSound(plan, size) && Pages(size).All(page =>
            Covers(plan, page, PageEnd(page, size)) != areas.Any(area => area.SizeBytes > 0 && area.OffsetBytes < PageEnd(page, size)
                && (area.OffsetBytes >= page || area.SizeBytes > page - area.OffsetBytes)));
    });

    private static void Check(Func<ulong, List<MapArea>, bool> holds) => Prop.ForAll(
        Gen.Choose(0, 30 * 4096).Select(n => (ulong)n).ToArbitrary(),
        Areas.ListOf().Select(list => list.Take(6).ToList()).ToArbitrary(),
        (size, areas) => holds(size, areas)).Check(Config.QuickThrowOnFailure.WithMaxTest(300));

    private static bool IsSound(IReadOnlyList<MapArea> plan, ulong size) =>
        plan.All(area => area.SizeBytes > 0 && area.OffsetBytes % Page == 0 && area.OffsetBytes < size && area.SizeBytes <= size - area.OffsetBytes
            && ((area.OffsetBytes + area.SizeBytes) % Page == 0 || area.OffsetBytes + area.SizeBytes == size))
        && plan.Zip(plan.Skip(1)).All(pair => pair.First.OffsetBytes + pair.First.SizeBytes < pair.Second.OffsetBytes);

    private static IEnumerable<ulong> Pages(ulong size)
    {
        for (ulong page = 0; page < size; page += Page)
        {
            yield return page;
        }
    }

    private static ulong PageEnd(ulong page, ulong size) => Math.Min(page + Page, size);

    // Area borders are where coverage changes; with borders at any byte, every byte counts.
    private static IEnumerable<ulong> BytesOf(ulong start, ulong end)
    {
        for (ulong at = start; at < end; at++)
        {
            yield return at;
        }
    }

    private static bool Covers(IReadOnlyList<MapArea> plan, ulong start, ulong end) =>
        plan.Any(area => area.OffsetBytes <= start && end - area.OffsetBytes <= area.SizeBytes);
}
