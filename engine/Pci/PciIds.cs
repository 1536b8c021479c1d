// Names of vendors, devices and classes from the distribution's pci.ids. The file has 40,000 lines; only the names of ids that were asked
// for are kept.

using System.Globalization;
using System.Text;

namespace AssignHub.Engine.Pci;

/// <summary>The names of one device; null where the list has none.</summary>
/// <param name="Vendor">Of the vendor id.</param>
/// <param name="Device">Of the device id.</param>
/// <param name="Subsystem">Of the subsystem ids of this device.</param>
/// <param name="Class">Of the subclass, or else of the base class.</param>
public sealed record PciNames(string? Vendor, string? Device, string? Subsystem, string? Class);

/// <summary>Looks names up, and remembers them. Safe to use from several threads.</summary>
public sealed class PciIds
{
    private const uint NoDevice = uint.MaxValue;
    private readonly string? _path;
    private readonly Lock _lock = new();
    private Dictionary<Key, PciNames> _known = [];

    /// <summary>Makes a list over a file.</summary>
    /// <param name="path">The pci.ids file; null or missing: no names.</param>
    public PciIds(string? path) => _path = path;

    /// <summary>Where distributions put the file, in the order to look (Debian, Fedora, older ones).</summary>
    public static IReadOnlyList<string> DistributionPaths { get; } =
        ["/usr/share/misc/pci.ids", "/usr/share/hwdata/pci.ids", "/usr/share/pci.ids"];

    /// <summary>The list of this distribution; without names if it has none.</summary>
    public static PciIds OfDistribution()
    {
        foreach (string path in DistributionPaths)
        {
            if (File.Exists(path))
            {
                return new PciIds(path);
            }
        }

        return new PciIds(null);
    }

    /// <summary>The names of one device. The first question for new ids reads the file; ask for many at once with <see cref="Prepare"/>.</summary>
    public PciNames Lookup(ushort vendor, ushort device, ushort subsystemVendor, ushort subsystem, uint classCode)
    {
        Key key = new(vendor, device, subsystemVendor, subsystem, classCode >> 8);
        if (!Volatile.Read(ref _known).TryGetValue(key, out PciNames? names))
        {
            Load([key]);
            names = Volatile.Read(ref _known)[key];
        }

        return names;
    }

    /// <inheritdoc cref="Lookup(ushort, ushort, ushort, ushort, uint)"/>
    public PciNames Lookup(Host.PciDevice device)
    {
        ArgumentNullException.ThrowIfNull(device);
        return Lookup(device.VendorId, device.DeviceId, device.SubsystemVendorId, device.SubsystemId, device.ClassCode);
    }

    /// <summary>Reads the names of all these devices in one pass over the file.</summary>
    public void Prepare(IEnumerable<Host.PciDevice> devices)
    {
        ArgumentNullException.ThrowIfNull(devices);
        Dictionary<Key, PciNames> known = Volatile.Read(ref _known);
        HashSet<Key> missing = [];
        foreach (Host.PciDevice device in devices)
        {
            Key key = new(device.VendorId, device.DeviceId, device.SubsystemVendorId, device.SubsystemId, device.ClassCode >> 8);
            if (!known.ContainsKey(key))
            {
                missing.Add(key);
            }
        }

        if (missing.Count > 0)
        {
            Load(missing);
        }
    }

    private void Load(HashSet<Key> wanted)
    {
        lock (_lock)
        {
            Names found = new(wanted);
            if (_path is not null && File.Exists(_path))
            {
                using StreamReader reader = new(_path, Encoding.UTF8, false, 32 << 10);
                while (reader.ReadLine() is { } line)
                {
                    found.Add(line);
                }
            }

            Dictionary<Key, PciNames> known = new(_known);
            foreach (Key key in wanted)
            {
                known[key] = found.Of(key);
            }

            Volatile.Write(ref _known, known);
        }
    }

    private readonly record struct Key(ushort Vendor, ushort Device, ushort SubsystemVendor, ushort Subsystem, uint Class);

    /// <summary>
    /// Takes the file line by line: <c>8086  Intel Corporation</c>, a tab and <c>10d3  82574L Gigabit…</c>, two tabs and <c>8086 a01f  Gigabit CT…</c>;
    /// then the classes: <c>C 02  Network controller</c>, a tab and <c>00  Ethernet controller</c>.
    /// </summary>
    private sealed class Names
    {
        private readonly Dictionary<uint, string?> _vendors = [];
        private readonly Dictionary<uint, string?> _devices = [];
        private readonly Dictionary<(uint, uint), string?> _subsystems = [];
        private readonly Dictionary<uint, string?> _classes = [];
        private readonly Dictionary<uint, string?> _baseClasses = [];
        private bool _inClasses;
        private uint _vendor;
        private uint _device;

        public Names(HashSet<Key> wanted)
        {
            foreach (Key key in wanted)
            {
                _vendors[key.Vendor] = null;
                _devices[(uint)key.Vendor << 16 | key.Device] = null;
                _subsystems[((uint)key.Vendor << 16 | key.Device, (uint)key.SubsystemVendor << 16 | key.Subsystem)] = null;
                _classes[key.Class] = null;
                _baseClasses[key.Class >> 8] = null;
            }
        }

        public PciNames Of(Key key) => new(
            _vendors[key.Vendor],
            _devices[(uint)key.Vendor << 16 | key.Device],
            _subsystems[((uint)key.Vendor << 16 | key.Device, (uint)key.SubsystemVendor << 16 | key.Subsystem)],
            _classes[key.Class] ?? _baseClasses[key.Class >> 8]);

        public void Add(ReadOnlySpan<char> line)
        {
            if (line.Length < 4 || line[0] == '#')
            {
                return;
            }

            if (line[0] != '\t')
            {
                _inClasses = line[0] == 'C' && line[1] == ' ';
                _device = NoDevice;
                _vendor = TryHex(line, _inClasses ? 2 : 0, _inClasses ? 2 : 4, out uint id) ? id : NoDevice;
                Set(_inClasses ? _baseClasses : _vendors, _vendor, line, 4);
            }
            else if (line[1] != '\t')
            {
                int digits = _inClasses ? 2 : 4;
                _device = _vendor != NoDevice && TryHex(line, 1, digits, out uint id) ? _vendor << (digits * 4) | id : NoDevice;
                Set(_inClasses ? _classes : _devices, _device, line, 1 + digits);
            }
            else if (!_inClasses && _device != NoDevice && line.Length > 11
                && TryHex(line, 2, 4, out uint subsystemVendor) && TryHex(line, 7, 4, out uint subsystem)
                && _subsystems.ContainsKey((_device, subsystemVendor << 16 | subsystem)))
            {
                _subsystems[(_device, subsystemVendor << 16 | subsystem)] = line[11..].Trim().ToString();
            }
        }

        private static void Set(Dictionary<uint, string?> names, uint id, ReadOnlySpan<char> line, int after)
        {
            if (id != NoDevice && names.ContainsKey(id))
            {
                names[id] = line[after..].Trim().ToString();
            }
        }

        private static bool TryHex(ReadOnlySpan<char> line, int at, int digits, out uint value)
        {
            value = 0;
            return line.Length >= at + digits && uint.TryParse(line.Slice(at, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out value);
        }
    }
}
