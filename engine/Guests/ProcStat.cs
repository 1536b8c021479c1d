// Reads /proc/PID/stat and /proc/PID/status (proc_pid_stat(5), proc_pid_status(5)): who a process is, and whether it lives.

using System.Globalization;

namespace AssignHub.Engine.Guests;

/// <summary>What <c>/proc/PID/stat</c> says of a process.</summary>
/// <param name="Pid">Field 1.</param>
/// <param name="Command">Field 2, up to 15 characters, whatever the process chose.</param>
/// <param name="State">Field 3.</param>
/// <param name="StartTime">Field 22, in clock ticks since boot.</param>
public sealed record ProcStat(int Pid, string Command, char State, ulong StartTime)
{
    /// <summary>Whether it still runs: a zombie (<c>Z</c>) or dead one (<c>X</c>) holds nothing any more.</summary>
    public bool IsAlive => State is not ('Z' or 'X' or 'x');

    /// <summary>
    /// Reads the line: <c>1234 (a (b) c) S 1 1234 …</c>. The command may hold spaces and parentheses, so the last closing one ends it.
    /// </summary>
    public static ProcStat? Parse(ReadOnlySpan<char> line)
    {
        int open = line.IndexOf('(');
        int close = line.LastIndexOf(')');
        if (open < 1 || close < open || !int.TryParse(line[..open].Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out int pid))
        {
            return null;
        }

        // Fields 3 to 22: the state is the first of them and the start time the twentieth.
        ReadOnlySpan<char> rest = line[(close + 1)..].Trim();
        Span<Range> fields = stackalloc Range[21];
        return rest.Split(fields, ' ') > 19
            && ulong.TryParse(rest[fields[19]], NumberStyles.None, CultureInfo.InvariantCulture, out ulong start)
            ? new ProcStat(pid, line[(open + 1)..close].ToString(), rest[0], start)
            : null;
    }

    /// <summary>Reads a process, or null if there is none of that id.</summary>
    /// <param name="procRoot">Usually <c>/proc</c>.</param>
    /// <param name="pid">The process.</param>
    public static ProcStat? Read(string procRoot, int pid) =>
        ReadFile(procRoot, pid.ToString(CultureInfo.InvariantCulture), "stat") is { } text ? Parse(text) : null;

    /// <summary>All living processes that run as a user, by their effective uid.</summary>
    /// <param name="procRoot">Usually <c>/proc</c>.</param>
    /// <param name="uid">The user.</param>
    public static IEnumerable<ProcStat> OfUser(string procRoot, uint uid)
    {
        foreach (string directory in Directory.EnumerateDirectories(procRoot))
        {
            if (int.TryParse(Path.GetFileName(directory), NumberStyles.None, CultureInfo.InvariantCulture, out int pid)
                && ReadFile(procRoot, Path.GetFileName(directory), "status") is { } status && ParseUid(status) == uid
                && Read(procRoot, pid) is { IsAlive: true } stat)
            {
                yield return stat;
            }
        }
    }

    /// <summary>The effective uid in a <c>status</c> file: the second number of <c>Uid:	1000	1000	1000	1000</c>.</summary>
    public static uint? ParseUid(ReadOnlySpan<char> status)
    {
        foreach (ReadOnlySpan<char> line in status.EnumerateLines())
        {
            if (line.StartsWith("Uid:", StringComparison.Ordinal))
            {
                Span<Range> fields = stackalloc Range[5];
                return line.Split(fields, '\t') > 2 && uint.TryParse(line[fields[2]], NumberStyles.None, CultureInfo.InvariantCulture, out uint uid)
                    ? uid
                    : null;
            }
        }

        return null;
    }

    private static string? ReadFile(string procRoot, string pid, string file)
    {
        try
        {
            return File.ReadAllText(Path.Combine(procRoot, pid, file));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException || IsGone(e))
        {
            return null;
        }
    }

    // A process that ends between open and read answers ESRCH, which .NET gives as an IOException with the number in its HResult.
    private static bool IsGone(Exception e) => e is IOException && e.HResult == Libc.ESRCH;
}
