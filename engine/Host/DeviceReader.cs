// One PCI function out of sysfs. What cannot change while the function stays in place (ids, capabilities, where it hangs) is read once
// and kept for as long as its directory is the same one; a function that was unplugged and plugged again has a new directory.

using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>Reads devices below <c>bus/pci/devices</c>. Safe to use from several threads.</summary>
/// <param name="sysfsRoot">Where sysfs is mounted.</param>
/// <param name="names">Shared strings.</param>
internal sealed class DeviceReader(string sysfsRoot, NameTable names)
{
    private readonly ConcurrentDictionary<PciAddress, Known> _known = new();

    // Guarded attributes as last read, of the few functions that have any.
    private readonly ConcurrentDictionary<PciAddress, (string? Override, int NumVfs)> _last = new();

    /// <summary>The directory whose entries are the devices.</summary>
    public string DevicesPath { get; } = Path.Combine(sysfsRoot, "bus/pci/devices");

    /// <summary>Reads one function but for its guarded attributes (<see cref="Complete"/>); null if it is not there.</summary>
    /// <param name="devices">The open <see cref="DevicesPath"/>.</param>
    /// <param name="address">Which.</param>
    /// <exception cref="HostFault">It is there and cannot be read.</exception>
    public PciDevice? Read(SysDir devices, PciAddress address)
    {
        if (!devices.TryOpenBelow(address.ToString(), out SysDir dir))
        {
            _known.TryRemove(address, out _);
            _last.TryRemove(address, out _);
            return null;
        }

        using (dir)
        {
            DirIdentity identity = dir.Identity();
            if (!_known.TryGetValue(address, out Known? known) || known.Identity != identity)
            {
                PciDevice? fixedPart = ReadFixed(devices, dir, address);
                if (fixedPart is null)
                {
                    return null;
                }

                known = new Known(identity, fixedPart, dir.Exists("boot_vga"u8));
                // A function that did not answer is read again next time.
                if (fixedPart.Answers)
                {
                    _known[address] = known;
                }
            }

            return ReadChanging(dir, known);
        }
    }

    /// <summary>What <see cref="GuardedReads"/> needs to know of a function.</summary>
    public (PciAddress Address, bool MayHaveVfs) ToGuard(PciAddress address) =>
        (address, !_known.TryGetValue(address, out Known? known) || known.Device.Sriov is { PhysicalFunction: null });

    /// <summary>A function with its guarded attributes; those that could not be read are as they were last.</summary>
    public PciDevice Complete(PciDevice device, Guarded guarded)
    {
        if (!guarded.Read)
        {
            (string? Override, int NumVfs) last = _last.GetValueOrDefault(device.Address);
            return WithGuarded(device, last.Override, last.NumVfs) with { Busy = true };
        }

        if (guarded is { DriverOverride: null, NumVfs: 0 })
        {
            _last.TryRemove(device.Address, out _);
            return device;
        }

        _last[device.Address] = (guarded.DriverOverride, guarded.NumVfs);
        return WithGuarded(device, guarded.DriverOverride, guarded.NumVfs);
    }

    private static PciDevice WithGuarded(PciDevice device, string? driverOverride, int vfs) => device with
    {
        DriverOverride = driverOverride,
        Sriov = device.Sriov is { PhysicalFunction: null } sriov ? sriov with { NumVfs = vfs } : device.Sriov,
    };

    /// <summary>Forgets every function that is not among these.</summary>
    public void Keep(IReadOnlyDictionary<PciAddress, PciDevice> present)
    {
        foreach (PciAddress address in _known.Keys)
        {
            if (!present.ContainsKey(address))
            {
                _known.TryRemove(address, out _);
                _last.TryRemove(address, out _);
            }
        }
    }

    private PciDevice ReadChanging(SysDir dir, Known known)
    {
        Span<byte> buffer = stackalloc byte[512];
        PciDevice device = known.Device;
        string? driver = dir.TryReadLink("driver"u8, buffer, out ReadOnlySpan<byte> link) ? names.Get(LastPart(link)) : null;
        if (driver == "nvme" && device.Serial is null && ReadNvmeSerial(dir) is { } serial)
        {
            device = device with { Serial = serial };
            _known[device.Address] = known with { Device = device };
        }

        int? group = dir.TryReadLink("iommu_group"u8, buffer, out link) && Utf8Parser.TryParse(LastPart(link), out int number, out _) ? number : null;
        ImmutableArray<string> resets = dir.TryRead("reset_method"u8, buffer, out ReadOnlySpan<byte> text) ? names.GetWords(text) : [];
        BridgeBuses? buses = device.Bridge;
        if (buses is not null)
        {
            // A hot-plug port may gain buses below it.
            byte subordinate = (byte)ReadInt(dir, "subordinate_bus_number"u8, buses.SubordinateBus);
            buses = subordinate == buses.SubordinateBus ? buses : buses with { SubordinateBus = subordinate };
        }

        return device with
        {
            Driver = driver,
            Group = group,
            ResetMethods = resets,
            Bridge = buses,
            BootVga = known.HasBootVga && ReadInt(dir, "boot_vga"u8) == 1,
            VfioDevice = VfioDrivers.IsVfio(driver) ? ReadVfioDevice(dir) : null,
        };
    }

