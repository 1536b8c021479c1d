// What the doctor reads of a host, and that a host with all of it can assign.

using System.Text;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;
using AssignHub.Synthetic;

namespace AssignHub.Tests.Unit.Host;

public sealed class DoctorReaderTests : IDisposable
{
    private readonly SyntheticHost _host = new SyntheticHost().MakeReady();

    private string Root => Path.Combine(_host.Folder, "root");

    public void Dispose() => _host.Dispose();

    [Fact]
    public void Read_ReadyHost_ReadsAllOfIt()
    {
        HostFacts facts = Read();

        Assert.Equal(("GenuineIntel", "vmx", false), (facts.CpuVendor, facts.Virtualization, facts.IsVirtualMachine));
        Assert.Equal((KvmState.Works, null), (facts.Kvm, facts.KvmFault));
        Assert.True(facts.FirmwareHasIommu);
        Assert.Equal("dmar0", Assert.Single(facts.IommuUnits));
        Assert.True(facts.InterruptRemapping);
        Assert.True(facts.HasIommufd);
        Assert.Equal(new Version(9, 0), facts.Qemu.Version);
        Assert.Equal(8388608, facts.MemoryLockBytes);
        Assert.Equal(new HugePages(2 << 20, 512, 500), Assert.Single(facts.HugePages));
        Assert.Equal((0u, SyntheticHost.AllCapabilities), (facts.User, facts.Capabilities));
        Assert.True(facts.DataFreeBytes > 0);
    }

    [Fact]
    public void Examine_ReadyHost_CanAssignByIommufd()
    {
        _host.Add(new SyntheticDevice("0000:01:00.0") { Driver = "e1000e", Group = 7 });
        var qemu = new QemuCapabilities(_host.WriteQemu(new Version(9, 0), hasIommufd: true));
        var roots = new VfioHost(_host.DevRoot, _host.SysfsRoot, _host.ProcRoot) { ObjectionTo = name => name == "iommufd" ? qemu.Report().ObjectionToIommufd : null };

        var checks = Doctor.Examine(new DoctorReader(roots, qemu, _host.Folder, null).Read(), new HostScanner(roots, TimeProvider.System).Scan());

        Assert.All(checks.Where(check => check.Name is not ("disk" or "programs")), check => Assert.Equal(CheckStatus.Ok, check.Status));
        Assert.Contains(checks, check => check.Message.Contains("containers use iommufd", StringComparison.Ordinal));
    }

    [Fact]
    public void Read_EmptyHost_KnowsNothingAndSaysSo()
    {
        using var empty = new SyntheticHost();
        HostFacts facts = new DoctorReader(new VfioHost(empty.DevRoot, empty.SysfsRoot, empty.ProcRoot), new QemuCapabilities("no-such-qemu"), empty.Folder, Root).Read();

        Assert.Equal(
            (null, null, null, null, null, null), (facts.CpuVendor, facts.FirmwareHasIommu, facts.InterruptRemapping, facts.MemoryLockBytes, facts.Capabilities, facts.User));
        Assert.Equal((KvmState.Absent, false), (facts.Kvm, facts.HasIommufd));
        Assert.Equal((BootLoader.Unknown, ""), (facts.BootLoader, facts.Distribution.Id));
        Assert.Empty(facts.HugePages);
    }

    [Fact]
    public void Read_NoChipRemaps_IsFalse()
    {
        _host.WriteSysfs("kernel/irq/24/chip_name", "PCI-MSIX-0000:01:00.0\n");

        Assert.False(Read().InterruptRemapping);
    }

    [Fact]
    public void Read_KvmForRootOnly_IsTold()
    {
        File.SetUnixFileMode(Path.Combine(_host.DevRoot, "kvm"), (UnixFileMode)0b110_000_000);

        Assert.Equal(KvmState.ForRootOnly, Read().Kvm);
    }

