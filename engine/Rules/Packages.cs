// What distributions call the packages that AssignHub stands on. Pure.

using AssignHub.Engine.Host;

namespace AssignHub.Engine.Rules;

/// <summary>Says how to install something.</summary>
public static class Packages
{
    /// <summary>QEMU for x86-64.</summary>
    public static string Qemu(Distribution distribution)
    {
        ArgumentNullException.ThrowIfNull(distribution);
        return distribution.Is("debian", "ubuntu") ? "Run: apt install qemu-system-x86"
            // Enterprise Linux has one QEMU, outside of PATH.
            : distribution.Is("rhel", "centos") || distribution.Id == "ol"
                ? "Run: dnf install qemu-kvm, and set ASSIGNHUB__GUESTS__QEMU=/usr/libexec/qemu-kvm"
            : distribution.Is("fedora") ? "Run: dnf install qemu-system-x86"
            : distribution.Is("suse", "opensuse") ? "Run: zypper install qemu-x86"
            : distribution.Is("arch") ? "Run: pacman -S qemu-system-x86"
            : distribution.Is("alpine") ? "Run: apk add qemu-system-x86_64"
            : distribution.Is("gentoo") ? "Run: emerge app-emulation/qemu"
            : distribution.Is("nixos") ? "Add pkgs.qemu_kvm to environment.systemPackages, then: nixos-rebuild switch"
            : "Install QEMU 7.2 or newer for x86-64, and name it with ASSIGNHUB__GUESTS__QEMU if it is not in PATH as qemu-system-x86_64.";
    }

    /// <summary>The kernel's VFIO.</summary>
    public static string Vfio(Distribution distribution, string kernelRelease)
    {
        ArgumentNullException.ThrowIfNull(distribution);
        string how = distribution.Is("ubuntu") ? $"Run: apt install linux-modules-extra-{kernelRelease}"
            : distribution.Is("debian") ? "Run: apt install linux-image-amd64 && reboot"
            : distribution.Is("fedora", "rhel", "centos") ? $"Run: dnf install kernel-modules-{kernelRelease}"
            : distribution.Is("suse", "opensuse") ? "Run: zypper install kernel-default && reboot"
            : distribution.Is("arch") ? "Run: pacman -S linux && reboot"
            : distribution.Is("alpine") ? "Run: apk add linux-lts && reboot"
            : $"Install the module for {kernelRelease}, or a kernel with CONFIG_VFIO_PCI.";
        return $"If the kernel was just upgraded, reboot into the new one. {how}";
    }

    /// <summary>The programs that start guests and load modules.</summary>
    public static string Programs(Distribution distribution)
    {
        ArgumentNullException.ThrowIfNull(distribution);
        return distribution.Is("debian", "ubuntu") ? "Run: apt install util-linux kmod"
            : distribution.Is("fedora", "rhel", "centos") ? "Run: dnf install util-linux kmod"
            : distribution.Is("suse", "opensuse") ? "Run: zypper install util-linux kmod"
            : distribution.Is("arch") ? "Run: pacman -S util-linux kmod"
            : distribution.Is("alpine") ? "Run: apk add util-linux setpriv kmod"
            : "Install util-linux (setsid, prlimit, setpriv) and kmod (modprobe).";
    }
}
