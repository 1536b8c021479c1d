// docs/refusals.md names every code, and is what the code says.

using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Api;

public sealed class RefusalsPageTests
{
    public static TheoryData<ProblemCode> Codes => [.. Enum.GetValues<ProblemCode>()];

    [Theory]
    [MemberData(nameof(Codes))]
    public void Code_Any_HasAnExampleWithMessageAndRemedy(ProblemCode code)
    {
        Refusal[] examples = [.. RefusalsPage.Examples.Where(example => example.Code == code)];

        Assert.NotEmpty(examples);
        Assert.All(examples, example => Assert.DoesNotContain("", (string[])[example.Message, example.Remedy]));
    }

    [Fact]
    public void Page_Committed_IsCurrent()
    {
        string file = Path.Combine(OpenApiTests.Repository(), "docs/refusals.md");
        string generated = RefusalsPage.Write();
        if (Environment.GetEnvironmentVariable("ASSIGNHUB_WRITE_DOCS") is not null)
        {
            File.WriteAllText(file, generated);
        }

        Assert.True(File.ReadAllText(file) == generated, "docs/refusals.md is not current: ASSIGNHUB_WRITE_DOCS=1 tests/run api");
    }
}
