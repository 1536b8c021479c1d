// The command line: what takes the rights away, what the guest is made of, and that no value can break out of its place.

using System.Text.Json;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;

namespace AssignHub.Tests.Unit.Guests;

public sealed class QemuCommandLineTests
{
    private static readonly GuestLaunch Plain = new()
    {
        Spec = new GuestSpec { Name = "web", MemoryBytes = 1L << 30, Vcpus = 2, HotplugSlots = 3 },
        Paths = GuestPaths.For("/var/lib/assignhub/guests", "web"),
        Uid = 64001,
        MemoryLockBytes = 2L << 30,
        GuestIommu = true,
        Host = new QemuHost("qemu-system-x86_64", HasKvm: true, KvmGroup: 108),
    };

    [Fact]
    public void Build_AnyGuest_TakesRightsAwayFirst()
    {
        CommandLine line = QemuCommandLine.Build(Plain);
        Assert.Equal("setsid", line.Program);
        string[] wrapper = [.. line.Arguments.TakeWhile(argument => argument != "qemu-system-x86_64")];
        Assert.Equal(
            "--fork sh -c echo $$; log=$1; shift; exec \"$@\" </dev/null >>\"$log\" 2>&1 sh /var/lib/assignhub/guests/web/qemu.log "
            + "prlimit --memlock=2147483648 setpriv --reuid 64001 --regid 64001 --groups 108 --no-new-privs --bounding-set=-all --inh-caps=-all",
            string.Join(' ', wrapper));
        Assert.Equal("on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny", After(line, "-sandbox"));
        Assert.Contains("-S", line.Arguments);
        Assert.Contains("-nodefaults", line.Arguments);
        Assert.Contains("-no-user-config", line.Arguments);
    }

    [Fact]
    public void Build_NoKvmGroup_ClearsGroups() =>
        Assert.Contains("--clear-groups", QemuCommandLine.Build(Plain with { Host = Plain.Host with { KvmGroup = null } }).Arguments);

    [Fact]
    public void Build_Kvm_AsAsked()
    {
        CommandLine line = QemuCommandLine.Build(Plain);
        Assert.Equal("kvm", After(line, "-accel"));
        Assert.Equal("host", After(line, "-cpu"));
        Assert.Equal("q35,dump-guest-core=off,kernel-irqchip=split", After(line, "-machine"));
        Assert.Equal("size=1073741824B", After(line, "-m"));
        Assert.Equal("2", After(line, "-smp"));
        Assert.Equal("guest=web,process=assignhub-web,debug-threads=on", After(line, "-name"));
        Assert.Equal("unix:/var/lib/assignhub/guests/web/run/qmp.sock,server=on,wait=off", After(line, "-qmp"));
    }

    [Fact]
    public void Build_NoKvm_Tcg()
    {
        CommandLine line = QemuCommandLine.Build(Plain with { Host = new QemuHost("qemu", HasKvm: false, null) });
        Assert.Equal("tcg", After(line, "-accel"));
        Assert.Equal("max", After(line, "-cpu"));
        Assert.Equal("q35,dump-guest-core=off", After(line, "-machine"));
    }

    [Fact]
    public void Build_GuestIommu_IsTheFirstDevice()
    {
        JsonElement first = Devices(QemuCommandLine.Build(Plain))[0];
        Assert.Equal("intel-iommu", first.GetProperty("driver").GetString());
        Assert.Equal("on", first.GetProperty("intremap").GetString());
        Assert.True(first.GetProperty("caching-mode").GetBoolean());
        Assert.DoesNotContain(
            Devices(QemuCommandLine.Build(Plain with { GuestIommu = false })), device => device.GetProperty("driver").GetString() == "intel-iommu");
    }

    [Fact]
    public void Build_Ports_AllThereWithNumbersOfTheirOwn()
    {
        JsonElement[] devices = Devices(QemuCommandLine.Build(Plain));
        JsonElement[] ports = [.. devices.Where(device => device.GetProperty("driver").GetString() == "pcie-root-port")];
        Assert.Equal(["port0", "port1", "port2", "bridge0-port", "bridge1-port"], ports.Select(port => port.GetProperty("id").GetString()));
        Assert.Distinct(ports.Select(port => port.GetProperty("chassis").GetInt32()));
        Assert.Distinct(ports.Select(port => port.GetProperty("slot").GetInt32()));
        JsonElement[] bridges = [.. devices.Where(device => device.GetProperty("driver").GetString() == "pcie-pci-bridge")];
        Assert.Equal(["bridge0", "bridge1"], bridges.Select(bridge => bridge.GetProperty("id").GetString()));
        Assert.Equal(["bridge0-port", "bridge1-port"], bridges.Select(bridge => bridge.GetProperty("bus").GetString()));
    }

