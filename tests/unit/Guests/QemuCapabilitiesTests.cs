// What QEMU's own answers mean for the choice of a backend.

using AssignHub.Engine.Guests;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Unit.Guests;

public sealed class QemuCapabilitiesTests
{
    private const string Version = """{"return": {"qemu": {"micro": 18, "minor": 2, "major": 7}, "package": "Debian"}, "id": "version"}""";
    private const string Devices = """{"return": [{"name": "vfio-pci"}], "id": "devices"}""";

    [Fact]
    public void Read_WithObjectAndDevice_HasBoth()
    {
        QemuReport? report = QemuCapabilities.Read("qemu",
            $"{{\"QMP\": {{}}}}\r\n{{\"return\": {{}}}}\r\n{Version}\r\n{{\"return\": [{{\"name\": \"rng-random\"}}, {{\"name\": \"iommufd\"}}], \"id\": \"objects\"}}\r\n{Devices}\r\n");

        Assert.Equal(new QemuReport("qemu") { Version = new Version(7, 2), HasIommufd = true, HasVfioPci = true }, report);
        Assert.Null(report!.ObjectionToIommufd);
    }

    [Fact]
    public void Read_WithoutTheObject_NamesTheVersion() => Assert.Equal("QEMU 7.2 has no iommufd object; 9.0 was the first with it",
        QemuCapabilities.Read("qemu", $"{Version}\n{{\"return\": [{{\"name\": \"rng-random\"}}], \"id\": \"objects\"}}\n{Devices}\n")!.ObjectionToIommufd);

    [Theory]
    [InlineData("")]
    [InlineData(Version)]
    public void Read_EndsEarly_IsNoAnswer(string answers) => Assert.Null(QemuCapabilities.Read("qemu", answers));

    [Fact]
    public void Report_ProgramMissing_NamesItAndHasNoPath()
    {
        QemuReport report = new QemuCapabilities("no-such-qemu").Report();

        Assert.Null(report.Path);
        Assert.Contains("no-such-qemu", report.ObjectionToIommufd, StringComparison.Ordinal);
    }

    [Fact]
    public void Report_Twice_AsksOnceUntilTheProgramIsAnother()
    {
        using var host = new SyntheticHost();
        string program = host.WriteQemu(new Version(9, 1), hasIommufd: true);
        var qemu = new QemuCapabilities(program);

        Assert.Equal(new QemuReport(program) { Path = program, Version = new Version(9, 1), HasIommufd = true, HasVfioPci = true }, qemu.Report());
        Assert.Equal(qemu.Report(), qemu.Report());
        Assert.Single(File.ReadAllLines(program + ".log"));
        host.WriteQemu(new Version(10, 0), hasIommufd: false);
        Assert.Equal(new Version(10, 0), qemu.Report().Version);
    }

    [QemuFact]
    public void Report_RealProgram_AnswersAndHasVfio()
    {
        QemuReport report = new QemuCapabilities("qemu-system-x86_64").Report();

        Assert.Null(report.Fault);
        Assert.True(report.Version >= new Version(7, 2), $"{report.Version}");
        Assert.True(report.HasVfioPci);
    }
}
