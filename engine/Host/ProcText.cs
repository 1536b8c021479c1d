// The texts of /proc that say what the CPU has and what this process may (proc(5)). Pure.

using System.Globalization;

namespace AssignHub.Engine.Host;

/// <summary>Parses them.</summary>
internal static class ProcText
{
    /// <summary>Reads one CPU of <c>/proc/cpuinfo</c>: <c>vendor_id : GenuineIntel</c>, <c>flags : fpu vme … vmx</c>. Other architectures have neither.</summary>
    public static (string? Vendor, string? Virtualization, bool IsVirtualMachine) ParseCpu(IEnumerable<string> lines)
    {
        string? vendor = null;
        string? virtualization = null;
        bool virtualMachine = false;
        foreach (string line in lines)
        {
            int colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon < 0)
            {
                continue;
            }

            string value = line[(colon + 1)..].Trim();
            switch (line[..colon].Trim())
            {
                case "vendor_id":
                    vendor = value;
                    break;
                case "flags":
                    string[] flags = value.Split(' ');
                    virtualization = flags.FirstOrDefault(flag => flag is "vmx" or "svm");
                    virtualMachine = flags.Contains("hypervisor");
                    break;
            }
        }

        return (vendor, virtualization, virtualMachine);
    }

    /// <summary>The effective capabilities in a <c>status</c> file: <c>CapEff:	000001ffffffffff</c>.</summary>
    public static ulong? ParseCapabilities(string status) =>
        Line(status, "CapEff:") is { } line && ulong.TryParse(line, NumberStyles.HexNumber, CultureInfo.InvariantCulture, out ulong capabilities) ? capabilities : null;

    /// <summary>The hard limit in a <c>limits</c> file: <c>Max locked memory         8388608              unlimited            bytes</c>.</summary>
    public static long? ParseMemoryLock(string limits) =>
        Line(limits, "Max locked memory")?.Split(' ', StringSplitOptions.RemoveEmptyEntries) is not [_, var hard, ..] ? null
        : hard == "unlimited" ? long.MaxValue
        : long.TryParse(hard, NumberStyles.None, CultureInfo.InvariantCulture, out long bytes) ? bytes : null;

    private static string? Line(string text, string name)
    {
        foreach (ReadOnlySpan<char> line in text.AsSpan().EnumerateLines())
        {
            if (line.StartsWith(name, StringComparison.Ordinal))
            {
                return line[name.Length..].Trim().ToString();
            }
        }

        return null;
    }
}