    private static PciDevice? ReadFixed(SysDir devices, SysDir dir, PciAddress address)
    {
        if (ConfigReader.Read(dir) is not { } config)
        {
            return null;
        }

        Span<byte> buffer = stackalloc byte[512];
        uint classCode = ReadHex(dir, "class"u8, config.ClassCode);
        PciAddress? parent = devices.TryReadLink(address.ToString(), buffer, out ReadOnlySpan<byte> path) ? ParentOf(path) : null;
        SriovState? sriov = null;
        if (dir.TryReadLink("physfn"u8, buffer, out ReadOnlySpan<byte> physical) && TryAddress(LastPart(physical), out PciAddress function))
        {
            sriov = new SriovState(0, 0, function);
        }
        else if (dir.TryRead("sriov_totalvfs"u8, buffer, out ReadOnlySpan<byte> total) && Utf8Parser.TryParse(total, out int most, out _))
        {
            sriov = new SriovState(most, 0, null);
        }

        return new PciDevice
        {
            Address = address,
            VendorId = (ushort)ReadHex(dir, "vendor"u8, config.VendorId),
            DeviceId = (ushort)ReadHex(dir, "device"u8, config.DeviceId),
            SubsystemVendorId = (ushort)ReadHex(dir, "subsystem_vendor"u8, 0),
            SubsystemId = (ushort)ReadHex(dir, "subsystem_device"u8, 0),
            ClassCode = classCode,
            Revision = (byte)ReadHex(dir, "revision"u8, config.Revision),
            // Root may correct what the firmware tells, which taints the kernel and is done at boot if at all.
            NumaNode = ReadInt(dir, "numa_node"u8, -1) is >= 0 and int node ? node : null,
            Serial = config.Serial,
            ParentBridge = parent,
            // Header type 1 is what the kernel's bridges are known by; a bridge that does not answer is known by its class (0604xx, 0609xx).
            Bridge = config.HeaderType == 1 || (!config.Answers && classCode >> 8 is 0x0604 or 0x0609)
                ? new BridgeBuses((byte)ReadInt(dir, "secondary_bus_number"u8, config.SecondaryBus), config.SubordinateBus)
                : null,
            CanResetSubordinate = dir.Exists("reset_subordinate"u8),
            Sriov = sriov,
            CapabilityFingerprint = config.Fingerprint,
            PcieType = config.PcieType,
            Acs = config.Acs,
            Answers = config.Answers,
        };
    }

    /// <summary>The bridge above, from the device's place in the tree: <c>../../../devices/pci0000:00/0000:00:1c.0/0000:03:00.0</c>.</summary>
    internal static PciAddress? ParentOf(ReadOnlySpan<byte> path)
    {
        int own = path.LastIndexOf((byte)'/');
        return own > 0 && TryAddress(LastPart(path[..own]), out PciAddress parent) ? parent : null;
    }

    /// <summary>Reads an address in the kernel's text.</summary>
    internal static bool TryAddress(ReadOnlySpan<byte> text, out PciAddress address)
    {
        address = default;
        if (text.Length is < 12 or > 16)
        {
            return false;
        }

        Span<char> chars = stackalloc char[16];
        return PciAddress.TryParse(chars[..Encoding.ASCII.GetChars(text, chars)], out address);
    }

    /// <summary>What stands after the last slash.</summary>
    internal static ReadOnlySpan<byte> LastPart(ReadOnlySpan<byte> path) => path[(path.LastIndexOf((byte)'/') + 1)..];

    private static string? ReadVfioDevice(SysDir dir)
    {
        foreach (string name in dir.List("vfio-dev"))
        {
            if (name.StartsWith("vfio", StringComparison.Ordinal))
            {
                return name;
            }
        }

        return null;
    }

    /// <summary>Few disks have the serial number capability, but each tells its driver one: without it, a disk and its twin look the same.</summary>
    private static string? ReadNvmeSerial(SysDir dir)
    {
        Span<byte> buffer = stackalloc byte[64];
        foreach (string name in dir.List("nvme"))
        {
            // "(efault)": the driver has not asked the disk yet (sysfs_emit of a name that is not there).
            if (dir.TryRead(Encoding.ASCII.GetBytes($"nvme/{name}/serial"), buffer, out ReadOnlySpan<byte> text) && !text.IsEmpty && text[0] != '(')
            {
                return Encoding.UTF8.GetString(text).Trim();
            }
        }

        return null;
    }

    private static int ReadInt(SysDir dir, ReadOnlySpan<byte> name, int otherwise = 0)
    {
        Span<byte> buffer = stackalloc byte[32];
        return dir.TryRead(name, buffer, out ReadOnlySpan<byte> text) && Utf8Parser.TryParse(text, out int value, out _) ? value : otherwise;
    }

    // Attributes of ids read 0x8086.
    private static uint ReadHex(SysDir dir, ReadOnlySpan<byte> name, uint otherwise)
    {
        Span<byte> buffer = stackalloc byte[32];
        return dir.TryRead(name, buffer, out ReadOnlySpan<byte> text) && text.StartsWith("0x"u8)
            && uint.TryParse(text[2..], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out uint value)
            ? value
            : otherwise;
    }

    private sealed record Known(DirIdentity Identity, PciDevice Device, bool HasBootVga);
}
