namespace AssignHub.Lab;

/// <summary>The machine's own package sources: read from its apt files, so that no mirror's name stands anywhere else.</summary>
internal sealed record AptSource(string[] Uris, string[] Suites, string[] Components, IReadOnlyList<string> OtherLines)
{
    /// <summary>All binary sources of the machine, from the one-line files and the deb822 ones.</summary>
    public static List<AptSource> ReadAll(string etcApt = "/etc/apt")
    {
        List<AptSource> sources = [];
        string parts = Path.Combine(etcApt, "sources.list.d");
        string[] files = Directory.Exists(parts) ? [.. Directory.GetFiles(parts).Order(StringComparer.Ordinal)] : [];
        foreach (string file in files.Prepend(Path.Combine(etcApt, "sources.list")).Where(File.Exists))
        {
            string text = File.ReadAllText(file);
            if (file.EndsWith(".sources", StringComparison.Ordinal))
            {
                sources.AddRange(ParseDeb822(text));
            }
            else if (file.EndsWith(".list", StringComparison.Ordinal))
            {
                sources.AddRange(text.Split('\n').Select(ParseOneLine).OfType<AptSource>());
            }
        }

        return sources;
    }

    /// <summary>The stanzas of a file such as <c>debian.sources</c>.</summary>
    public static IEnumerable<AptSource> ParseDeb822(string text)
    {
        foreach (string stanza in text.ReplaceLineEndings("\n").Split("\n\n", StringSplitOptions.RemoveEmptyEntries))
        {
            Dictionary<string, string> fields = new(StringComparer.OrdinalIgnoreCase);
            string? field = null;
            foreach (string line in stanza.Split('\n').Where(line => line.Length > 0 && line[0] != '#'))
            {
                int colon = line.IndexOf(':', StringComparison.Ordinal);
                if (char.IsWhiteSpace(line[0]) && field is not null)
                {
                    fields[field] += "\n" + line;
                }
                else if (colon > 0)
                {
                    field = line[..colon];
                    fields[field] = line[(colon + 1)..].Trim();
                }
            }

            bool enabled = !fields.TryGetValue("Enabled", out string? value) || !value.Equals("no", StringComparison.OrdinalIgnoreCase);
            if (enabled && Words(fields, "Types").Contains("deb") && Words(fields, "URIs").Length > 0)
            {
                string[] own = ["Types", "URIs", "Suites", "Components", "Enabled"];
                yield return new AptSource(
                    Words(fields, "URIs"),
                    Words(fields, "Suites"),
                    Words(fields, "Components"),
                    [.. fields.Where(f => !own.Contains(f.Key, StringComparer.OrdinalIgnoreCase)).Select(f => $"{f.Key}: {f.Value}")]);
            }
        }
    }

    /// <summary>A line such as <c>deb [signed-by=/usr/share/keyrings/a.gpg] http://mirror/debian trixie main</c>.</summary>
    public static AptSource? ParseOneLine(string line)
    {
        string rest = line.Split('#')[0].Trim();
        if (!rest.StartsWith("deb ", StringComparison.Ordinal) && !rest.StartsWith("deb\t", StringComparison.Ordinal))
        {
            return null;
        }

        rest = rest[4..].TrimStart();
        List<string> options = [];
        if (rest.StartsWith('[') && rest.IndexOf(']', StringComparison.Ordinal) is var end and > 0)
        {
            foreach (string option in rest[1..end].Split(' ', StringSplitOptions.RemoveEmptyEntries))
            {
                // Only these have another spelling in deb822 than the option's own name.
                string[] pair = option.Split('=', 2);
                string name = pair[0] switch { "arch" => "Architectures", "lang" => "Languages", var other => other };
                options.Add($"{name}: {pair[^1].Replace(',', ' ')}");
            }

            rest = rest[(end + 1)..];
        }

        string[] words = rest.Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        return words.Length >= 2 ? new AptSource([words[0]], [words[1]], words[2..], options) : null;
    }

    public string ToDeb822() =>
        string.Join('\n', [
            "Types: deb", $"URIs: {string.Join(' ', Uris)}", $"Suites: {string.Join(' ', Suites)}",
            $"Components: {string.Join(' ', Components)}", .. OtherLines, "\n"]);

    private static string[] Words(Dictionary<string, string> fields, string name) =>
        fields.TryGetValue(name, out string? value) ? value.Split([' ', '\t', '\n'], StringSplitOptions.RemoveEmptyEntries) : [];
}
