using AssignHub.Lab;

namespace AssignHub.Tests.Lab;

/// <summary>Processes in the lab that hold a file open.</summary>
internal static class Holders
{
    /// <summary>Starts a process that holds a file open, and gives its id.</summary>
    public static async Task<string> HoldAsync(this LabHost lab, string file) => (await lab.RunAsync($"""
        rm -f /run/holder.pid
        setsid bash -c 'exec 9<>{file}; echo $$ >/run/holder.pid; exec sleep 300' </dev/null >/dev/null 2>&1 &
        for i in $(seq 50); do [ -s /run/holder.pid ] && break; sleep 0.1; done
        cat /run/holder.pid
        """)).Trim();

    /// <summary>Waits until a process has ended.</summary>
    public static Task EndedAsync(this LabHost lab, string pid) => lab.RunAsync($"while kill -0 {pid} 2>/dev/null; do sleep 0.05; done");
}
