// One metric as it adds up: a counter or a histogram for each set of labels.

using System.Collections.Concurrent;
using System.Globalization;
using System.Text;

namespace AssignHub.Api.Metrics;

/// <summary>Adds measurements up and writes them as Prometheus reads them.</summary>
/// <param name="name">The name on the page.</param>
/// <param name="help">What it is.</param>
/// <param name="bounds">The histogram's upper bounds; null for a counter.</param>
/// <param name="labels">The tags that become labels; others are left out, so that nobody makes the page grow without end.</param>
internal sealed class Series(string name, string help, double[]? bounds, string[] labels)
{
    private readonly ConcurrentDictionary<string, Cell> _cells = new(StringComparer.Ordinal);

    /// <summary>Takes a measurement in.</summary>
    public void Record(double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        Cell cell = _cells.GetOrAdd(LabelsOf(tags), static (_, size) => new Cell(size), bounds?.Length ?? 0);
        lock (cell)
        {
            cell.Count++;
            cell.Sum += value;
            for (int i = 0; i < cell.Buckets.Length; i++)
            {
                if (value <= bounds![i])
                {
                    cell.Buckets[i]++;
                    break;
                }
            }
        }
    }

    /// <summary>Writes it.</summary>
    public void Write(StringBuilder page)
    {
        page.Append(CultureInfo.InvariantCulture, $"# HELP {name} {help}\n# TYPE {name} {(bounds is null ? "counter" : "histogram")}\n");
        foreach ((string key, Cell cell) in _cells.OrderBy(cell => cell.Key, StringComparer.Ordinal))
        {
            lock (cell)
            {
                if (bounds is null)
                {
                    page.Append(CultureInfo.InvariantCulture, $"{name}{{{key}}} {cell.Sum}\n");
                    continue;
                }

                long below = 0;
                for (int i = 0; i < bounds.Length; i++)
                {
                    below += cell.Buckets[i];
                    page.Append(CultureInfo.InvariantCulture, $"{name}_bucket{{{key},le=\"{bounds[i]}\"}} {below}\n");
                }

                page.Append(CultureInfo.InvariantCulture,
                    $"{name}_bucket{{{key},le=\"+Inf\"}} {cell.Count}\n{name}_sum{{{key}}} {cell.Sum}\n{name}_count{{{key}}} {cell.Count}\n");
            }
        }
    }

    /// <summary>A label's value as the page has it.</summary>
    public static string Escape(string value) => value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal).Replace("\n", "\\n", StringComparison.Ordinal);

    private string LabelsOf(ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        var key = new StringBuilder();
        foreach (string label in labels)
        {
            string value = "";
            foreach ((string tag, object? given) in tags)
            {
                value = tag == label ? Convert.ToString(given, CultureInfo.InvariantCulture) ?? "" : value;
            }

            key.Append(key.Length == 0 ? "" : ",").Append(label.Replace('.', '_')).Append("=\"").Append(Escape(value)).Append('"');
        }

        return key.ToString();
    }

    private sealed class Cell(int buckets)
    {
        public long Count { get; set; }
        public double Sum { get; set; }
        public long[] Buckets { get; } = new long[buckets];
    }
}
