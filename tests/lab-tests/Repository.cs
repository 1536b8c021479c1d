using System.Runtime.CompilerServices;

namespace AssignHub.Tests.Lab;

/// <summary>Where things are in the checkout.</summary>
internal static class Repository
{
    /// <summary>The service, as tests/run published it.</summary>
    public static string Service => Path.Combine(Root(), "artifacts/assignhub/assignhub");

    private static string Root([CallerFilePath] string file = "") => Path.GetFullPath(Path.Combine(Path.GetDirectoryName(file)!, "../.."));
}
