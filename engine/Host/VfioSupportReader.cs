// What the kernel offers for containers, and what on this host weakens them.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Host;

/// <summary>Reads <see cref="VfioSupport"/>.</summary>
/// <param name="host">The host's roots, and what speaks against a backend.</param>
/// <param name="modulesRoot">Where the kernel's modules are, or null.</param>
internal sealed class VfioSupportReader(VfioHost host, string? modulesRoot)
{
    private readonly KernelModules _modules = new(modulesRoot);

    /// <summary>Reads it.</summary>
    /// <param name="anyGroup">Whether any PCI function is in an IOMMU group that VFIO did not make up.</param>
    /// <param name="kernelRelease">The running kernel, by which its modules are found.</param>
    /// <param name="commandLine">The kernel command line.</param>
    public VfioSupport Read(bool anyGroup, string kernelRelease, string commandLine)
    {
        bool loaded = Directory.Exists(Path.Combine(host.SysfsRoot, "bus/pci/drivers", VfioDrivers.Generic))
            || Directory.Exists(Path.Combine(host.SysfsRoot, "module/vfio_pci"));
        // Looking into VFIO would load it; that is left to the first claim.
        VfioProbe probe = loaded ? VfioProbe.Read(host) : new VfioProbe { Reason = "VFIO is not loaded; the first claim does that" };
        bool available = loaded || _modules.Has(kernelRelease, VfioDrivers.Generic);
        bool typeUnsafe = IsOn("vfio_iommu_type1/parameters/allow_unsafe_interrupts");
        bool iommufdUnsafe = IsOn("iommufd/parameters/allow_unsafe_interrupts");
        bool noIommu = IsOn("vfio/parameters/enable_unsafe_noiommu_mode");
        bool acsOverride = HasParameter(commandLine, "pcie_acs_override");
        ImmutableArray<string>.Builder warnings = ImmutableArray.CreateBuilder<string>();
        if (!anyGroup)
        {
            warnings.Add("No IOMMU group exists: switch the IOMMU on in the firmware (Intel VT-d, AMD-Vi) and boot with "
                + "intel_iommu=on, or without amd_iommu=off or iommu=off, on the kernel command line.");
        }

        if (!available)
        {
            warnings.Add($"The kernel {kernelRelease} has no vfio-pci: install the module for it, or a kernel with CONFIG_VFIO_PCI.");
        }

        if (acsOverride)
        {
            warnings.Add("pcie_acs_override is on the kernel command line: groups may be smaller than what the hardware isolates. Boot without it.");
        }

        if (typeUnsafe || iommufdUnsafe)
        {
            warnings.Add($"allow_unsafe_interrupts is on ({(typeUnsafe ? "vfio_iommu_type1" : "iommufd")}): a guest may forge interrupts. "
                + "Switch it off, or the IOMMU's interrupt remapping on.");
        }

        if (noIommu)
        {
            warnings.Add("vfio.enable_unsafe_noiommu_mode is on: devices without an IOMMU group can be opened with no isolation at all.");
        }

        bool noIommuAllowed = host.ObjectionTo(Container.NoIommu) is null;
        if (noIommuAllowed)
        {
            warnings.Add("The service was started with --allow-noiommu: it claims devices that nothing keeps from the host's memory.");
        }

        return new VfioSupport
        {
            IommuEnabled = anyGroup,
            Available = available,
            ModuleLoaded = loaded,
            Backend = probe.Preferred,
            BackendReason = probe.Reason,
            NoIommuOffered = noIommu,
            NoIommuAllowed = noIommuAllowed,
            AcsOverride = acsOverride,
            UnsafeInterrupts = typeUnsafe || iommufdUnsafe,
            Warnings = warnings.DrainToImmutable(),
        };
    }

    /// <summary>Whether a word of the command line is this parameter, with or without a value.</summary>
    internal static bool HasParameter(string commandLine, string name)
    {
        foreach (Range range in commandLine.AsSpan().Split(' '))
        {
            ReadOnlySpan<char> word = commandLine.AsSpan(range);
            if (word.StartsWith(name, StringComparison.Ordinal) && (word.Length == name.Length || word[name.Length] == '='))
            {
                return true;
            }
        }

        return false;
    }

    private bool IsOn(string parameter) => SysDir.ReadText(Path.Combine(host.SysfsRoot, "module", parameter)) is { Length: > 0 } value && value[0] is 'Y' or '1';
}