    [Fact]
    public void Build_Disks_AreOpenedByTheWrapper()
    {
        GuestSpec spec = Plain.Spec with { Disks = [new GuestDisk("/img/a \"b\",c.qcow2"), new GuestDisk("/img/cd.iso", "raw", ReadOnly: true)] };
        CommandLine line = QemuCommandLine.Build(Plain with { Spec = spec });
        int script = line.Arguments.IndexOf("-c") + 1;
        Assert.Contains("exec 3<>\"$1\" || exit; shift; exec 4<\"$1\" || exit; shift;", line.Arguments[script], StringComparison.Ordinal);
        Assert.DoesNotContain("img", line.Arguments[script], StringComparison.Ordinal);
        Assert.Equal(["/img/a \"b\",c.qcow2", "/img/cd.iso", "prlimit"], line.Arguments.Skip(script + 3).Take(3));
        Assert.Equal(["fd=3,set=0", "fd=4,set=1"], AllAfter(line, "-add-fd"));
        JsonElement[] nodes = [.. AllAfter(line, "-blockdev").Select(text => JsonDocument.Parse(text).RootElement)];
        Assert.Equal(["file", "qcow2", "file", "raw"], nodes.Select(node => node.GetProperty("driver").GetString()));
        Assert.Equal([false, false, true, true], nodes.Select(node => node.GetProperty("read-only").GetBoolean()));
        Assert.Equal("/dev/fdset/1", nodes[2].GetProperty("filename").GetString());
    }

    [Fact]
    public void Build_TooManyDisks_Throws()
    {
        GuestSpec spec = Plain.Spec with { Disks = [.. Enumerable.Range(0, QemuCommandLine.MaxDisks + 1).Select(i => new GuestDisk($"/img/{i}"))] };
        Assert.Throws<ArgumentException>(() => QemuCommandLine.Build(Plain with { Spec = spec }));
    }

    [Fact]
    public void Build_Kernel_AsAsked()
    {
        GuestSpec spec = Plain.Spec with { Kernel = new GuestKernel("/boot/vmlinuz", "/boot/initrd", "console=ttyS0 a=b,c") };
        CommandLine line = QemuCommandLine.Build(Plain with { Spec = spec });
        Assert.Equal("/boot/vmlinuz", After(line, "-kernel"));
        Assert.Equal("/boot/initrd", After(line, "-initrd"));
        Assert.Equal("console=ttyS0 a=b,c", After(line, "-append"));
        Assert.DoesNotContain("-append", QemuCommandLine.Build(Plain).Arguments);
    }

    [Fact]
    public void Build_CommaInPath_IsDoubled()
    {
        CommandLine line = QemuCommandLine.Build(Plain with { Paths = GuestPaths.For("/data,server=off", "web") });
        Assert.Equal("unix:/data,,server=off/web/run/qmp.sock,server=on,wait=off", After(line, "-qmp"));
        Assert.Equal("file,id=console,path=/data,,server=off/web/console.log,append=on", After(line, "-chardev"));
        line = QemuCommandLine.Build(Plain with { Spec = Plain.Spec with { Machine = "q35,accel=tcg" } });
        Assert.StartsWith("q35,,accel=tcg,", After(line, "-machine"), StringComparison.Ordinal);
    }

    [Fact]
    public void Build_Networks_MacGivenOrDerived()
    {
        GuestSpec spec = Plain.Spec with { Networks = [new GuestNetwork("52:54:00:aa:bb:cc"), new GuestNetwork()] };
        JsonElement[] cards =
        [
            .. Devices(QemuCommandLine.Build(Plain with { Spec = spec })).Where(device => device.GetProperty("driver").GetString() == "virtio-net-pci"),
        ];
        Assert.Equal("52:54:00:aa:bb:cc", cards[0].GetProperty("mac").GetString());
        Assert.Equal(QemuCommandLine.DeriveMac("web", 1), cards[1].GetProperty("mac").GetString());
        Assert.Equal(["net0", "net1"], cards.Select(card => card.GetProperty("netdev").GetString()));
    }

    [Fact]
    public void DeriveMac_NameAndIndex_DecideAlone()
    {
        Assert.Equal(QemuCommandLine.DeriveMac("a", 0), QemuCommandLine.DeriveMac("a", 0));
        Assert.NotEqual(QemuCommandLine.DeriveMac("a", 0), QemuCommandLine.DeriveMac("a", 1));
        Assert.NotEqual(QemuCommandLine.DeriveMac("a", 0), QemuCommandLine.DeriveMac("b", 0));
        Assert.Matches("^52:54:00(:[0-9a-f]{2}){3}$", QemuCommandLine.DeriveMac("a", 0));
    }

    private static string After(CommandLine line, string option) => Assert.Single(AllAfter(line, option));

    private static IEnumerable<string> AllAfter(CommandLine line, string option) =>
        line.Arguments.Zip(line.Arguments.Skip(1)).Where(pair => pair.First == option).Select(pair => pair.Second);

    private static JsonElement[] Devices(CommandLine line) =>
        [.. AllAfter(line, "-device").Select(text => JsonDocument.Parse(text).RootElement)];
}
