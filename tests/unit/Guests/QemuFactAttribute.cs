// Tests that start a real QEMU, without KVM and VFIO; skipped where it cannot be started.

namespace AssignHub.Tests.Unit.Guests;

/// <summary>A fact that needs QEMU, util-linux and root.</summary>
[AttributeUsage(AttributeTargets.Method)]
public sealed class QemuFactAttribute : FactAttribute
{
    private static readonly string[] Programs = ["qemu-system-x86_64", "setsid", "prlimit", "setpriv"];

    public QemuFactAttribute()
    {
        if (Array.Find(Programs, program => !IsInstalled(program)) is { } missing)
        {
            Skip = $"{missing} is not installed";
        }
        else if (Environment.UserName != "root")
        {
            Skip = "only root can start guests as users of their own";
        }
    }

    private static bool IsInstalled(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(directory => File.Exists(Path.Combine(directory, program)));
}
