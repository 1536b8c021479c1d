// A host that is only a tree of files: what the kernel would do on a write is done to the tree, with the kernel's rules and errors
// (drivers/base/bus.c, drivers/base/dd.c, drivers/iommu/iommu.c, drivers/vfio/pci/vfio_pci_core.c). Nothing outside the trees is touched.
// Files that start with a dot are the model's own: .ids of a driver lists the ids that it takes, .no_bus_reset of a device is the kernel's
// PCI_DEV_FLAGS_NO_BUS_RESET.

using System.Collections.Immutable;
using System.Globalization;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Host;

/// <summary>Changes a synthetic host.</summary>
public sealed class ModelledKernel : SysfsKernel
{
    // Links lead out of the tree below a device, and round in circles; files with a dot count as hidden and are wanted.
    internal static readonly EnumerationOptions Below = new() { RecurseSubdirectories = true, AttributesToSkip = FileAttributes.ReparsePoint };

    private readonly string _devRoot;
    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private readonly Dictionary<int, ManualResetEventSlim> _claimed = [];

    /// <summary>Makes it.</summary>
    /// <param name="sysfsRoot">The tree that looks like sysfs.</param>
    /// <param name="devRoot">Where group files (<c>vfio/N</c>) appear.</param>
    /// <param name="deadline">How long one verb may take.</param>
    /// <param name="time">The clock of the deadline.</param>
    public ModelledKernel(string sysfsRoot, string devRoot, TimeSpan deadline, TimeProvider time)
        : base(sysfsRoot, deadline, time)
    {
        ArgumentException.ThrowIfNullOrEmpty(devRoot);
        _devRoot = devRoot;
        _time = time;
    }

    /// <summary>Resets so far, in order: which were asked for and worked.</summary>
    public ImmutableArray<(SysfsFile File, PciAddress Device)> Resets { get; private set; } = [];

    /// <summary>Takes DMA ownership of a group, as attaching it to a container does; disposing gives it back.</summary>
    /// <exception cref="HostFault">EBUSY: it is taken. EPERM: a member's driver does DMA (not viable). ENODEV: no such group. ENOENT: no group file.</exception>
    public IDisposable ClaimGroup(int group)
    {
        lock (_lock)
        {
            string subject = group.ToString(CultureInfo.InvariantCulture);
            if (!Directory.Exists(GroupPath(group)))
            {
                throw new HostFault("VFIO_GROUP_SET_CONTAINER", subject, Errno.ENODEV);
            }

            if (!File.Exists(GroupNode(group)))
            {
                throw new HostFault("open", GroupNode(group), Errno.ENOENT);
            }

            if (_claimed.ContainsKey(group))
            {
                throw new HostFault("open", GroupNode(group), Errno.EBUSY);
            }

            foreach (PciAddress member in Members(group))
            {
                if (DriverOf(member) is { } driver && DoesDma(driver))
                {
                    throw new HostFault("VFIO_GROUP_SET_CONTAINER", subject, Errno.EPERM, $"{member} is on {driver}");
                }
            }

            ManualResetEventSlim released = new();
            _claimed.Add(group, released);
            return new Claim(this, group);
        }
    }

    /// <inheritdoc/>
    public override Task LoadModuleAsync(string module, CancellationToken cancellation)
    {
        ArgumentException.ThrowIfNullOrEmpty(module);
        cancellation.ThrowIfCancellationRequested();
        lock (_lock)
        {
            Directory.CreateDirectory(Path.Combine(SysfsRoot, "module", module.Replace('-', '_')));
            if (module.Replace('_', '-') == VfioDrivers.Generic)
            {
                Directory.CreateDirectory(DriverPath(VfioDrivers.Generic));
            }
        }

        return Task.CompletedTask;
    }

    /// <inheritdoc/>
    protected override ContainerProof Prove(int group, ImmutableArray<PciAddress> endpoints, bool openDevices)
    {
        using (ClaimGroup(group))
        {
            // What a 39-bit VT-d says.
            return new ContainerProof(
                new IommuReport { Backend = "type1v2", PageSizesBytes = [4096], IovaRanges = [new IovaRange(0, 0xfedfffff), new IovaRange(0xfef00000, 0x7fffffffff)] },
                openDevices ? [.. endpoints.Select(device => ModelledDevice.Report(DevicePath(device), device, _time.GetUtcNow()))] : []);
        }
    }

