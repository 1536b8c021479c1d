// A line of the benchmark's report.

using System.Globalization;

namespace AssignHub.Bench;

internal static class Figure
{
    public static void Print(string what, double value, string unit, string bar) =>
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what,-62} {value,10:0.00} {unit,-3} {bar,14}"));

    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[sorted.Length / 2 - 1] + sorted[sorted.Length / 2]) / 2;
    }
}
