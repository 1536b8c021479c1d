using System.Diagnostics;

namespace AssignHub.Lab;

/// <summary>Runs a program of the machine to its end.</summary>
internal static class Tool
{
    /// <summary>Runs it and gives its standard output; fails with what it said if its status is not 0.</summary>
    public static async Task<string> RunAsync(string program, IEnumerable<string> arguments, CancellationToken cancel)
    {
        (int status, string output, string error) = await TryRunAsync(program, arguments, cancel).ConfigureAwait(false);
        return status == 0
            ? output
            : throw new LabException($"{program} {string.Join(' ', arguments)} ended with status {status}: {Last(error)} {Last(output)}");
    }

    /// <summary>Runs it and gives its status, standard output and standard error; status 127 if there is no such program.</summary>
    public static async Task<(int Status, string Output, string Error)> TryRunAsync(
        string program, IEnumerable<string> arguments, CancellationToken cancel)
    {
        if (Find(program) is not { } path)
        {
            return (127, "", $"{program}: not found");
        }

        var start = new ProcessStartInfo(path, arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["DEBIAN_FRONTEND"] = "noninteractive";
        start.Environment["LC_ALL"] = "C.UTF-8";
        using Process process = Process.Start(start) ?? throw new LabException($"{program} did not start");
        try
        {
            process.StandardInput.Close();
            Task<string> output = process.StandardOutput.ReadToEndAsync(cancel);
            Task<string> error = process.StandardError.ReadToEndAsync(cancel);
            await process.WaitForExitAsync(cancel).ConfigureAwait(false);
            return (process.ExitCode, await output.ConfigureAwait(false), await error.ConfigureAwait(false));
        }
        finally
        {
            if (!process.HasExited)
            {
                process.Kill(entireProcessTree: true);
            }
        }
    }

    /// <summary>Where a program is, looked for in PATH and in the system folders that a plain user's PATH lacks.</summary>
    public static string? Find(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Concat(["/usr/sbin", "/usr/bin", "/sbin", "/bin"])
            .Where(folder => folder.Length > 0)
            .Select(folder => Path.Combine(folder, program))
            .FirstOrDefault(File.Exists);

    private static string Last(string text)
    {
        string[] lines = text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        return string.Join("; ", lines.TakeLast(4));
    }
}
