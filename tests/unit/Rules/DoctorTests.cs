// Each of the doctor's checks, both ways.

using System.Collections.Immutable;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Tests.Unit.Rules;

public sealed class DoctorTests
{
    private const ulong All = 0x1ffffffffff;
    private const ulong SysResource = 1UL << 24;

    private static readonly HostFacts Good = new()
    {
        Distribution = new Distribution("debian", []),
        BootLoader = BootLoader.Grub,
        CpuVendor = "GenuineIntel",
        Virtualization = "vmx",
        Kvm = KvmState.Works,
        FirmwareHasIommu = true,
        IommuUnits = ["dmar0"],
        InterruptRemapping = true,
        HasIommufd = true,
        Qemu = new QemuReport("qemu") { Path = "/usr/bin/qemu", Version = new Version(9, 0), HasIommufd = true, HasVfioPci = true },
        MemoryLockBytes = 8 << 20,
        HugePages = [new HugePages(2 << 20, 512, 500)],
        User = 0,
        Capabilities = All,
        DataDirectory = "/var/lib/assignhub",
        DataFreeBytes = 1L << 40,
    };

    private static readonly HostState Host = new()
    {
        Host = "model",
        ReadAt = ModelHost.Start,
        KernelRelease = "6.12.0",
        KernelCommandLine = "root=/dev/vda1 intel_iommu=on",
        Groups = ImmutableSortedDictionary<int, IommuGroup>.Empty.Add(7, new IommuGroup(7, [new PciAddress(0, 1, 0, 0)], "DMA", [])),
        Vfio = new VfioSupport { IommuEnabled = true, Available = true, ModuleLoaded = true, Backend = "iommufd" },
    };

    [Fact]
    public void Examine_GoodHost_IsOkThroughout()
    {
        ImmutableArray<Check> checks = Doctor.Examine(Good, Host);

        Assert.All(checks, check => Assert.Equal((CheckStatus.Ok, null), (check.Status, check.Remedy)));
        Assert.True(Doctor.CanAssign(checks));
        Assert.Equal(
            ["cpuVirtualization", "kvm", "iommu", "interruptRemapping", "kernelParameters", "vfio", "iommufd", "qemu", "programs", "memoryLock", "hugePages", "permissions", "disk"],
            checks.Select(check => check.Name));
    }

    [Fact]
    public void CanAssign_WithWarnings_StillCan()
    {
        Assert.True(Doctor.CanAssign(Doctor.Examine(Good with { HugePages = [] }, Host)));
        Assert.False(Doctor.CanAssign(Doctor.Examine(Good with { InterruptRemapping = false }, Host)));
    }

    [Fact]
    public void Cpu_WithoutVirtualization_WarnsAndTellsAVirtualMachineFromARealOne()
    {
        HostFacts none = Good with { Virtualization = null, Kvm = KvmState.Absent };

        Is(CheckStatus.Warning, "firmware's setup", "cpuVirtualization", none);
        Is(CheckStatus.Warning, "nested virtualization", "cpuVirtualization", none with { IsVirtualMachine = true });
        Is(CheckStatus.Ok, null, "cpuVirtualization", none with { Kvm = KvmState.Works });
    }

    [Theory]
    [InlineData(KvmState.Absent, "AuthenticAMD", "svm", CheckStatus.Warning, "modprobe kvm_amd")]
    [InlineData(KvmState.Absent, "GenuineIntel", "vmx", CheckStatus.Warning, "modprobe kvm_intel")]
    [InlineData(KvmState.Absent, "GenuineIntel", null, CheckStatus.Warning, "virtualization on first")]
    [InlineData(KvmState.ForRootOnly, "GenuineIntel", "vmx", CheckStatus.Failed, "chgrp kvm")]
    [InlineData(KvmState.Closed, "GenuineIntel", "vmx", CheckStatus.Failed, "modprobe kvm_intel")]
    [InlineData(KvmState.Closed, "AuthenticAMD", null, CheckStatus.Failed, "modprobe kvm_amd")]
    public void Kvm_NotUsable_SaysWhatOpensIt(KvmState kvm, string vendor, string? flag, CheckStatus status, string remedy) =>
        Is(status, remedy, "kvm", Good with { Kvm = kvm, KvmFault = "open on /dev/kvm: EACCES", CpuVendor = vendor, Virtualization = flag });

