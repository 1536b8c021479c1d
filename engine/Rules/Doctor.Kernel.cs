// The kernel's part: the IOMMU, interrupt remapping, parameters, VFIO and iommufd.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;

namespace AssignHub.Engine.Rules;

public static partial class Doctor
{
    private const string Intel = "GenuineIntel";
    private const string AcsOverride = "pcie_acs_override";

    // Documentation/admin-guide/kernel-parameters.txt. A value may be a list: intel_iommu=on,sm_on.
    private static readonly ImmutableArray<(string Name, string Value)> IommuOff = [("iommu", "off"), ("intel_iommu", "off"), ("amd_iommu", "off")];
    private static readonly ImmutableArray<(string Name, string Value)> RemappingOff = [("intremap", "off"), ("nointremap", "")];

    private static Check Iommu(HostFacts facts, HostState host)
    {
        const string Name = "iommu";
        if (host.Vfio.IommuEnabled)
        {
            ImmutableArray<IommuGroup> groups = [.. host.Groups.Values.Where(group => !group.NoIommu)];
            int open = groups.Count(group => group.Type == "identity");
            return open == 0
                ? Ok(Name, $"The IOMMU is in use{(facts.IommuUnits.IsEmpty ? "" : $" ({string.Join(", ", facts.IommuUnits)})")}: {groups.Length} groups.")
                : new Check(Name, CheckStatus.Warning,
                    $"{open} of {groups.Length} groups are in identity mode: nothing keeps their devices from the host's memory while the host has them.",
                    BootFix.For(facts.Distribution, facts.BootLoader, ["iommu=nopt"], Given(host, [("iommu", "pt"), ("iommu.passthrough", "1")])));
        }

        ImmutableArray<string> off = OfThisCpu(facts, Given(host, IommuOff));
        ImmutableArray<string> on = facts.CpuVendor == Intel ? ["intel_iommu=on"] : [];
        (string message, string remedy) = off.Length > 0
            ? ($"The IOMMU is switched off on the kernel command line: {string.Join(' ', off)}.", BootFix.For(facts.Distribution, facts.BootLoader, on, off))
            : (facts.FirmwareHasIommu, facts.CpuVendor) switch
            {
                (true, Intel) when !Given(host, [("intel_iommu", "on")]).IsEmpty =>
                    ("The kernel was told to use the IOMMU (intel_iommu=on), and no device is in a group.", "The kernel's log says why: dmesg | grep -i DMAR"),
                (true, Intel) => ("The firmware offers an IOMMU, and the kernel does not use it.", BootFix.For(facts.Distribution, facts.BootLoader, on, [])),
                (true, _) => ("The firmware offers an IOMMU, and no device is in a group.", "The kernel's log says why: dmesg | grep -i -e AMD-Vi -e iommu"),
                _ => ("There is no IOMMU: the firmware shows none, and no device is in a group.", FromFirmware(facts, on)),
            };
        return new Check(Name, CheckStatus.Failed, message, remedy);
    }

    private static string FromFirmware(HostFacts facts, ImmutableArray<string> on) =>
        (facts.IsVirtualMachine
            ? "This host is a virtual machine: give it an IOMMU where it runs (QEMU: -device intel-iommu,intremap=on; libvirt: <iommu model='intel'/>)."
            : "Switch the IOMMU (Intel VT-d, AMD-Vi) on in the firmware's setup.")
        + (on.IsEmpty ? "" : $" {BootFix.For(facts.Distribution, facts.BootLoader, on, [])}");

    /// <summary>
    /// Without it a device can forge any interrupt, so the kernel refuses the container (EPERM, iommu_group_has_isolated_msi in
    /// drivers/vfio/vfio_iommu_type1.c and drivers/iommu/iommufd/device.c) unless <c>allow_unsafe_interrupts</c> is on.
    /// </summary>
    private static Check InterruptRemapping(HostFacts facts, HostState host)
    {
        const string Name = "interruptRemapping";
        ImmutableArray<string> off = Given(host, RemappingOff);
        string remedy = off.Length > 0 ? BootFix.For(facts.Distribution, facts.BootLoader, [], off)
            : !host.Vfio.IommuEnabled ? "Switch the IOMMU on first: interrupt remapping comes with it."
            : facts.IsVirtualMachine ? "Give this virtual machine an IOMMU with interrupt remapping where it runs (QEMU: -device intel-iommu,intremap=on)."
            : "Switch VT-d with interrupt remapping (AMD: the IOMMU) and x2APIC on in the firmware's setup; dmesg | grep -i remap says what is missing.";
        string module = host.Vfio.Backend == Container.Iommufd ? "iommufd" : "vfio_iommu_type1";
        return (facts.InterruptRemapping, host.Vfio.UnsafeInterrupts) switch
        {
            (true, false) => Ok(Name, "Interrupts are remapped."),
            (true, true) => new Check(Name, CheckStatus.Warning, "Interrupts are remapped, and allow_unsafe_interrupts is on, which nothing needs then.",
                "Take allow_unsafe_interrupts out of /etc/modprobe.d and of the kernel command line."),
            (false, true) => new Check(Name, CheckStatus.Warning, "Interrupts are not remapped, and allow_unsafe_interrupts is on: a guest may forge interrupts.", remedy),
            (false, false) => new Check(Name, CheckStatus.Failed, "Interrupts are not remapped: the kernel refuses containers.", !host.Vfio.IommuEnabled
                ? remedy
                : $"{remedy} Where all guests are trusted: echo options {module} allow_unsafe_interrupts=1 > /etc/modprobe.d/vfio.conf && reboot"),
            _ when facts.CpuVendor is null => Ok(Name, "Not an x86 CPU: the interrupt controller isolates devices, and the kernel checks it at each claim."),
            _ => new Check(Name, CheckStatus.Warning, "Whether interrupts are remapped could not be told: the kernel shows no /sys/kernel/irq.",
                "dmesg | grep -i remap says it; where they are not, the first claim fails."),
        };
    }

