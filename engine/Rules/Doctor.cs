// What keeps a host from assigning devices, and the fix. Pure. What the kernel has to do is in Doctor.Kernel.cs, the rest here.

using System.Collections.Immutable;
using System.Globalization;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;

namespace AssignHub.Engine.Rules;

/// <summary>One thing that was looked at.</summary>
/// <param name="Name">What it is about.</param>
/// <param name="Status">What came of it.</param>
/// <param name="Message">What was found, in words.</param>
/// <param name="Remedy">What to do about it, literally; null where there is nothing to do.</param>
public sealed record Check(string Name, CheckStatus Status, string Message, string? Remedy);

/// <summary>What came of a check.</summary>
public enum CheckStatus
{
    /// <summary>As it should be.</summary>
    Ok,
    /// <summary>The host can assign devices, less well or less safely.</summary>
    Warning,
    /// <summary>The host cannot assign devices.</summary>
    Failed,
}

/// <summary>Examines a host.</summary>
public static partial class Doctor
{
    private const long LeastFreeBytes = 100L << 20;
    private const long GoodFreeBytes = 1L << 30;
    private const int SysResource = 24;
    private static readonly Version OldestQemu = new(7, 2);

    // linux/capability.h, and what the service does with each.
    private static readonly ImmutableArray<(int Number, string Name)> Rights =
    [
        (0, "CAP_CHOWN"), (1, "CAP_DAC_OVERRIDE"), (5, "CAP_KILL"), (6, "CAP_SETGID"), (7, "CAP_SETUID"), (8, "CAP_SETPCAP"), (19, "CAP_SYS_PTRACE"),
        (21, "CAP_SYS_ADMIN"),
    ];

    private static readonly (int Number, string Name) SysModule = (16, "CAP_SYS_MODULE");

    /// <summary>All checks, always in the same order.</summary>
    public static ImmutableArray<Check> Examine(HostFacts facts, HostState host)
    {
        ArgumentNullException.ThrowIfNull(facts);
        ArgumentNullException.ThrowIfNull(host);
        return
        [
            CpuVirtualization(facts), Kvm(facts),
            Iommu(facts, host), InterruptRemapping(facts, host), KernelParameters(facts, host), Vfio(facts, host), Iommufd(facts, host),
            Qemu(facts), Programs(facts), MemoryLock(facts), HugePages(facts), Permissions(facts, host), Disk(facts),
        ];
    }

    /// <summary>Whether a host with these checks can assign devices.</summary>
    public static bool CanAssign(ImmutableArray<Check> checks) => checks.All(check => check.Status != CheckStatus.Failed);

    private static Check CpuVirtualization(HostFacts facts)
    {
        const string Name = "cpuVirtualization";
        return facts.Virtualization is { } flag ? Ok(Name, $"The CPU has {flag}.")
            : facts.Kvm == KvmState.Works ? Ok(Name, "KVM works.")
            : new Check(Name, CheckStatus.Warning, "The CPU shows neither vmx nor svm: guests run under software emulation, slowly.",
                facts.IsVirtualMachine ? "This host is a virtual machine: switch nested virtualization on where it runs."
                    : "Switch virtualization (Intel VT-x, AMD SVM) on in the firmware's setup.");
    }

    private static Check Kvm(HostFacts facts)
    {
        const string Name = "kvm";
        // A CPU whose flag the firmware or a hypervisor hides is known by its vendor.
        bool svm = facts.Virtualization is { } flag ? flag == "svm" : facts.CpuVendor is "AuthenticAMD" or "HygonGenuine";
        string module = svm ? "kvm_amd" : "kvm_intel";
        return facts.Kvm switch
        {
            KvmState.Works => Ok(Name, "KVM works."),
            KvmState.Absent => new Check(Name, CheckStatus.Warning, "There is no /dev/kvm: guests run under software emulation, slowly.",
                facts.Virtualization is null ? "Switch the CPU's virtualization on first." : $"Run: modprobe {module}"),
            KvmState.ForRootOnly => new Check(Name, CheckStatus.Failed, $"Guests cannot start: {facts.KvmFault}", "Run: chgrp kvm /dev/kvm && chmod 0660 /dev/kvm"),
            _ => new Check(Name, CheckStatus.Failed, $"Guests cannot start: {facts.KvmFault}",
                $"As root, run: modprobe {module}. If that fails, switch virtualization on in the firmware's setup, or remove /dev/kvm to go without."),
        };
    }

    private static Check Qemu(HostFacts facts)
    {
        const string Name = "qemu";
        string install = Packages.Qemu(facts.Distribution);
        QemuReport qemu = facts.Qemu;
        return qemu.Fault is { } fault
                ? new Check(Name, CheckStatus.Failed, $"{fault}.",
                    qemu.Path is null ? install : $"Run it by hand to see why: {qemu.Path} --version. To install it anew: {install}")
            : qemu.Version is { } version && version < OldestQemu
                ? new Check(Name, CheckStatus.Failed, $"QEMU {version} ({qemu.Path}) is too old: {OldestQemu} is the oldest that serves.",
                    $"Upgrade the distribution or QEMU. {install}")
            : !qemu.HasVfioPci
                ? new Check(Name, CheckStatus.Failed, $"QEMU {qemu.Version} ({qemu.Path}) has no vfio-pci device: it was built without VFIO.", install)
            : Ok(Name, $"QEMU {qemu.Version} ({qemu.Path}) has vfio-pci{(qemu.HasIommufd ? " and iommufd" : "; it has no iommufd")}.");
    }

