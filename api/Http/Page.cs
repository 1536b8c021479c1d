// Lists: a page of items and the cursor of the next.

using System.Collections.Immutable;
using System.Globalization;

namespace AssignHub.Api.Http;

/// <summary>A page of a list.</summary>
/// <param name="Items">The items.</param>
/// <param name="Next">The <c>cursor</c> of the next page; null on the last.</param>
public sealed record Page<T>(ImmutableArray<T> Items, string? Next);

internal static class Pages
{
    private const int Most = 1000;

    /// <summary>The page that the request asks for (<c>limit</c>, <c>cursor</c>) of a list whose order does not change.</summary>
    /// <param name="request">The request.</param>
    /// <param name="all">All items, in order.</param>
    /// <param name="key">An item's place in the order, as the cursor has it.</param>
    public static Page<T> Of<T>(HttpRequest request, IEnumerable<T> all, Func<T, string> key)
    {
        int limit = (int)request.Number("limit", 100, 1, Most);
        string? cursor = request.Query["cursor"];
        ImmutableArray<T> rest = [.. cursor is null ? all : all.SkipWhile(item => key(item) != cursor).Skip(1)];
        return new Page<T>([.. rest.Take(limit)], rest.Length > limit ? key(rest[limit - 1]) : null);
    }

    /// <summary>A number filter of the query; null if absent.</summary>
    public static int? Filter(HttpRequest request, string name) => request.Query[name] is [{ } text]
        ? int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out int value) ? value : throw BadRequestException.Of(name, "has to be a whole number")
        : null;

    /// <summary>A yes-or-no filter of the query; null if absent.</summary>
    public static bool? Switch(HttpRequest request, string name) => request.Query.ContainsKey(name) ? request.Flag(name) : null;
}