    /// <inheritdoc/>
    protected override void Write(SysfsFile file, PciAddress device, string? driver, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (file == SysfsFile.Unbind)
        {
            WaitUntilClosed(device);
        }
        else if (file == SysfsFile.NumVfs)
        {
            ModelledVfs.Of(DevicePath(device)).ForEach(WaitUntilClosed);
        }

        lock (_lock)
        {
            string path = DevicePath(device);
            if (!Directory.Exists(path))
            {
                throw Fault(file, device, Errno.ENODEV);
            }

            switch (file)
            {
                case SysfsFile.DriverOverride:
                    File.WriteAllText(Path.Combine(path, "driver_override"), text.Trim() is { Length: > 0 } name ? name + "\n" : "(null)\n");
                    break;
                case SysfsFile.Unbind:
                    Unbind(device, driver!);
                    break;
                case SysfsFile.Bind:
                    Bind(device, driver!);
                    break;
                case SysfsFile.Probe:
                    Probe(device);
                    break;
                case SysfsFile.Reset:
                case SysfsFile.ResetSubordinate:
                    Reset(file, device);
                    break;
                case SysfsFile.NumVfs:
                    SetNumVfs(path, device, text);
                    break;
                default:
                    throw new ArgumentOutOfRangeException(nameof(file), file, null);
            }
        }
    }

    // The kernel's vfio_unregister_group_dev waits until user space has closed the device.
    private void WaitUntilClosed(PciAddress device)
    {
        ManualResetEventSlim? released = null;
        lock (_lock)
        {
            if (Directory.Exists(DevicePath(device)) && VfioDrivers.IsVfio(DriverOf(device)) && GroupOf(device) is { } group)
            {
                _claimed.TryGetValue(group, out released);
            }
        }

        released?.Wait();
    }

    private void Unbind(PciAddress device, string driver)
    {
        if (DriverOf(device) != driver)
        {
            throw Fault(SysfsFile.Unbind, device, Errno.ENODEV);
        }

        LearnIds(device, driver);
        File.Delete(Path.Combine(DevicePath(device), "driver"));
        File.Delete(Path.Combine(DriverPath(driver), device.ToString()));
        if (VfioDrivers.IsVfio(driver) && GroupOf(device) is { } group && !HasVfioMember(group))
        {
            File.Delete(GroupNode(group));
        }
    }

    private void Bind(PciAddress device, string driver)
    {
        if (!Directory.Exists(DriverPath(driver)))
        {
            throw Fault(SysfsFile.Bind, device, Errno.ENOENT, $"the driver {driver} is not loaded");
        }

        if (DriverOf(device) is not null)
        {
            throw Fault(SysfsFile.Bind, device, Errno.EBUSY);
        }

        if (!Matches(device, driver))
        {
            throw Fault(SysfsFile.Bind, device, Errno.ENODEV);
        }

        int? group = GroupOf(device);
        if (VfioDrivers.IsVfio(driver))
        {
            CheckVfioTakes(device, group);
        }
        else if (DoesDma(driver) && group is { } owned && _claimed.ContainsKey(owned))
        {
            // iommu_device_use_default_domain refuses while the group's DMA ownership is claimed.
            throw Fault(SysfsFile.Bind, device, Errno.EBUSY);
        }

        Link(Path.Combine(DevicePath(device), "driver"), DriverPath(driver));
        Link(Path.Combine(DriverPath(driver), device.ToString()), DevicePath(device));
        if (VfioDrivers.IsVfio(driver) && group is { } number)
        {
            Directory.CreateDirectory(Path.Combine(_devRoot, "vfio"));
            File.WriteAllText(GroupNode(number), "");
        }
    }

    private void CheckVfioTakes(PciAddress device, int? group)
    {
        byte[] config = File.ReadAllBytes(Path.Combine(DevicePath(device), "config"));
        if (group is null || ConfigSpace.Parse(config).HeaderType != 0)
        {
            throw Fault(SysfsFile.Bind, device, Errno.EINVAL);
        }

        if (SysDir.ReadText(Path.Combine(DevicePath(device), "sriov_numvfs"))?.Trim() is not (null or "0"))
        {
            throw Fault(SysfsFile.Bind, device, Errno.EBUSY, "it has virtual functions");
        }
    }

    // drivers_probe reports no failed probe: the first driver that matches gets its chance.
    private void Probe(PciAddress device)
    {
        if (DriverOf(device) is not null)
        {
            return;
        }

        foreach (string path in Directory.GetDirectories(Path.Combine(SysfsRoot, "bus/pci/drivers")).Order(StringComparer.Ordinal))
        {
            string driver = Path.GetFileName(path);
            if (Matches(device, driver))
            {
                try
                {
                    Bind(device, driver);
                }
                catch (HostFault)
                {
                    // As in the kernel (__device_attach_driver): the caller of drivers_probe is not told.
                }

                return;
            }
        }
    }

