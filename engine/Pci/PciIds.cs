// Names of vendors, devices and classes from the distribution's pci.ids. The file has 40,000 lines: one pass over its bytes answers for all
// devices of a host, and only the names of ids that were asked for are kept.

using System.Buffers.Text;
using System.Text;
using AssignHub.Engine.Host;

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
    private const uint NoId = uint.MaxValue;
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

    /// <summary>The names of one device. The first question about a host reads the file, for all its devices.</summary>
    /// <param name="device">The device.</param>
    /// <param name="host">The host whose other devices will be asked for as well.</param>
    public PciNames Lookup(PciDevice device, HostState host)
    {
        ArgumentNullException.ThrowIfNull(device);
        ArgumentNullException.ThrowIfNull(host);
        Key key = Key.Of(device);
        if (!Volatile.Read(ref _known).TryGetValue(key, out PciNames? names))
        {
            Load([key, .. host.Devices.Values.Select(Key.Of)]);
            names = Volatile.Read(ref _known)[key];
        }

        return names;
    }

    private void Load(HashSet<Key> wanted)
    {
        lock (_lock)
        {
            wanted.ExceptWith(_known.Keys);
            Names found = new(wanted);
            if (_path is not null && File.Exists(_path))
            {
                ReadLines(_path, found);
            }

            Dictionary<Key, PciNames> known = new(_known);
            foreach (Key key in wanted)
            {
                known[key] = found.Of(key);
            }

            Volatile.Write(ref _known, known);
        }
    }

    // Lines longer than the buffer do not occur; a part of one would be taken for a line, and names nothing.
    private static void ReadLines(string path, Names found)
    {
        using FileStream file = new(path, FileMode.Open, FileAccess.Read, FileShare.Read, bufferSize: 0);
        byte[] buffer = new byte[64 << 10];
        int held = 0;
        while (file.Read(buffer, held, buffer.Length - held) is > 0 and int read)
        {
            ReadOnlySpan<byte> rest = buffer.AsSpan(0, held + read);
            for (int end = rest.IndexOf((byte)'\n'); end >= 0; end = rest.IndexOf((byte)'\n'))
            {
                found.Add(rest[..end]);
                rest = rest[(end + 1)..];
            }

            held = rest.Length == buffer.Length ? 0 : rest.Length;
            rest[^held..].CopyTo(buffer);
        }

        found.Add(buffer.AsSpan(0, held));
    }

    private readonly record struct Key(ushort Vendor, ushort Device, ushort SubsystemVendor, ushort Subsystem, uint Class)
    {
        public static Key Of(PciDevice device) =>
            new(device.VendorId, device.DeviceId, device.SubsystemVendorId, device.SubsystemId, device.ClassCode >> 8);
    }

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

        public void Add(ReadOnlySpan<byte> line)
        {
            if (line.Length < 4 || line[0] == '#')
            {
                return;
            }

            if (line[0] != '\t')
            {
                _inClasses = line[0] == 'C' && line[1] == ' ';
                Dictionary<uint, string?> names = _inClasses ? _baseClasses : _vendors;
                _device = NoId;
                _vendor = TryHex(line, _inClasses ? 2 : 0, _inClasses ? 2 : 4, out uint id) && names.ContainsKey(id) ? id : NoId;
                Set(names, _vendor, line, 4);
            }
            else if (_vendor == NoId)
            {
                // Below a vendor that nobody asked for: nine lines of ten.
            }
            else if (line[1] != '\t')
            {
                int digits = _inClasses ? 2 : 4;
                _device = TryHex(line, 1, digits, out uint id) ? _vendor << (digits * 4) | id : NoId;
                Set(_inClasses ? _classes : _devices, _device, line, 1 + digits);
            }
            else if (!_inClasses && _device != NoId && line.Length > 11
                && TryHex(line, 2, 4, out uint subsystemVendor) && TryHex(line, 7, 4, out uint subsystem)
                && _subsystems.ContainsKey((_device, subsystemVendor << 16 | subsystem)))
            {
                _subsystems[(_device, subsystemVendor << 16 | subsystem)] = Text(line[11..]);
            }
        }

        private static void Set(Dictionary<uint, string?> names, uint id, ReadOnlySpan<byte> line, int after)
        {
            if (id != NoId && names.ContainsKey(id))
            {
                names[id] = Text(line[after..]);
            }
        }

        private static string Text(ReadOnlySpan<byte> name) => Encoding.UTF8.GetString(name).Trim();

        private static bool TryHex(ReadOnlySpan<byte> line, int at, int digits, out uint value)
        {
            value = 0;
            return line.Length >= at + digits && Utf8Parser.TryParse(line.Slice(at, digits), out value, out int used, 'x') && used == digits;
        }
    }
}
