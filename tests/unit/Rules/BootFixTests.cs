// How a kernel parameter is set, for each distribution and boot loader, and what the packages are called.

using System.Collections.Immutable;
using AssignHub.Engine.Host;
using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Unit.Rules;

public sealed class BootFixTests
{
    private static readonly ImmutableArray<string> On = ["intel_iommu=on"];

    [Theory]
    [InlineData("debian", "", BootLoader.Grub, "Add intel_iommu=on to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot")]
    [InlineData("linuxmint", "ubuntu debian", BootLoader.Grub, "Add intel_iommu=on to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot")]
    [InlineData("arch", "", BootLoader.Grub, "Add intel_iommu=on to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: grub-mkconfig -o /boot/grub/grub.cfg && reboot")]
    [InlineData("opensuse-leap", "suse opensuse", BootLoader.Grub,
        "Add intel_iommu=on to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: grub2-mkconfig -o /boot/grub2/grub.cfg && reboot")]
    [InlineData("fedora", "", BootLoader.Grubby, "Run: grubby --update-kernel=ALL --args=\"intel_iommu=on\" && reboot")]
    [InlineData("fedora", "", BootLoader.RpmOstree, "Run: rpm-ostree kargs --append-if-missing=intel_iommu=on && systemctl reboot")]
    [InlineData("debian", "", BootLoader.KernelInstall,
        "Add intel_iommu=on to /etc/kernel/cmdline (if it is not there yet, begin with what /proc/cmdline says), then: dpkg-reconfigure linux-image-$(uname -r) && reboot")]
    [InlineData("fedora", "", BootLoader.KernelInstall,
        "Add intel_iommu=on to /etc/kernel/cmdline (if it is not there yet, begin with what /proc/cmdline says), then: kernel-install add-all && reboot")]
    [InlineData("opensuse-tumbleweed", "opensuse suse", BootLoader.KernelInstall,
        "Add intel_iommu=on to /etc/kernel/cmdline (if it is not there yet, begin with what /proc/cmdline says), then: sdbootutil update-all-entries && reboot")]
    [InlineData("arch", "", BootLoader.SystemdBoot,
        "Add intel_iommu=on to the options line of the boot entry (loader/entries on the EFI system partition; bootctl list names the file), then: reboot")]
    [InlineData("pop", "ubuntu debian", BootLoader.SystemdBoot, "Run: kernelstub --add-options \"intel_iommu=on\" && reboot")]
    [InlineData("debian", "", BootLoader.ProxmoxBootTool, "Add intel_iommu=on to /etc/kernel/cmdline, then: proxmox-boot-tool refresh && reboot")]
    [InlineData("nixos", "", BootLoader.SystemdBoot, "Add intel_iommu=on to boot.kernelParams in /etc/nixos/configuration.nix, then: nixos-rebuild boot && reboot")]
    [InlineData("", "", BootLoader.Unknown, "Add intel_iommu=on to the kernel command line in the boot loader's configuration, then: reboot")]
    public void For_Parameter_IsTheFixOfThatHost(string id, string like, BootLoader loader, string fix) =>
        Assert.Equal(fix, BootFix.For(new Distribution(id, [.. like.Split(' ')]), loader, On, []));

    [Theory]
    [InlineData(BootLoader.Grub, "Take iommu=off nointremap out of GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then: update-grub && reboot")]
    [InlineData(BootLoader.Grubby, "Run: grubby --update-kernel=ALL --remove-args=\"iommu=off nointremap\" && reboot")]
    [InlineData(BootLoader.RpmOstree, "Run: rpm-ostree kargs --delete-if-present=iommu=off --delete-if-present=nointremap && systemctl reboot")]
    public void For_RemovedParameters_TakesThemOut(BootLoader loader, string fix) =>
        Assert.Equal(fix, BootFix.For(new Distribution("debian", []), loader, [], ["iommu=off", "nointremap"]));

    [Theory]
    [InlineData(BootLoader.Grub, "Add intel_iommu=on to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub and take iommu=off out, then: update-grub && reboot")]
    [InlineData(BootLoader.Grubby, "Run: grubby --update-kernel=ALL --args=\"intel_iommu=on\" --remove-args=\"iommu=off\" && reboot")]
    public void For_Both_DoesBoth(BootLoader loader, string fix) => Assert.Equal(fix, BootFix.For(new Distribution("debian", []), loader, On, ["iommu=off"]));

    [Theory]
    [InlineData("ubuntu", "debian", "apt install qemu-system-x86")]
    [InlineData("fedora", "", "dnf install qemu-system-x86")]
    [InlineData("rocky", "rhel centos fedora", "ASSIGNHUB__GUESTS__QEMU=/usr/libexec/qemu-kvm")]
    [InlineData("ol", "fedora", "ASSIGNHUB__GUESTS__QEMU=/usr/libexec/qemu-kvm")]
    [InlineData("sles", "suse", "zypper install qemu-x86")]
    [InlineData("manjaro", "arch", "pacman -S qemu-system-x86")]
    [InlineData("alpine", "", "apk add qemu-system-x86_64")]
    [InlineData("gentoo", "", "emerge app-emulation/qemu")]
    [InlineData("nixos", "", "pkgs.qemu_kvm")]
    [InlineData("other", "", "Install QEMU 7.2 or newer")]
    public void Qemu_Distribution_NamesItsPackage(string id, string like, string expected) =>
        Assert.Contains(expected, Packages.Qemu(new Distribution(id, [.. like.Split(' ')])), StringComparison.Ordinal);

    [Theory]
    [InlineData("ubuntu", "debian", "linux-modules-extra-6.8.0-40-generic")]
    [InlineData("debian", "", "linux-image-amd64")]
    [InlineData("fedora", "", "kernel-modules-6.8.0-40-generic")]
    [InlineData("other", "", "CONFIG_VFIO_PCI")]
    public void Vfio_Distribution_NamesItsPackage(string id, string like, string expected) =>
        Assert.Contains(expected, Packages.Vfio(new Distribution(id, [.. like.Split(' ')]), "6.8.0-40-generic"), StringComparison.Ordinal);
}
