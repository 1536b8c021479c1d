// The command line of a guest's process: a chain of small programs that takes every right away, and QEMU at its end. Pure.

using System.Collections.Immutable;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using AssignHub.Engine.Desired;

namespace AssignHub.Engine.Guests;

/// <summary>
/// Builds the command line. .NET can set neither the user nor the limits of a process that it starts, so util-linux does:
/// <c>setsid --fork</c> (QEMU survives the service, and the service never has it as a zombie), a shell that says its pid, opens
/// the disks and QEMU's log as root, and goes; <c>prlimit</c>; <c>setpriv</c>; QEMU, sandboxed.
/// </summary>
public static class QemuCommandLine
{
    /// <summary>Most disks that a guest can have: POSIX shells open files as single digits only, and 3 is the first.</summary>
    public const int MaxDisks = 7;

    /// <summary>QEMU's id of the emulated IOMMU, where the guest has one.</summary>
    public const string IommuId = "iommu";

    private const int FirstDiskFile = 3;

    /// <summary>Builds it.</summary>
    /// <exception cref="ArgumentException">The spec has more disks than <see cref="MaxDisks"/>.</exception>
    public static CommandLine Build(GuestLaunch launch)
    {
        if (launch.Spec.Disks.Length > MaxDisks)
        {
            throw new ArgumentException($"a guest has at most {MaxDisks} disks", nameof(launch));
        }

        return new CommandLine("setsid", [.. Wrapper(launch), launch.Host.Program, .. Qemu(launch)]);
    }