    private bool Matches(PciAddress device, string driver) =>
        OverrideOf(device) is { } wanted
            ? wanted == driver
            : File.Exists(Path.Combine(DriverPath(driver), ".ids")) && File.ReadAllLines(Path.Combine(DriverPath(driver), ".ids")).Contains(IdsOf(device));

    private void LearnIds(PciAddress device, string driver)
    {
        string file = Path.Combine(DriverPath(driver), ".ids");
        string ids = IdsOf(device);
        if (OverrideOf(device) is null && (!File.Exists(file) || !File.ReadAllLines(file).Contains(ids)))
        {
            File.AppendAllText(file, ids + "\n");
        }
    }

    private string IdsOf(PciAddress device)
    {
        string path = DevicePath(device);
        return $"{File.ReadAllText(Path.Combine(path, "vendor")).Trim()}:{File.ReadAllText(Path.Combine(path, "device")).Trim()}";
    }

    private void Reset(SysfsFile file, PciAddress device)
    {
        string path = DevicePath(device);
        if (!File.Exists(Path.Combine(path, NameOf(file))))
        {
            throw Fault(file, device, Errno.ENOENT);
        }

        // A real directory path here: what is below the bridge are its subdirectories.
        if (file == SysfsFile.ResetSubordinate && Directory.EnumerateFiles(path, ".no_bus_reset", Below).Any())
        {
            throw Fault(file, device, Errno.ENOTTY);
        }

        Resets = Resets.Add((file, device));
    }

    // sriov_numvfs_store: the functions that go leave their drivers, those that come are offered to one.
    private void SetNumVfs(string path, PciAddress device, string text)
    {
        ModelledVfs.Check(path, device, text, Fault);
        foreach (PciAddress function in ModelledVfs.Of(path))
        {
            if (text == "0" && DriverOf(function) is { } driver)
            {
                Unbind(function, driver);
            }
        }

        ModelledVfs.Write(SysfsRoot, path, device, text);
        if (SysDir.ReadText(Path.Combine(path, "sriov_drivers_autoprobe"))?.Trim() != "0")
        {
            ModelledVfs.Of(path).ForEach(Probe);
        }
    }

    private bool HasVfioMember(int group) => Members(group).Any(member => VfioDrivers.IsVfio(DriverOf(member)));

    private IEnumerable<PciAddress> Members(int group)
    {
        foreach (string path in Directory.EnumerateFileSystemEntries(Path.Combine(GroupPath(group), "devices")))
        {
            if (PciAddress.TryParse(Path.GetFileName(path.AsSpan()), out PciAddress address))
            {
                yield return address;
            }
        }
    }

    private int? GroupOf(PciAddress device) =>
        new FileInfo(Path.Combine(DevicePath(device), "iommu_group")).LinkTarget is { } link
        && int.TryParse(Path.GetFileName(link.AsSpan()), NumberStyles.None, CultureInfo.InvariantCulture, out int group)
            ? group
            : null;

    // Drivers with driver_managed_dma leave the group's ownership alone.
    private static bool DoesDma(string driver) => !VfioDrivers.IsVfio(driver) && driver is not ("pcieport" or "pci-stub");

    /// <summary>A device's directory in <c>devices/</c>, not the link in <c>bus/</c>, so that links below it come out right.</summary>
    private string DevicePath(PciAddress device)
    {
        string link = Path.Combine(SysfsRoot, "bus/pci/devices", device.ToString());
        return new DirectoryInfo(link).LinkTarget is { } target ? Path.GetFullPath(Path.Combine(SysfsRoot, "bus/pci/devices", target)) : link;
    }

    private string DriverPath(string driver) => Path.Combine(SysfsRoot, "bus/pci/drivers", driver);

    private string GroupPath(int group) => Path.Combine(SysfsRoot, "kernel/iommu_groups", group.ToString(CultureInfo.InvariantCulture));

    private string GroupNode(int group) => Path.Combine(_devRoot, "vfio", group.ToString(CultureInfo.InvariantCulture));

    private static void Link(string path, string target) =>
        File.CreateSymbolicLink(path, Path.GetRelativePath(Path.GetDirectoryName(path)!, Path.GetFullPath(target)));

    private static HostFault Fault(SysfsFile file, PciAddress device, Errno errno, string? detail = null) =>
        new(NameOf(file), device.ToString(), errno, detail);

    private void Release(int group)
    {
        lock (_lock)
        {
            if (_claimed.Remove(group, out ManualResetEventSlim? released))
            {
                // Not disposed: an unbind may still wait on it, and it holds no handle unless someone asked for one.
                released.Set();
            }
        }
    }

    private sealed class Claim(ModelledKernel kernel, int group) : IDisposable
    {
        private int _released;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _released, 1) == 0)
            {
                kernel.Release(group);
            }
        }
    }
}
