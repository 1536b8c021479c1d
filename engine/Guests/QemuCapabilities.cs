// What a QEMU program can do, asked of the program itself over QMP, once a binary.

using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json;

namespace AssignHub.Engine.Guests;

/// <summary>Asks QEMU for its version and its objects, and remembers the answer until the file is another.</summary>
/// <param name="program">QEMU's file or name.</param>
public sealed class QemuCapabilities(string program)
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

    // One conversation; QEMU answers each line and ends at the last.
    private const string Questions = """
        {"execute":"qmp_capabilities"}
        {"execute":"query-version"}
        {"execute":"qom-list-types","arguments":{"implements":"user-creatable"}}
        {"execute":"quit"}

        """;

    private readonly Lock _gate = new();
    private (string Identity, string? Objection) _asked;

    /// <summary>Why guests cannot get open iommufd and device files (<c>-object iommufd</c>); null if they can.</summary>
    public string? ObjectionToIommufd()
    {
        string identity = Identity();
        lock (_gate)
        {
            if (_asked.Identity != identity)
            {
                _asked = (identity, Ask());
            }

            return _asked.Objection;
        }
    }

    private string? Ask()
    {
        try
        {
            using Process qemu = Process.Start(new ProcessStartInfo(
                program, ["-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S", "-qmp", "stdio"])
            {
                RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
            })!;
            using var timer = new Timer(_ => qemu.Kill(), null, Deadline, Timeout.InfiniteTimeSpan);
            qemu.ErrorDataReceived += (_, _) => { };
            qemu.BeginErrorReadLine();
            qemu.StandardInput.Write(Questions);
            qemu.StandardInput.Close();
            string answers = qemu.StandardOutput.ReadToEnd();
            qemu.WaitForExit();
            return Read(answers);
        }
        catch (Exception error) when (error is Win32Exception or IOException or JsonException)
        {
            return $"{program} could not be asked: {error.Message}";
        }
    }

    /// <summary>The objection that QEMU's answers give, one JSON object a line.</summary>
    internal static string? Read(string answers)
    {
        string version = "of an unknown version";
        bool answered = false;
        foreach (string line in answers.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            using JsonDocument answer = JsonDocument.Parse(line);
            if (!answer.RootElement.TryGetProperty("return", out JsonElement result))
            {
                continue;
            }

            if (result.ValueKind == JsonValueKind.Array)
            {
                answered = true;
                if (result.EnumerateArray().Any(type => type.GetProperty("name").GetString() == "iommufd"))
                {
                    return null;
                }
            }
            else if (result.TryGetProperty("qemu", out JsonElement number))
            {
                version = $"{number.GetProperty("major").GetInt32()}.{number.GetProperty("minor").GetInt32()}";
            }
        }

        return answered ? $"QEMU {version} has no iommufd object; 9.0 was the first with it" : "QEMU did not answer";
    }

    // A program that is upgraded in place is asked again.
    private string Identity()
    {
        string? file = program.Contains('/', StringComparison.Ordinal)
            ? program
            : (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
        var info = new FileInfo(file ?? program);
        return info.Exists ? $"{info.FullName} {info.Length} {info.LastWriteTimeUtc:O}" : "none";
    }
}