    /// <summary>
    /// The MAC address that a network gets if it has none: QEMU's prefix, and 24 bits that depend on the guest's name and the network's
    /// place in it only, so that it is the same at each start.
    /// </summary>
    public static string DeriveMac(string guest, int index)
    {
        byte[] hash = SHA256.HashData(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{guest}/{index}")));
        return $"52:54:00:{hash[0]:x2}:{hash[1]:x2}:{hash[2]:x2}";
    }

    private static IEnumerable<string> Wrapper(GuestLaunch launch)
    {
        // The pid is told on standard output before the log takes its place; paths are arguments, never part of the script.
        ImmutableArray<GuestDisk> disks = launch.Spec.Disks;
        var script = new StringBuilder("echo $$; log=$1; shift;");
        for (int i = 0; i < disks.Length; i++)
        {
            script.Append(CultureInfo.InvariantCulture, $" exec {FirstDiskFile + i}{(disks[i].ReadOnly ? "<" : "<>")}\"$1\" || exit; shift;");
        }

        script.Append(" exec \"$@\" </dev/null >>\"$log\" 2>&1");
        string uid = launch.Uid.ToString(CultureInfo.InvariantCulture);
        return
        [
            "--fork", "sh", "-c", script.ToString(), "sh", launch.Paths.QemuLog, .. disks.Select(disk => disk.Path),
            "prlimit", string.Create(CultureInfo.InvariantCulture, $"--memlock={launch.MemoryLockBytes}"),
            "setpriv", "--reuid", uid, "--regid", uid,
            .. launch.Host.KvmGroup is { } kvm ? ["--groups", kvm.ToString(CultureInfo.InvariantCulture)] : (string[])["--clear-groups"],
            "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
        ];
    }

    private static IEnumerable<string> Qemu(GuestLaunch launch)
    {
        GuestSpec spec = launch.Spec;
        bool kvm = launch.Host.HasKvm;
        return
        [
            "-name", $"guest={spec.Name},process={Truncate($"assignhub-{spec.Name}")},debug-threads=on",
            "-nodefaults", "-no-user-config", "-display", "none", "-S", "-msg", "timestamp=on",
            "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            "-accel", kvm ? "kvm" : "tcg",
            "-cpu", !kvm && spec.Cpu == "host" ? "max" : spec.Cpu,
            // Interrupt remapping needs the irqchip split between KVM and QEMU.
            "-machine", $"{Escape(spec.Machine)},dump-guest-core=off{(kvm && launch.GuestIommu ? ",kernel-irqchip=split" : "")}",
            "-m", string.Create(CultureInfo.InvariantCulture, $"size={spec.MemoryBytes}B"),
            "-smp", spec.Vcpus.ToString(CultureInfo.InvariantCulture),
            // The IOMMU comes before the devices that it serves. caching-mode lets VFIO see each mapping that the guest makes.
            .. launch.GuestIommu ? Device("intel-iommu", IommuId, ("intremap", "on"), ("caching-mode", true)) : [],
            .. Kernel(spec.Kernel),
            .. spec.Disks.SelectMany(Disk),
            .. spec.Networks.SelectMany((network, i) => Network(spec.Name, network, i)),
            .. Ports(spec.HotplugSlots),
            "-chardev", $"file,id=console,path={Escape(launch.Paths.ConsoleLog)},append=on", "-serial", "chardev:console",
            "-qmp", $"unix:{Escape(launch.Paths.QmpSocket)},server=on,wait=off",
        ];
    }

    private static IEnumerable<string> Kernel(GuestKernel? kernel) => kernel is null
        ? []
        :
        [
            "-kernel", kernel.Path,
            .. kernel.Initrd is { } initrd ? ["-initrd", initrd] : (string[])[],
            .. kernel.CommandLine.Length > 0 ? ["-append", kernel.CommandLine] : (string[])[],
        ];

    private static IEnumerable<string> Disk(GuestDisk disk, int index) =>
    [
        // QEMU gets the image as an open file (a file set of one) and needs no right on its path; the image's owner stays as it is.
        "-add-fd", string.Create(CultureInfo.InvariantCulture, $"fd={FirstDiskFile + index},set={index}"),
        "-blockdev", Json(("driver", "file"), ("node-name", $"disk{index}-file"), ("filename", $"/dev/fdset/{index}"), ("read-only", disk.ReadOnly)),
        "-blockdev", Json(("driver", disk.Format), ("node-name", $"disk{index}"), ("file", $"disk{index}-file"), ("read-only", disk.ReadOnly)),
        .. Device("virtio-blk-pci", $"virtio-disk{index}", ("drive", $"disk{index}"), ("bootindex", index + 1)),
    ];

    private static IEnumerable<string> Network(string guest, GuestNetwork network, int index) =>
    [
        "-netdev", Json(("type", "user"), ("id", $"net{index}")),
        .. Device("virtio-net-pci", $"virtio-net{index}", ("netdev", $"net{index}"), ("mac", network.Mac ?? DeriveMac(guest, index))),
    ];

    private static IEnumerable<string> Ports(int hotplugSlots)
    {
        // A chassis number must be unique, and so must a slot number within one; each port counts as both.
        int number = 0;
        string[] Port(string id) => Device("pcie-root-port", id, ("bus", "pcie.0"), ("chassis", ++number), ("slot", number));

        return
        [
            .. Enumerable.Range(0, hotplugSlots).SelectMany(i => Port(GuestPorts.Port(i))),
            .. Enumerable.Range(0, GuestPorts.Bridges).SelectMany(i => (string[])
            [
                .. Port($"{GuestPorts.Bridge(i)}-port"),
                .. Device("pcie-pci-bridge", GuestPorts.Bridge(i), ("bus", $"{GuestPorts.Bridge(i)}-port")),
            ]),
        ];
    }

    private static string[] Device(string driver, string id, params (string Name, JsonNode Value)[] options) =>
        ["-device", Json([("driver", driver), ("id", id), .. options])];

    // QEMU reads -device, -blockdev and -netdev as JSON too: then nothing in a value needs to be escaped.
    private static string Json(params (string Name, JsonNode Value)[] members) =>
        new JsonObject(members.Select(member => KeyValuePair.Create(member.Name, (JsonNode?)member.Value))).ToJsonString();

    // In QEMU's own option syntax a comma ends a value and two stand for one.
    private static string Escape(string value) => value.Replace(",", ",,", StringComparison.Ordinal);

    // A process name holds 15 characters (prctl(2), PR_SET_NAME).
    private static string Truncate(string name) => name.Length > 15 ? name[..15] : name;
}