    [Theory] // What the kernel was told, whether the firmware has one, the CPU: what to do.
    [InlineData("quiet", true, "GenuineIntel", "Add intel_iommu=on to GRUB_CMDLINE_LINUX_DEFAULT")]
    [InlineData("intel_iommu=on,sm_on", true, "GenuineIntel", "dmesg | grep -i DMAR")]
    [InlineData("intel_iommu=sm_on,off", true, "GenuineIntel", "and take intel_iommu=sm_on,off out")]
    [InlineData("amd_iommu=off", true, "GenuineIntel", "Add intel_iommu=on to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub, then")]
    [InlineData("quiet", false, "GenuineIntel", "on in the firmware's setup. Add intel_iommu=on")]
    [InlineData("quiet", false, "AuthenticAMD", "on in the firmware's setup.")]
    [InlineData("quiet", true, "AuthenticAMD", "AMD-Vi")]
    [InlineData("amd_iommu=off quiet iommu=off", true, "AuthenticAMD", "Take amd_iommu=off iommu=off out")]
    public void Iommu_NotInUse_FailsWithTheFix(string commandLine, bool firmware, string vendor, string remedy) =>
        Is(CheckStatus.Failed, remedy, "iommu", Good with { FirmwareHasIommu = firmware, CpuVendor = vendor }, Off(commandLine));

    [Fact]
    public void Iommu_VirtualMachineWithoutOne_IsGivenOneOutside() =>
        Is(CheckStatus.Failed, "-device intel-iommu", "iommu", Good with { FirmwareHasIommu = false, IsVirtualMachine = true }, Off("quiet"));

    [Fact]
    public void Iommu_GroupsInIdentityMode_Warns()
    {
        HostState host = Host with { KernelCommandLine = "iommu=pt", Groups = Host.Groups.SetItem(7, Host.Groups[7] with { Type = "identity" }) };

        Is(CheckStatus.Warning, "Add iommu=nopt to GRUB_CMDLINE_LINUX_DEFAULT in /etc/default/grub and take iommu=pt out", "iommu", Good, host);
    }

    [Fact]
    public void InterruptRemapping_Off_FailsUnlessUnsafeInterruptsAreAllowed()
    {
        HostFacts off = Good with { InterruptRemapping = false };
        HostState typed = Host with { Vfio = Host.Vfio with { Backend = "type1v2" } };
        HostState unsafeOn = Host with { Vfio = Host.Vfio with { UnsafeInterrupts = true } };

        Is(CheckStatus.Failed, "options iommufd allow_unsafe_interrupts=1", "interruptRemapping", off);
        Is(CheckStatus.Failed, "options vfio_iommu_type1 allow_unsafe_interrupts=1", "interruptRemapping", off, typed);
        Is(CheckStatus.Failed, "Take intremap=off out of", "interruptRemapping", off, Host with { KernelCommandLine = "intremap=off" });
        Is(CheckStatus.Failed, "Switch the IOMMU on first", "interruptRemapping", off, Off("quiet"));
        Is(CheckStatus.Warning, "firmware's setup", "interruptRemapping", off, unsafeOn);
        Is(CheckStatus.Warning, "Take allow_unsafe_interrupts out", "interruptRemapping", Good, unsafeOn);
    }

    [Fact]
    public void InterruptRemapping_Unknown_WarnsOnX86Only()
    {
        Is(CheckStatus.Warning, "dmesg", "interruptRemapping", Good with { InterruptRemapping = null });
        Is(CheckStatus.Ok, null, "interruptRemapping", Good with { InterruptRemapping = null, CpuVendor = null });
    }