    private static Check Programs(HostFacts facts) => facts.MissingPrograms.IsEmpty
        ? Ok("programs", "What starts guests and loads modules is installed.")
        : new Check("programs", CheckStatus.Failed, $"Not installed: {string.Join(", ", facts.MissingPrograms)}.", Packages.Programs(facts.Distribution));

    /// <summary>VFIO pins all of a guest's memory, so its process's limit is raised to that, and only CAP_SYS_RESOURCE lifts a hard limit (setrlimit(2)).</summary>
    private static Check MemoryLock(HostFacts facts)
    {
        const string Name = "memoryLock";
        const string Remedy = "Run the service as root with CAP_SYS_RESOURCE, or with LimitMEMLOCK=infinity in its systemd unit.";
        return Has(facts, SysResource) ? Ok(Name, "The service can raise the limit of locked memory for each guest.")
            : facts.MemoryLockBytes is not { } limit ? new Check(Name, CheckStatus.Warning, "Whether guests may lock their memory could not be told.", Remedy)
            : limit == long.MaxValue ? Ok(Name, "Locked memory has no limit.")
            : limit <= Guests.MemoryLock.Reserve
                ? new Check(Name, CheckStatus.Failed, $"Locked memory is limited to {Size(limit)}: no guest can have a device.", Remedy)
            : new Check(Name, CheckStatus.Warning,
                $"Locked memory is limited to {Size(limit)}: guests with devices can have {Size(limit - Guests.MemoryLock.Reserve)} of memory at most.", Remedy);
    }

    private static Check HugePages(HostFacts facts)
    {
        const string Name = "hugePages";
        const string Remedy = "Set some aside for guests that are to have them: echo vm.nr_hugepages=1024 > /etc/sysctl.d/80-hugepages.conf && sysctl --system "
            + "(1024 are 2 GiB where a page has 2 MiB).";
        return facts.HugePages.IsEmpty
                ? new Check(Name, CheckStatus.Warning, "The kernel has no huge pages: guests cannot have them.", "Boot a kernel with CONFIG_HUGETLBFS.")
            : facts.HugePages.All(pages => pages.Total == 0) ? new Check(Name, CheckStatus.Warning, "No huge pages are set aside: guests cannot have them.", Remedy)
            : facts.HugePages.All(pages => pages.Free == 0) ? new Check(Name, CheckStatus.Warning, $"No huge page is free ({Pages(facts)}).", Remedy)
            : Ok(Name, $"Huge pages: {Pages(facts)}.");
    }

    private static Check Permissions(HostFacts facts, HostState host)
    {
        const string Name = "permissions";
        if (facts.Capabilities is null)
        {
            return new Check(Name, CheckStatus.Warning, "What this process may do could not be told.", "Run the service as root.");
        }

        ImmutableArray<(int Number, string Name)> needed = host.Vfio.ModuleLoaded ? Rights : Rights.Add(SysModule);
        ImmutableArray<string> missing = [.. needed.Where(right => !Has(facts, right.Number)).Select(right => right.Name)];
        return missing.IsEmpty ? Ok(Name, "This process may do all that the service does.")
            : new Check(Name, CheckStatus.Failed, $"This process (user {facts.User}) lacks {string.Join(", ", missing)}.",
                facts.User == 0 ? "Run it outside of the container, or with these capabilities in CapabilityBoundingSet= of its systemd unit." : "Run it as root.");
    }

    private static Check Disk(HostFacts facts)
    {
        string message = $"{Size(facts.DataFreeBytes)} are free for {facts.DataDirectory}.";
        string remedy = $"Make room in the file system of {facts.DataDirectory}, or choose another with --data.";
        return facts.DataFreeBytes < LeastFreeBytes ? new Check("disk", CheckStatus.Failed, $"Only {message} The store needs {Size(LeastFreeBytes)}.", remedy)
            : facts.DataFreeBytes < GoodFreeBytes ? new Check("disk", CheckStatus.Warning, $"Only {message}", remedy)
            : Ok("disk", message);
    }

    private static bool Has(HostFacts facts, int capability) => facts.Capabilities is { } capabilities && (capabilities >> capability & 1) != 0;

    private static string Pages(HostFacts facts) =>
        string.Join(", ", facts.HugePages.Where(pages => pages.Total > 0).Select(pages => $"{pages.Free} of {pages.Total} with {Size(pages.SizeBytes)} free"));

    private static Check Ok(string name, string message) => new(name, CheckStatus.Ok, message, null);

    private static string Size(long bytes) => bytes >= 1L << 30
        ? string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):0.#} GiB")
        : string.Create(CultureInfo.InvariantCulture, $"{bytes >> 20} MiB");
}
