// The committed openapi.yaml is what the code generates.

using System.Runtime.CompilerServices;

namespace AssignHub.Tests.Api;

public sealed class OpenApiTests(Hub hub) : IClassFixture<Hub>
{
    [Fact]
    public async Task Document_Committed_IsCurrent()
    {
        string generated = await hub.Client.GetStringAsync("/openapi.yaml");
        string committed = await File.ReadAllTextAsync(Path.Combine(Repository(), "openapi.yaml"));

        Assert.True(committed == generated, "openapi.yaml is not current: dotnet run --project api -- openapi > openapi.yaml");
    }

    [Fact]
    public void Document_Read_HasNoErrors()
    {
        (_, Microsoft.OpenApi.Reader.OpenApiDiagnostic? read) = Microsoft.OpenApi.OpenApiDocument.Parse(OpenApiFile.Committed.Root.ToJsonString(), "json");

        Assert.Empty(read!.Errors);
        Assert.Empty(read.Warnings);
        Assert.InRange(OpenApiFile.Committed.Operations.Count(), 42, 200);
    }

    [Fact]
    public void Document_EveryOperation_SaysWhatItIs()
    {
        Assert.All(OpenApiFile.Committed.Operations, operation =>
        {
            Assert.All((string[])["operationId", "summary", "description"], field => Assert.False(string.IsNullOrWhiteSpace((string?)operation.Text[field]), $"{operation.Id} has no {field}"));
            Assert.Single(operation.Text["tags"]!.AsArray());
        });
        Assert.Equal(OpenApiFile.Committed.Operations.Count(), OpenApiFile.Committed.Operations.DistinctBy(operation => operation.Id).Count());
    }

    internal static string Repository([CallerFilePath] string file = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "../.."));
}
