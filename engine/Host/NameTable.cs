// Strings that a thousand devices share (drivers, reset methods, domain types), each kept once.

using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Text;

namespace AssignHub.Engine.Host;

/// <summary>Turns the kernel's bytes into shared strings. Safe to use from several threads.</summary>
internal sealed class NameTable
{
    private const int Longest = 128;
    private readonly ConcurrentDictionary<string, string> _names = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, ImmutableArray<string>> _lists = new(StringComparer.Ordinal);

    /// <summary>The string of these bytes.</summary>
    public string Get(ReadOnlySpan<byte> text)
    {
        if (text.Length > Longest)
        {
            return Encoding.UTF8.GetString(text);
        }

        Span<char> chars = stackalloc char[Longest];
        chars = chars[..Encoding.UTF8.GetChars(text, chars)];
        ConcurrentDictionary<string, string>.AlternateLookup<ReadOnlySpan<char>> lookup = _names.GetAlternateLookup<ReadOnlySpan<char>>();
        if (lookup.TryGetValue(chars, out string? known))
        {
            return known;
        }

        string name = chars.ToString();
        return _names.GetOrAdd(name, name);
    }

    /// <summary>The words of these bytes, which spaces separate.</summary>
    public ImmutableArray<string> GetWords(ReadOnlySpan<byte> text) =>
        text.IsEmpty ? [] : _lists.GetOrAdd(Get(text), static line => [.. line.Split(' ', StringSplitOptions.RemoveEmptyEntries)]);
}