    [Theory]
    [InlineData("pcie_acs_override=downstream,multifunction", CheckStatus.Warning, "Take pcie_acs_override=downstream,multifunction out of")]
    [InlineData("vfio.enable_unsafe_noiommu_mode=1", CheckStatus.Warning, "Take vfio.enable_unsafe_noiommu_mode=1 out of")]
    [InlineData("intel_iommu=on iommu=pt nointremap", CheckStatus.Ok, null)]
    [InlineData("intel_iommu=off", CheckStatus.Ok, null)]
    public void KernelParameters_IommuInUse_JudgesWhatIsLeft(string commandLine, CheckStatus status, string? remedy) =>
        Is(status, remedy, "kernelParameters", Good, Host with { KernelCommandLine = commandLine });

    [Fact]
    public void KernelParameters_WhatSwitchesItOff_Fails()
    {
        Is(CheckStatus.Failed, "Take iommu=off out of", "kernelParameters", Good, Off("root=/dev/sda iommu=off"));
        Is(CheckStatus.Failed, "Take nointremap out of", "kernelParameters",
            Good with { InterruptRemapping = false }, Host with { KernelCommandLine = "nointremap" });
        Is(CheckStatus.Ok, null, "kernelParameters", Good, Off("root=/dev/sda"));
    }

    [Fact]
    public void Vfio_States_AreTold()
    {
        VfioSupport vfio = Host.Vfio;

        Is(CheckStatus.Failed, "linux-image-amd64", "vfio", Good, With(vfio with { Available = false, ModuleLoaded = false, Backend = null }));
        Is(CheckStatus.Ok, null, "vfio", Good, With(vfio with { ModuleLoaded = false, Backend = null }));
        Is(CheckStatus.Failed, "modprobe", "vfio", Good, With(vfio with { Backend = null, BackendReason = "open on /dev/vfio/vfio: ENOENT" }));
        Is(CheckStatus.Warning, "enable_unsafe_noiommu_mode", "vfio", Good, With(vfio with { NoIommuOffered = true }));
    }

    [Fact]
    public void Iommufd_NotUsed_WarnsWithTheReason()
    {
        VfioSupport unloaded = Host.Vfio with { ModuleLoaded = false, Backend = null };
        HostFacts old = Good with { Qemu = Good.Qemu with { Version = new Version(8, 2), HasIommufd = false } };

        Says("type1v2 is the best", CheckStatus.Warning, "Linux 6.6", "iommufd", Good,
            With(Host.Vfio with { Backend = "type1v2", BackendReason = "type1v2 is the best" }));
        Says("QEMU 8.2 has no iommufd object", CheckStatus.Warning, "QEMU 9.0", "iommufd", old, With(unloaded));
        Says("6.12.0 has no iommufd", CheckStatus.Warning, "Linux 6.6", "iommufd", Good with { HasIommufd = false }, With(unloaded));
        Is(CheckStatus.Ok, null, "iommufd", Good, With(unloaded));
    }

    [Fact]
    public void Qemu_MissingOldMuteOrWithoutVfio_Fails()
    {
        Is(CheckStatus.Failed, "apt install qemu-system-x86", "qemu", Good with { Qemu = new QemuReport("qemu") { Fault = "qemu is not installed" } });
        Is(CheckStatus.Failed, "/usr/bin/qemu --version", "qemu",
            Good with { Qemu = new QemuReport("qemu") { Path = "/usr/bin/qemu", Fault = "qemu did not answer: " } });
        Is(CheckStatus.Failed, "Upgrade", "qemu", Good with { Qemu = Good.Qemu with { Version = new Version(7, 1) } });
        Is(CheckStatus.Ok, null, "qemu", Good with { Qemu = Good.Qemu with { Version = new Version(7, 2), HasIommufd = false } });
        Is(CheckStatus.Failed, "apt install", "qemu", Good with { Qemu = Good.Qemu with { HasVfioPci = false } });
    }

    [Fact]
    public void Programs_Missing_AreNamed() =>
        Says("setpriv, modprobe", CheckStatus.Failed, "util-linux kmod", "programs", Good with { MissingPrograms = ["setpriv", "modprobe"] });

