using System.Globalization;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace AssignHub.Lab;

/// <summary>
/// Reads a topology file. It reports everything that is wrong with the file at once, each with its line, as
/// <c>sample.yaml:12: device "nic0": unknown kind "e1000x"</c>.
/// </summary>
public sealed class TopologyReader
{
    private readonly string _file;
    private readonly List<string> _errors = [];
    private readonly HashSet<string> _ids = new(StringComparer.Ordinal);
    private readonly HashSet<int> _numaNodes = [];

    private TopologyReader(string file) => _file = file;

    /// <summary>Gives the topology, or null and what is wrong.</summary>
    public static (Topology? Topology, IReadOnlyList<string> Errors) Read(string text, string file)
    {
        var reader = new TopologyReader(file);
        Topology? topology = null;
        try
        {
            var stream = new YamlStream();
            stream.Load(new StringReader(text));
            if (stream.Documents is [{ RootNode: YamlMappingNode root }])
            {
                topology = reader.ReadTopology(root);
            }
            else
            {
                reader._errors.Add($"{file}: expected one mapping with name, devices and promises");
            }
        }
        catch (YamlException exception)
        {
            reader._errors.Add($"{file}:{exception.Start.Line}: {exception.InnerException?.Message ?? exception.Message}");
        }

        return reader._errors.Count == 0 ? (topology, []) : (null, reader._errors);
    }

    private Topology ReadTopology(YamlMappingNode root)
    {
        const string where = "topology";
        CheckFields(root, where, "name", "description", "numa", "kernel", "acpiHotplug", "devices", "promises");
        NumaNode[] numa = [.. List(root, "numa", where).Select(node => ReadNumber(node, $"{where}: numa", 0, 7)).Select(id => new NumaNode(id))];
        foreach (NumaNode node in numa)
        {
            if (!_numaNodes.Add(node.Id))
            {
                Error(root, where, $"NUMA node {node.Id} is there twice");
            }
        }

        return new Topology
        {
            Name = Text(root, "name", where, required: true),
            Description = Text(root, "description", where),
            NumaNodes = numa,
            KernelArguments = [.. List(root, "kernel", where).Select(node => Scalar(node, $"{where}: kernel"))],
            AcpiHotplug = ReadSwitch(root, "acpiHotplug", where),
            Devices = ReadDevices(root, "devices", where, DeviceKind.Root, slots: 0x18),
            Promises = ReadPromises(root),
        };
    }

    private List<TopologyDevice> ReadDevices(YamlMappingNode owner, string field, string where, string above, int slots)
    {
        List<TopologyDevice> devices = [];
        HashSet<(int, int)> taken = [];
        foreach (YamlNode node in List(owner, field, where))
        {
            if (node is not YamlMappingNode mapping)
            {
                Error(node, where, "a device is a mapping with id, kind and slot");
                continue;
            }

            TopologyDevice device = ReadDevice(mapping, above, slots);
            if (!taken.Add(device.Slot))
            {
                Error(mapping, Name(device), $"slot {device.Slot.Slot:x2}.{device.Slot.Function} is taken by another device");
            }

            devices.Add(device);
        }

        // The kernel looks at further functions of a slot only if function 0 answers.
        foreach (TopologyDevice device in devices.Where(d => d.Slot.Function != 0 && !taken.Contains((d.Slot.Slot, 0))))
        {
            Error(owner, Name(device), $"slot {device.Slot.Slot:x2} has no function 0");
        }

        return devices;
    }

