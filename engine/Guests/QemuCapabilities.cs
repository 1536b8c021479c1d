// What a QEMU program can do, asked of the program itself over QMP, once a binary.

using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json;

namespace AssignHub.Engine.Guests;

/// <summary>Asks QEMU for its version and its objects, and remembers what it answered until the file is another.</summary>
/// <param name="program">QEMU's file or name.</param>
public sealed class QemuCapabilities(string program)
{
    private const string DeadlineSeconds = "20";

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
            if (_asked.Identity == identity)
            {
                return _asked.Objection;
            }

            (bool answered, string? objection) = Ask();
            if (answered)
            {
                _asked = (identity, objection);
            }

            return objection;
        }
    }

    private (bool Answered, string? Objection) Ask()
    {
        try
        {
            using Process qemu = Process.Start(new ProcessStartInfo(
                "timeout", [DeadlineSeconds, program, "-machine", "none", "-nodefaults", "-no-user-config", "-display", "none", "-S", "-qmp", "stdio"])
            {
                RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false,
            })!;
            string words = "";
            qemu.ErrorDataReceived += (_, line) => words += line.Data;
            qemu.BeginErrorReadLine();
            qemu.StandardInput.Write(Questions);
            qemu.StandardInput.Close();
            string answers = qemu.StandardOutput.ReadToEnd();
            qemu.WaitForExit();
            return Read(answers) is (true, var objection) ? (true, objection) : (false, $"{program} did not answer: {words}");
        }
        catch (Exception error) when (error is Win32Exception or IOException or JsonException)
        {
            return (false, $"{program} could not be asked: {error.Message}");
        }
    }

    /// <summary>Whether QEMU answered, one JSON object a line, and the objection that its answers give.</summary>
    internal static (bool Answered, string? Objection) Read(string answers)
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
                    return (true, null);
                }
            }
            else if (result.TryGetProperty("qemu", out JsonElement number))
            {
                version = $"{number.GetProperty("major").GetInt32()}.{number.GetProperty("minor").GetInt32()}";
            }
        }

        return (answered, answered ? $"QEMU {version} has no iommufd object; 9.0 was the first with it" : null);
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