    [Theory]
    [InlineData(All, 0L, CheckStatus.Ok, "")]
    [InlineData(All & ~SysResource, long.MaxValue, CheckStatus.Ok, "")]
    [InlineData(All & ~SysResource, 1L << 30, CheckStatus.Failed, "limited to 1 GiB: no guest")]
    [InlineData(All & ~SysResource, 5L << 29, CheckStatus.Warning, "can have 1.5 GiB of memory at most")]
    public void MemoryLock_LimitAndRight_SayWhatGuestsCanHave(ulong capabilities, long limit, CheckStatus status, string message) =>
        Says(message, status, status == CheckStatus.Ok ? null : "LimitMEMLOCK=infinity", "memoryLock",
            Good with { Capabilities = capabilities, MemoryLockBytes = limit });

    [Fact]
    public void MemoryLock_Unknown_Warns() => Is(CheckStatus.Warning, "CAP_SYS_RESOURCE", "memoryLock", Good with { Capabilities = null, MemoryLockBytes = null });

    [Fact]
    public void HugePages_NoneLeft_WarnsBySize()
    {
        Is(CheckStatus.Warning, "CONFIG_HUGETLBFS", "hugePages", Good with { HugePages = [] });
        Is(CheckStatus.Warning, "vm.nr_hugepages", "hugePages", Good with { HugePages = [new HugePages(2 << 20, 0, 0)] });
        Says("0 of 512 with 2 MiB free", CheckStatus.Warning, "vm.nr_hugepages", "hugePages", Good with { HugePages = [new HugePages(2 << 20, 512, 0)] });
        Says("4 of 4 with 1 GiB free", CheckStatus.Ok, null, "hugePages",
            Good with { HugePages = [new HugePages(2 << 20, 0, 0), new HugePages(1 << 30, 4, 4)] });
    }

    [Fact]
    public void Permissions_MissingRights_AreNamed()
    {
        ulong withoutModule = All & ~(1UL << 16);
        HostState unloaded = With(Host.Vfio with { ModuleLoaded = false, Backend = null });

        Says("user 1000) lacks CAP_CHOWN, CAP_DAC_OVERRIDE", CheckStatus.Failed, "as root", "permissions", Good with { Capabilities = 0, User = 1000 });
        Says("lacks CAP_SYS_ADMIN.", CheckStatus.Failed, "container", "permissions", Good with { Capabilities = All & ~(1UL << 21) });
        Is(CheckStatus.Ok, null, "permissions", Good with { Capabilities = withoutModule });
        Says("lacks CAP_SYS_MODULE.", CheckStatus.Failed, "container", "permissions", Good with { Capabilities = withoutModule }, unloaded);
        Is(CheckStatus.Warning, "as root", "permissions", Good with { Capabilities = null });
    }

    [Theory]
    [InlineData((100L << 20) - 1, CheckStatus.Failed)]
    [InlineData(100L << 20, CheckStatus.Warning)]
    [InlineData((1L << 30) - 1, CheckStatus.Warning)]
    [InlineData(1L << 30, CheckStatus.Ok)]
    public void Disk_FreeBytes_JudgedByTheStoresNeed(long free, CheckStatus status) =>
        Is(status, status == CheckStatus.Ok ? null : "/var/lib/assignhub", "disk", Good with { DataFreeBytes = free });

    private static HostState With(VfioSupport vfio) => Host with { Vfio = vfio };

    private static HostState Off(string commandLine) => Host with
    {
        KernelCommandLine = commandLine, Groups = ImmutableSortedDictionary<int, IommuGroup>.Empty, Vfio = Host.Vfio with { IommuEnabled = false },
    };

    private static void Says(string message, CheckStatus status, string? remedy, string name, HostFacts facts, HostState? host = null) =>
        Assert.Contains(message, Is(status, remedy, name, facts, host), StringComparison.Ordinal);

    // What a check says, after its status and remedy were found right.
    private static string Is(CheckStatus status, string? remedy, string name, HostFacts facts, HostState? host = null)
    {
        Check check = Assert.Single(Doctor.Examine(facts, host ?? Host), check => check.Name == name);
        Assert.Equal(status, check.Status);
        if (remedy is null)
        {
            Assert.Null(check.Remedy);
        }
        else
        {
            Assert.Contains(remedy, check.Remedy, StringComparison.Ordinal);
        }

        return check.Message;
    }
}
