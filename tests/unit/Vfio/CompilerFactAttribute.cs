// A test that needs a C compiler and the kernel's headers; skipped, with the reason, where they are not installed.

namespace AssignHub.Tests.Unit.Vfio;

[AttributeUsage(AttributeTargets.Method)]
internal sealed class CompilerFactAttribute : FactAttribute
{
    public CompilerFactAttribute()
    {
        if (Compiler is null)
        {
            Skip = "no C compiler (cc or gcc) on PATH";
        }
        else if (!File.Exists("/usr/include/linux/vfio.h"))
        {
            Skip = "no <linux/vfio.h>: install the kernel's user-space headers (linux-libc-dev)";
        }
    }

    public static string? Compiler { get; } = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
        .SelectMany(folder => new[] { Path.Combine(folder, "cc"), Path.Combine(folder, "gcc") })
        .FirstOrDefault(File.Exists);
}
