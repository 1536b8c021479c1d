// The doctor over HTTP and on the command line, on a host that can assign and on ones that cannot.

using System.Diagnostics;
using System.Text.Json.Nodes;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Api;

public sealed class DoctorTests : IDisposable
{
    private readonly SyntheticHost _host = SyntheticHost.Sample();

    public DoctorTests() => _host.MakeReady(Path.Combine(_host.SysfsRoot, "dev"));

    public void Dispose() => _host.Dispose();

    [Fact]
    public async Task Host_Rescanned_ShowsWhatChangedAndWhatToDo()
    {
        var hub = new Hub();
        await hub.InitializeAsync();
        try
        {
            (_, JsonNode? before) = await hub.SendAsync("GET", "/v1/host");
            Assert.False((bool)before!["canAssign"]!);
            Assert.Equal(("failed", true), Status(before, "vfio"));
            Assert.Equal(("warning", true), Status(before, "kvm"));

            hub.Host.MakeReady(Path.Combine(hub.Host.SysfsRoot, "dev"));
            (_, JsonNode? cached) = await hub.SendAsync("GET", "/v1/host");
            (_, JsonNode? after) = await hub.SendAsync("POST", "/v1/host/rescan");

            Assert.Equal(("warning", true), Status(cached!, "kvm"));
            Assert.Equal(("ok", false), Status(after!, "kvm"));
            Assert.Equal(("ok", false), Status(after!, "interruptRemapping"));
        }
        finally
        {
            await hub.DisposeAsync();
        }
    }

    [Fact]
    public async Task Command_ReadyHost_ExitsWithZeroAndSaysTheSameInBothForms()
    {
        string qemu = _host.WriteQemu(new Version(9, 0), hasIommufd: true);
        (int status, string text, _) = await RunAsync(qemu);
        (int jsonStatus, string json, _) = await RunAsync(qemu, "--json");
        JsonNode host = JsonNode.Parse(json)!;

        Assert.Equal((0, 0), (status, jsonStatus));
        Assert.EndsWith("synthetic can assign devices.\n", text, StringComparison.Ordinal);
        Assert.True((bool)host["canAssign"]!);
        Assert.Equal("iommufd", (string?)host["backend"]);
        Assert.All(host["checks"]!.AsArray(), check => Assert.Matches($"(?m)^{(string?)check!["status"],-7}  {(string?)check["name"]} +", text));
    }

    [Fact]
    public async Task Command_WithoutQemuAndRemapping_ExitsWithOneAndGivesTheRemedies()
    {
        _host.WriteSysfs("kernel/irq/24/chip_name", "PCI-MSI\n").WriteProc("cmdline", "intremap=off\n");
        (int status, string text, _) = await RunAsync("no-such-qemu");

        Assert.Equal(1, status);
        Assert.Contains("\nFAILED   qemu                no-such-qemu is not installed.\n         Install QEMU 7.2 or newer", text, StringComparison.Ordinal);
        Assert.Contains("\nFAILED   interruptRemapping  Interrupts are not remapped: the kernel refuses containers.\n         Take intremap=off out of", text, StringComparison.Ordinal);
        Assert.Matches("synthetic cannot assign devices: [0-9]+ checks failed\\.\n$", text);
    }

    [Fact]
    public async Task Command_HostThatCannotBeRead_ExitsWithTwo()
    {
        File.Delete(Path.Combine(_host.ProcRoot, "cmdline"));
        Directory.CreateDirectory(Path.Combine(_host.ProcRoot, "cmdline"));
        (int status, string text, string error) = await RunAsync("no-such-qemu");

        Assert.Equal((2, ""), (status, text));
        Assert.StartsWith("assignhub: read on", error, StringComparison.Ordinal);
    }

    private static (string? Status, bool HasRemedy) Status(JsonNode host, string name)
    {
        JsonNode check = host["checks"]!.AsArray().Single(check => (string?)check!["name"] == name)!;
        return ((string?)check["status"], check["remedy"] is not null);
    }

    private async Task<(int Status, string Text, string Error)> RunAsync(string qemu, params string[] options)
    {
        var start = new ProcessStartInfo(
            "dotnet", [Path.Combine(AppContext.BaseDirectory, "assignhub.dll"), "doctor", "--sysfs", _host.SysfsRoot, "--proc", _host.ProcRoot, "--data", _host.Folder, .. options])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        start.Environment["ASSIGNHUB__GUESTS__QEMU"] = qemu;
        using Process process = Process.Start(start)!;
        Task<string> error = process.StandardError.ReadToEndAsync();
        string text = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return (process.ExitCode, text, await error);
    }
}
