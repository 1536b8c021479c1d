// What QEMU's own answers mean for the choice of a backend.

using AssignHub.Engine.Guests;

namespace AssignHub.Tests.Unit.Guests;

public sealed class QemuCapabilitiesTests
{
    private const string Version = """{"return": {"qemu": {"micro": 18, "minor": 2, "major": 7}, "package": "Debian"}}""";

    [Fact]
    public void Read_WithTheObject_NoObjection() =>
        Assert.Equal((true, null), QemuCapabilities.Read($"{{\"QMP\": {{}}}}\r\n{{\"return\": {{}}}}\r\n{Version}\r\n{{\"return\": [{{\"name\": \"rng-random\"}}, {{\"name\": \"iommufd\"}}]}}\r\n"));

    [Fact]
    public void Read_WithoutTheObject_NamesTheVersion() =>
        Assert.Equal((true, "QEMU 7.2 has no iommufd object; 9.0 was the first with it"), QemuCapabilities.Read($"{Version}\n{{\"return\": [{{\"name\": \"rng-random\"}}]}}\n"));

    [Fact]
    public void Read_Nothing_IsNoAnswer() => Assert.Equal((false, null), QemuCapabilities.Read(""));

    [Fact]
    public void Objection_ProgramMissing_NamesIt() =>
        Assert.Contains("no-such-qemu", new QemuCapabilities("no-such-qemu").ObjectionToIommufd(), StringComparison.Ordinal);

    [QemuFact]
    public void Objection_RealProgram_AsksItAndGetsAnAnswer()
    {
        string? objection = new QemuCapabilities("qemu-system-x86_64").ObjectionToIommufd();
        Assert.True(objection is null || objection.StartsWith("QEMU ", StringComparison.Ordinal), objection);
        Assert.DoesNotContain("did not answer", objection ?? "", StringComparison.Ordinal);
    }
}