    private static Check KernelParameters(HostFacts facts, HostState host)
    {
        const string Name = "kernelParameters";
        ImmutableArray<string> off =
        [
            .. host.Vfio.IommuEnabled ? [] : OfThisCpu(facts, Given(host, IommuOff)),
            .. facts.InterruptRemapping == false && !host.Vfio.UnsafeInterrupts ? Given(host, RemappingOff) : [],
        ];
        ImmutableArray<string> acs = [.. Words(host).Where(word => NameOf(word) == AcsOverride)];
        ImmutableArray<string> noIommu = Given(host, [("vfio.enable_unsafe_noiommu_mode", "1"), ("vfio.enable_unsafe_noiommu_mode", "Y")]);
        ImmutableArray<string> wrong = [.. off, .. acs, .. noIommu];
        string message = (off.IsEmpty ? "" : $" {string.Join(' ', off)} switches off what assigning needs.")
            + (acs.IsEmpty ? "" : $" {AcsOverride} makes groups smaller than what the hardware isolates.")
            + (noIommu.IsEmpty ? "" : " vfio.enable_unsafe_noiommu_mode opens devices with no isolation at all.");
        return wrong.IsEmpty
            ? Ok(Name, "Nothing on the kernel command line is in the way.")
            : new Check(Name, off.IsEmpty ? CheckStatus.Warning : CheckStatus.Failed, message.TrimStart(), BootFix.For(facts.Distribution, facts.BootLoader, [], wrong));
    }

    private static Check Vfio(HostFacts facts, HostState host)
    {
        const string Name = "vfio";
        VfioSupport vfio = host.Vfio;
        return !vfio.Available
                ? new Check(Name, CheckStatus.Failed, $"The kernel {host.KernelRelease} has no vfio-pci.", Packages.Vfio(facts.Distribution, host.KernelRelease))
            : !vfio.ModuleLoaded ? Ok(Name, "vfio-pci is there; the first claim loads it.")
            : vfio.Backend is null ? new Check(Name, CheckStatus.Failed, $"vfio-pci is loaded, and no container can be had: {vfio.BackendReason}.",
                "As root, run: modprobe -a vfio vfio_iommu_type1 iommufd")
            : vfio.NoIommuOffered ? new Check(Name, CheckStatus.Warning,
                "vfio.enable_unsafe_noiommu_mode is on: devices without an IOMMU can be opened with no isolation at all.",
                "Run: echo N > /sys/module/vfio/parameters/enable_unsafe_noiommu_mode")
            : Ok(Name, $"vfio-pci is loaded; containers use {vfio.Backend}.");
    }

    private static Check Iommufd(HostFacts facts, HostState host)
    {
        const string Name = "iommufd";
        string? without = host.Vfio.Backend == Container.Iommufd ? null
            : host.Vfio.ModuleLoaded ? $"{host.Vfio.BackendReason}."
            : facts.Qemu.ObjectionToIommufd is { } objection ? $"{objection}."
            : facts.HasIommufd ? null
            : $"The kernel {host.KernelRelease} has no iommufd.";
        return without is null
            ? Ok(Name, host.Vfio.ModuleLoaded
                ? "Guests get their devices as open files."
                : "The kernel and QEMU have iommufd; whether devices have files of their own is seen once VFIO is loaded.")
            : new Check(Name, CheckStatus.Warning,
                $"Containers do without iommufd: guests get rights on files of VFIO, and an emulated IOMMU with their second group. {without}",
                "It needs Linux 6.6 or newer with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV, and QEMU 9.0 or newer.");
    }

    private static string[] Words(HostState host) => host.KernelCommandLine.Split(' ', StringSplitOptions.RemoveEmptyEntries);

    private static string NameOf(string word) => word.Split('=', 2)[0];

    /// <summary>The words of the command line that give one of these parameters this value, as they stand there.</summary>
    private static ImmutableArray<string> Given(HostState host, ImmutableArray<(string Name, string Value)> parameters) =>
        [.. Words(host).Where(word => parameters.Any(parameter => NameOf(word) == parameter.Name && ValuesOf(word).Contains(parameter.Value)))];

    private static string[] ValuesOf(string word) => word[NameOf(word).Length..].TrimStart('=').Split(',');

    // intel_iommu=off on a host of AMD's, and the other way round, switches nothing off.
    private static ImmutableArray<string> OfThisCpu(HostFacts facts, ImmutableArray<string> words) =>
        [.. words.Where(word => NameOf(word) == "iommu" || facts.CpuVendor is null || NameOf(word) == "intel_iommu" == (facts.CpuVendor == Intel))];
}
