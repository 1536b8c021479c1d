using System.Globalization;

namespace AssignHub.Lab;

/// <summary>The QEMU command line of a lab's host.</summary>
internal static class QemuCommand
{
    /// <summary>Connections to run commands over, one a client at a time: the first process that boots a lab takes one,
    /// and each <c>deploy/lab exec</c> another. The same number of agents is started in <c>init/inittab</c>.</summary>
    public const int Channels = 4;

    private const string ManagementMac = "52:54:00:1a:b0:01";

    public static List<string> Build(LabOptions options, Topology topology, LabAssets assets, string state)
    {
        string append = string.Join(' ', [
            // A kernel that knows it is emulated need not guard against speculation; nothing here is a secret.
            "console=ttyS0 loglevel=4 log_buf_len=4M panic=-1 mitigations=off init_on_alloc=0 nowatchdog audit=0 random.trust_cpu=on",
            "intel_iommu=on iommu=nopt no_timer_check",
            $"lab.kernel={Path.GetRelativePath(assets.CacheDirectory, assets.KernelDirectory)} lab.guest={Path.GetFileName(assets.MachineGuestInitrd)} lab.mac={ManagementMac}",
            .. topology.KernelArguments, .. options.KernelArguments]);
        // eim: the kernel then uses the x2APIC, whose end of interrupt is a register write. In xAPIC mode it is a write to memory, and QEMU's
        // emulation under several threads lost one now and then while PCI devices changed the memory map, which left a processor deaf for
        // good. la57=off: page tables of four levels instead of five are walked faster.
        List<string> arguments =
        [
            "-name", $"assignhub-lab-{topology.Name}", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-pidfile", Path.Combine(state, "qemu.pid"),
            "-accel", "tcg,thread=multi", "-machine", "q35", "-cpu", "max,la57=off",
            "-m", $"{options.MemoryMiB}M", "-smp", Number(options.Cpus),
            "-device", "intel-iommu,intremap=on,eim=on,caching-mode=on,device-iotlb=on",
            "-kernel", assets.KernelImage, "-initrd", assets.HostInitrd, "-append", append,
            "-chardev", $"file,id=console,path={Path.Combine(state, "console.log")}", "-serial", "chardev:console",
            "-qmp", $"unix:{Path.Combine(state, "qmp.sock")},server=on,wait=off",
            "-fsdev", "local,id=machine,path=/,security_model=none,readonly=on,multidevs=remap",
            // Without event_idx a notice that got lost is made good by the next one: see Pulse.
            "-device", "virtio-9p-pci,event_idx=off,fsdev=machine,mount_tag=machine,addr=18",
            "-fsdev", $"local,id=assets,path={assets.CacheDirectory},security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,event_idx=off,fsdev=assets,mount_tag=assets,addr=19",
            "-device", "virtio-serial-pci,event_idx=off,id=agents,addr=1a",
            "-netdev", $"user,id=management,restrict=on,hostfwd=tcp:127.0.0.1:{options.Port}-10.0.2.15:8080",
            "-device", $"virtio-net-pci,event_idx=off,netdev=management,mac={ManagementMac},romfile=,addr=1b",
        ];
        for (int channel = 1; channel <= Channels; channel++)
        {
            arguments.AddRange([
                "-chardev", $"socket,id=agent{channel},path={Path.Combine(state, $"agent{channel}.sock")},server=on,wait=off",
                "-device", $"virtserialport,bus=agents.0,nr={channel},chardev=agent{channel},name=assignhub.channel{channel}"]);
        }

        if (!topology.AcpiHotplug)
        {
            arguments.AddRange(["-global", "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off"]);
        }

        AddNuma(arguments, options, topology);
        int port = 0;
        foreach (TopologyDevice device in topology.Devices)
        {
            Add(arguments, device, "pcie.0", state, ref port);
        }

        return arguments;
    }

    public static string DiskPath(string state, TopologyDevice disk) => Path.Combine(state, disk.Id + ".img");

    private static void AddNuma(List<string> arguments, LabOptions options, Topology topology)
    {
        foreach ((NumaNode node, int index) in topology.NumaNodes.Select((node, index) => (node, index)))
        {
            int cpus = options.Cpus / topology.NumaNodes.Count;
            string size = Number(options.MemoryMiB / topology.NumaNodes.Count);
            string processors = cpus == 0 ? "" : $",cpus={index * cpus}-{((index + 1) * cpus) - 1}";
            arguments.AddRange(["-object", $"memory-backend-ram,id=memory{node.Id},size={size}M"]);
            arguments.AddRange(["-numa", $"node,nodeid={node.Id},memdev=memory{node.Id}{processors}"]);
        }
    }

    private static void Add(List<string> arguments, TopologyDevice device, string bus, string state, ref int port)
    {
        Dictionary<string, string> properties = new(StringComparer.Ordinal)
        {
            ["id"] = device.Id,
            ["bus"] = bus,
            ["addr"] = $"{device.Slot.Slot:x2}.{device.Slot.Function}",
        };
        if (DeviceKind.All[device.Kind].IsPort)
        {
            // Ports are told apart by chassis and slot number.
            port++;
            properties["chassis"] = Number(port);
            properties["slot"] = Number(port);
        }
        else if (device.Kind == "pci-bridge")
        {
            port++;
            properties["chassis_nr"] = Number(port);
        }
        else if (device.Kind == "nvme")
        {
            string drive = $"file={DiskPath(state, device)},if=none,format=raw,id={device.Id}-image";
            arguments.AddRange(["-drive", drive]);
            properties["serial"] = device.Id;
            if (device.VirtualFunctions > 0)
            {
                AddSriov(arguments, device, properties);
            }
            else
            {
                properties["drive"] = device.Id + "-image";
            }
        }

        foreach ((string name, string value) in device.Options)
        {
            properties[name] = value;
        }

        arguments.AddRange(["-device", string.Join(',', [device.Kind, .. properties.Select(p => $"{p.Key}={p.Value}")])]);
        if (device.VirtualFunctions > 0 && device.Kind == "nvme")
        {
            arguments.AddRange(["-device", $"nvme-ns,drive={device.Id}-image,bus={device.Id},nsid=1,shared=on"]);
        }

        foreach (TopologyDevice below in device.Below)
        {
            Add(arguments, below, device.Id, state, ref port);
        }
    }

    // Each virtual function gets two queue pairs and two vectors of the flexible ones.
    private static void AddSriov(List<string> arguments, TopologyDevice device, Dictionary<string, string> properties)
    {
        int functions = device.VirtualFunctions;
        arguments.AddRange(["-device", $"nvme-subsys,id={device.Id}-subsystem"]);
        properties["subsys"] = device.Id + "-subsystem";
        properties["sriov_max_vfs"] = Number(functions);
        properties["sriov_vq_flexible"] = Number(functions * 2);
        properties["sriov_vi_flexible"] = Number(functions);
        properties["max_ioqpairs"] = Number((functions * 2) + 10);
        properties["msix_qsize"] = Number((functions * 2) + 10);
    }

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