    [Fact]
    public void Read_KvmThatDoesNotOpen_NamesTheErrno()
    {
        File.Delete(Path.Combine(_host.DevRoot, "kvm"));
        Directory.CreateDirectory(Path.Combine(_host.DevRoot, "kvm"));
        HostFacts facts = Read();

        Assert.Equal(KvmState.Closed, facts.Kvm);
        Assert.StartsWith("open on", facts.KvmFault, StringComparison.Ordinal);
    }

    [Fact]
    public void Read_UnlimitedMemoryLock_IsTheLargest()
    {
        _host.WriteProc("self/limits", "Max locked memory         65536                unlimited            bytes     \n");

        Assert.Equal(long.MaxValue, Read().MemoryLockBytes);
    }

    [Theory]
    [InlineData("kernel/drivers/iommu/iommufd/iommufd.ko.zst: \n", true)]
    [InlineData("kernel/drivers/vfio/vfio.ko: kernel/drivers/iommu/iommufd/iommufd.ko\n", false)]
    public void Read_IommufdNotLoaded_IsLookedUpAmongTheModules(string modules, bool has)
    {
        File.Delete(Path.Combine(_host.DevRoot, "iommu"));
        Write("lib/modules/6.12.0-synthetic/modules.dep", modules);

        Assert.Equal(has, Read().HasIommufd);
    }

    [Theory]
    [InlineData("NAME=\"Rocky Linux\"\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", "rocky", "rhel", true)]
    [InlineData("ID=debian\n", "debian", "ubuntu", false)]
    public void Read_OsRelease_IsTheDistribution(string text, string id, string other, bool like)
    {
        Write("etc/os-release", text);
        Distribution read = Read().Distribution;

        Assert.Equal((id, true, like), (read.Id, read.Is(id), read.Is(other)));
    }

    [Theory]
    [InlineData(BootLoader.Grub, null, "etc/default/grub")]
    [InlineData(BootLoader.Grub, null, "etc/default/grub", "boot/loader/loader.conf")]
    [InlineData(BootLoader.KernelInstall, "systemd-boot 257", "etc/default/grub", "etc/kernel/cmdline")]
    [InlineData(BootLoader.KernelInstall, null, "boot/efi/loader/loader.conf", "etc/kernel/postinst.d/zz-systemd-boot")]
    [InlineData(BootLoader.SystemdBoot, null, "efi/loader/loader.conf")]
    [InlineData(BootLoader.Grubby, null, "usr/sbin/grubby", "etc/default/grub")]
    [InlineData(BootLoader.RpmOstree, null, "run/ostree-booted", "usr/bin/rpm-ostree", "usr/sbin/grubby")]
    [InlineData(BootLoader.ProxmoxBootTool, "systemd-boot 252", "etc/kernel/proxmox-boot-uuids", "etc/kernel/cmdline", "etc/default/grub")]
    [InlineData(BootLoader.Grub, "GRUB 2.12", "etc/kernel/proxmox-boot-uuids", "etc/kernel/cmdline", "etc/default/grub")]
    [InlineData(BootLoader.Unknown, null, "etc/fstab")]
    public void Read_BootFiles_AreTheBootLoader(BootLoader loader, string? loaderInfo, params string[] files)
    {
        foreach (string file in files)
        {
            Write(file, "");
        }

        if (loaderInfo is not null)
        {
            string variable = Path.Combine(_host.SysfsRoot, "firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f");
            Directory.CreateDirectory(Path.GetDirectoryName(variable)!);
            File.WriteAllBytes(variable, [6, 0, 0, 0, .. Encoding.Unicode.GetBytes(loaderInfo + '\0')]);
        }

        Assert.Equal(loader, Read().BootLoader);
    }

    private HostFacts Read() => new DoctorReader(
        new VfioHost(_host.DevRoot, _host.SysfsRoot, _host.ProcRoot), new QemuCapabilities(_host.WriteQemu(new Version(9, 0), hasIommufd: true)),
        Path.Combine(_host.Folder, "not", "there", "yet"), Root).Read();

    private void Write(string name, string text)
    {
        string path = Path.Combine(Root, name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, text);
    }
}