    private TopologyDevice ReadDevice(YamlMappingNode node, string above, int slots)
    {
        string id = Text(node, "id", "device", required: true);
        string where = $"device \"{id}\"";
        CheckFields(node, where, "id", "kind", "slot", "acs", "numa", "busNumber", "size", "content", "virtualFunctions", "options", "below");
        if (id.Length > 0 && !_ids.Add(id))
        {
            Error(node, where, "the id is taken by another device");
        }
        else if (id.Any(c => !char.IsAsciiLetterOrDigit(c) && c is not ('-' or '_')))
        {
            Error(node, where, "an id is made of letters, digits, '-' and '_'");
        }
        else if (id is "port" or "slot" or "chassis" or "addr" or "bus")
        {
            // QEMU names a device's bus by the device's id, and that as a property beside these.
            Error(node, where, "QEMU has another use for this id");
        }

        string kindName = Text(node, "kind", where, required: true);
        DeviceKind? kind = DeviceKind.All.GetValueOrDefault(kindName);
        if (kind is null)
        {
            Error(node, where, $"unknown kind \"{kindName}\" (known: {string.Join(", ", DeviceKind.All.Keys)})");
        }
        else if (!kind.MaySitOn(above))
        {
            Error(node, where, $"{kindName} cannot sit on {(above == DeviceKind.Root ? "the root bus" : above)}");
        }

        List<TopologyDevice> below = ReadDevices(node, "below", where, kindName, kind?.SlotsBelow ?? 32);
        if (below.Count > 0 && kind is { HasBus: false })
        {
            Error(node, where, $"{kindName} has no bus: nothing can be below it");
        }

        return new TopologyDevice
        {
            Id = id,
            Kind = kindName,
            Slot = ReadSlot(node, where, slots),
            Options = ReadOptions(node, where, kind),
            SizeBytes = ReadSize(node, where, kindName),
            Content = Only(node, "content", where, kindName, "nvme") is null ? "" : Text(node, "content", where),
            VirtualFunctions = Only(node, "virtualFunctions", where, kindName, "nvme") is { } count ? ReadNumber(count, where, 1, 127) : 0,
            Below = below,
        };
    }

    private Dictionary<string, string> ReadOptions(YamlMappingNode node, string where, DeviceKind? kind)
    {
        Dictionary<string, string> options = new(StringComparer.Ordinal);
        foreach (string property in kind?.Properties ?? [])
        {
            options[property.Split('=')[0]] = property.Split('=')[1];
        }

        if (Child(node, "acs") is not null)
        {
            Only(node, "acs", where, kind?.Name ?? "", "pcie-root-port");
            options["disable-acs"] = ReadSwitch(node, "acs", where) ? "off" : "on";
        }

        if (Only(node, "numa", where, kind?.Name ?? "", "pxb-pcie") is { } numa)
        {
            int id = ReadNumber(numa, where, 0, 7);
            options["numa_node"] = id.ToString(CultureInfo.InvariantCulture);
            if (!_numaNodes.Contains(id))
            {
                Error(numa, where, $"the topology has no NUMA node {id}");
            }
        }

        if (Only(node, "busNumber", where, kind?.Name ?? "", "pxb-pcie") is { } bus)
        {
            options["bus_nr"] = ReadNumber(bus, where, 1, 255).ToString(CultureInfo.InvariantCulture);
        }

        if (Child(node, "options") is YamlMappingNode more)
        {
            foreach ((YamlNode key, YamlNode value) in more.Children)
            {
                options[Scalar(key, where)] = Scalar(value, where);
            }
        }
        else if (Child(node, "options") is { } wrong)
        {
            Error(wrong, where, "options is a mapping of QEMU properties");
        }

        return options;
    }

    private (int Slot, int Function) ReadSlot(YamlMappingNode node, string where, int slots)
    {
        string text = Text(node, "slot", where, required: true);
        string[] parts = text.Split('.');
        if (text.Length == 0)
        {
            return (-1, 0);
        }

        int function = 0;
        if (!int.TryParse(parts[0], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int slot)
            || (parts.Length > 1 && !int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out function))
            || parts.Length > 2 || slot > 31 || function > 7)
        {
            Error(node, where, $"slot \"{text}\" is not SLOT or SLOT.FUNCTION in hexadecimal, such as \"03\" or \"03.1\"");
        }
        else if (slot >= slots)
        {
            Error(node, where, $"slot {slot:x2} is not free for it: the bus has slots 00 to {slots - 1:x2}");
        }

