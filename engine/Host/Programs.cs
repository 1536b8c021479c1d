// Where programs are, as the kernel's exec would find them by PATH.

namespace AssignHub.Engine.Host;

/// <summary>Looks programs up.</summary>
internal static class Programs
{
    /// <summary>The file of a program; null if there is none.</summary>
    /// <param name="program">Its name, or its file if it has a slash.</param>
    public static string? Find(string program) => program.Contains('/', StringComparison.Ordinal)
        ? File.Exists(program) ? program : null
        : (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(folder => Path.Combine(folder, program)).FirstOrDefault(File.Exists);
}
