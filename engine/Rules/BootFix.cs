// The exact change of the kernel command line, per distribution and boot loader. Pure.

using System.Collections.Immutable;
using AssignHub.Engine.Host;

namespace AssignHub.Engine.Rules;

/// <summary>Says how parameters come onto the kernel command line, and off it.</summary>
public static class BootFix
{
    /// <summary>What to do, in words and commands that can be copied.</summary>
    /// <param name="distribution">The distribution.</param>
    /// <param name="loader">What sets the command line.</param>
    /// <param name="add">Parameters to add.</param>
    /// <param name="remove">Parameters to take away, as they stand there now.</param>
    public static string For(Distribution distribution, BootLoader loader, ImmutableArray<string> add, ImmutableArray<string> remove)
    {
        ArgumentNullException.ThrowIfNull(distribution);
        if (distribution.Is("nixos"))
        {
            return $"{Edit("boot.kernelParams in /etc/nixos/configuration.nix", add, remove)}, then: nixos-rebuild boot && reboot";
        }

        // Pop!_OS writes the entries of systemd-boot with a tool of its own.
        if (distribution.Id == "pop" && loader != BootLoader.Grub)
        {
            return $"Run: kernelstub{Option("--add-options", add)}{Option("--delete-options", remove)} && reboot";
        }

        return loader switch
        {
            BootLoader.Grub => $"{Edit("GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub", add, remove)}, then: {UpdateGrub(distribution)} && reboot",
            BootLoader.Grubby => $"Run: grubby --update-kernel=ALL{Option("--args", add, '=')}{Option("--remove-args", remove, '=')} && reboot",
            BootLoader.RpmOstree => "Run: rpm-ostree kargs"
                + string.Concat(add.Select(parameter => $" --append-if-missing={parameter}"))
                + string.Concat(remove.Select(parameter => $" --delete-if-present={parameter}")) + " && systemctl reboot",
            BootLoader.KernelInstall => $"{Edit("/etc/kernel/cmdline (if it is not there yet, begin with what /proc/cmdline says)", add, remove)}, then: "
                + $"{WriteEntries(distribution)} && reboot",
            BootLoader.SystemdBoot =>
                $"{Edit("the options line of the boot entry (loader/entries on the EFI system partition; bootctl list names the file)", add, remove)}, then: reboot",
            BootLoader.ProxmoxBootTool => $"{Edit("/etc/kernel/cmdline", add, remove)}, then: proxmox-boot-tool refresh && reboot",
            _ => $"{Edit("the kernel command line in the boot loader's configuration", add, remove)}, then: reboot",
        };
    }

    private static string UpdateGrub(Distribution distribution) =>
        distribution.Is("debian", "ubuntu") ? "update-grub"
        : distribution.Is("suse", "opensuse", "fedora", "rhel") ? "grub2-mkconfig -o /boot/grub2/grub.cfg"
        : "grub-mkconfig -o /boot/grub/grub.cfg";

    // Debian's hook for each kernel runs kernel-install too, and is older than kernel-install's add-all.
    private static string WriteEntries(Distribution distribution) =>
        distribution.Is("debian", "ubuntu") ? "dpkg-reconfigure linux-image-$(uname -r)"
        : distribution.Is("suse", "opensuse") ? "sdbootutil update-all-entries"
        : "kernel-install add-all";

    private static string Edit(string place, ImmutableArray<string> add, ImmutableArray<string> remove)
    {
        string? taken = remove.IsEmpty ? null : $"{string.Join(' ', remove)} out of {place}";
        return add.IsEmpty ? $"Take {taken}" : $"Add {string.Join(' ', add)} to {place}{(taken is null ? "" : $" and take {string.Join(' ', remove)} out")}";
    }

    private static string Option(string name, ImmutableArray<string> parameters, char separator = ' ') =>
        parameters.IsEmpty ? "" : $" {name}{separator}\"{string.Join(' ', parameters)}\"";
}