        return (slot, function);
    }

    private long ReadSize(YamlMappingNode node, string where, string kind)
    {
        if (Only(node, "size", where, kind, "nvme") is not { } size)
        {
            return 16L << 20;
        }

        string text = Scalar(size, where);
        int shift = text.Length == 0 ? 0 : text[^1] switch { 'K' => 10, 'M' => 20, 'G' => 30, _ => 0 };
        string digits = shift == 0 ? text : text[..^1];
        if (!long.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out long number) || number is 0 or > 1L << 20
            || (number << shift) % 512 != 0)
        {
            Error(size, where, $"size \"{text}\" is not a number of whole sectors, such as 64M");
        }

        return number << shift;
    }

    private Promises ReadPromises(YamlMappingNode root)
    {
        const string where = "promises";
        if (Child(root, "promises") is not YamlMappingNode node)
        {
            Error(root, where, "missing: say which groups the kernel makes");
            return new Promises();
        }

        CheckFields(node, where, "groups", "drivers");
        List<IReadOnlyList<string>> groups = [];
        foreach (YamlNode group in List(node, "groups", where))
        {
            groups.Add(group is YamlSequenceNode members ? [.. members.Select(m => ReadAddress(m, where))] : [ReadAddress(group, where)]);
        }

        Dictionary<string, string> drivers = new(StringComparer.Ordinal);
        if (Child(node, "drivers") is YamlMappingNode pairs)
        {
            foreach ((YamlNode address, YamlNode driver) in pairs.Children)
            {
                drivers[ReadAddress(address, where)] = Scalar(driver, where);
            }
        }

        return new Promises { Groups = groups, Drivers = drivers };
    }

    private string ReadAddress(YamlNode node, string where)
    {
        string text = Scalar(node, where);
        bool right = text.Length == 12 && text[4] == ':' && text[7] == ':' && text[10] == '.' && text[11] is >= '0' and <= '7'
            && string.Concat(text[..4], text[5..7], text[8..10]).All(char.IsAsciiHexDigitLower);
        if (!right)
        {
            Error(node, where, $"\"{text}\" is not a PCI address such as 0000:01:00.0");
        }

        return text;
    }

    private int ReadNumber(YamlNode node, string where, int least, int most)
    {
        string text = Scalar(node, where);
        if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int number) || number < least || number > most)
        {
            Error(node, where, $"\"{text}\" is not a number from {least} to {most}");
        }

        return number;
    }

    private bool ReadSwitch(YamlMappingNode node, string field, string where)
    {
        string text = Text(node, field, where);
        if (text is not ("" or "on" or "off"))
        {
            Error(node, where, $"{field} is \"on\" or \"off\", not \"{text}\"");
        }

        return text != "off";
    }

    private YamlNode? Only(YamlMappingNode node, string field, string where, string kind, string owner)
    {
        YamlNode? child = Child(node, field);
        if (child is not null && kind != owner)
        {
            Error(child, where, $"{field} is only for {owner}");
        }

        return child;
    }

    private void CheckFields(YamlMappingNode node, string where, params string[] known)
    {
        foreach (YamlNode key in node.Children.Keys.Where(key => !known.Contains(key.ToString())))
        {
            Error(key, where, $"unknown field \"{key}\" (known: {string.Join(", ", known)})");
        }
    }

    private string Text(YamlMappingNode node, string field, string where, bool required = false)
    {
        YamlNode? child = Child(node, field);
        string text = child is null ? "" : Scalar(child, $"{where}: {field}");
        if (required && text.Length == 0)
        {
            Error(node, where, $"{field} is missing");
        }

        return text;
    }

    private IEnumerable<YamlNode> List(YamlMappingNode node, string field, string where)
    {
        YamlNode? child = Child(node, field);
        if (child is not (null or YamlSequenceNode))
        {
            Error(child, where, $"{field} is a list");
        }

        return (child as YamlSequenceNode)?.Children ?? [];
    }

    private string Scalar(YamlNode node, string where)
    {
        if (node is YamlScalarNode { Value: { } value })
        {
            return value;
        }

        Error(node, where, "expected a single value");
        return "";
    }

    private static YamlNode? Child(YamlMappingNode node, string field) =>
        node.Children.TryGetValue(new YamlScalarNode(field), out YamlNode? child) ? child : null;

    private static string Name(TopologyDevice device) => $"device \"{device.Id}\"";

    private void Error(YamlNode node, string where, string message) => _errors.Add($"{_file}:{node.Start.Line}: {where}: {message}");
}
