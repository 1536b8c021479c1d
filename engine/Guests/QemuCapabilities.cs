// What a QEMU program can do, asked of the program itself over QMP, once a binary.

using System.ComponentModel;
using System.Diagnostics;
using System.Text.Json;
using AssignHub.Engine.Host;

namespace AssignHub.Engine.Guests;

/// <summary>Asks QEMU for its version, its objects and its devices, and remembers what it answered until the file is another.</summary>
/// <param name="program">QEMU's file or name.</param>
public sealed class QemuCapabilities(string program)
{
    private const string DeadlineSeconds = "20";

    // One conversation; QEMU answers each line, with the id that it has, and ends at the last.
    private const string Questions = """
        {"execute":"qmp_capabilities"}
        {"execute":"query-version","id":"version"}
        {"execute":"qom-list-types","arguments":{"implements":"user-creatable"},"id":"objects"}
        {"execute":"qom-list-types","arguments":{"implements":"pci-device"},"id":"devices"}
        {"execute":"quit"}

        """;

    private readonly Lock _gate = new();
    private (string Identity, QemuReport Report)? _asked;

    /// <summary>What it says of itself.</summary>
    public QemuReport Report()
    {
        if (Programs.Find(program) is not { } file)
        {
            return new QemuReport(program) { Fault = $"{program} is not installed" };
        }

        // A program that is upgraded in place is asked again.
        var info = new FileInfo(file);
        string identity = $"{info.FullName} {info.Length} {info.LastWriteTimeUtc:O}";
        lock (_gate)
        {
            if (_asked is { } before && before.Identity == identity)
            {
                return before.Report;
            }

            QemuReport report = Ask() with { Path = file };
            if (report.Fault is null)
            {
                _asked = (identity, report);
            }

            return report;
        }
    }

    private QemuReport Ask()
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
            return Read(program, answers) ?? new QemuReport(program) { Fault = $"{program} did not answer: {words}" };
        }
        catch (Exception error) when (error is Win32Exception or IOException or JsonException)
        {
            return new QemuReport(program) { Fault = $"{program} could not be asked: {error.Message}" };
        }
    }

    /// <summary>What QEMU's answers say, one JSON object a line; null if the last of them is missing.</summary>
    internal static QemuReport? Read(string program, string answers)
    {
        var report = new QemuReport(program);
        bool answered = false;
        foreach (string line in answers.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries))
        {
            using JsonDocument answer = JsonDocument.Parse(line);
            if (!answer.RootElement.TryGetProperty("return", out JsonElement result) || !answer.RootElement.TryGetProperty("id", out JsonElement id))
            {
                continue;
            }

            switch (id.GetString())
            {
                case "version":
                    report = report with { Version = VersionOf(result.GetProperty("qemu")) };
                    break;
                case "objects":
                    report = report with { HasIommufd = Names(result, "iommufd") };
                    break;
                case "devices":
                    report = report with { HasVfioPci = Names(result, "vfio-pci") };
                    answered = true;
                    break;
            }
        }

        return answered ? report : null;
    }

    private static Version VersionOf(JsonElement qemu) => new(qemu.GetProperty("major").GetInt32(), qemu.GetProperty("minor").GetInt32());

    private static bool Names(JsonElement types, string name) => types.EnumerateArray().Any(type => type.GetProperty("name").GetString() == name);
}
