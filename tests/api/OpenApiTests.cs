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
    public async Task Document_EveryOperation_HasIdSummaryAndTag()
    {
        string document = await hub.Client.GetStringAsync("/openapi.yaml");
        int operations = ((string[])["get", "post", "put", "delete"]).Sum(verb => document.Split($"\n    {verb}:").Length - 1);

        Assert.Equal(operations, document.Split("\n      operationId: ").Length - 1);
        Assert.Equal(operations, document.Split("\n      summary: ").Length - 1);
        Assert.Equal(operations, document.Split("\n      tags:").Length - 1);
    }

    private static string Repository([CallerFilePath] string file = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "../.."));
}
