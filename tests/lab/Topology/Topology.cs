namespace AssignHub.Lab;

/// <summary>The PCI hardware of a lab's host, as a topology file describes it (README.md has the format).</summary>
public sealed record Topology
{
    public required string Name { get; init; }

    public string Description { get; init; } = "";

    /// <summary>What sits on the root bus.</summary>
    public required IReadOnlyList<TopologyDevice> Devices { get; init; }

    /// <summary>The host's NUMA nodes by number; empty for a host without.</summary>
    public IReadOnlyList<NumaNode> NumaNodes { get; init; } = [];

    /// <summary>More words for the kernel's command line.</summary>
    public IReadOnlyList<string> KernelArguments { get; init; } = [];

    /// <summary>
    /// Whether firmware handles hot-plug below bridges (acpiphp), as QEMU's does unless told otherwise. Without it ports do so
    /// themselves (pciehp), and so do PCI bridges (shpchp).
    /// </summary>
    public bool AcpiHotplug { get; init; } = true;

    public required Promises Promises { get; init; }

    public IEnumerable<TopologyDevice> AllDevices => Devices.SelectMany(device => device.SelfAndBelow);

    /// <summary>Reads a topology by the name of one that comes with the lab, or by its file.</summary>
    public static Topology Load(string nameOrFile)
    {
        string own = Path.Combine(AppContext.BaseDirectory, "topologies", nameOrFile + ".yaml");
        string path = File.Exists(nameOrFile) ? nameOrFile : own;
        if (!File.Exists(path))
        {
            throw new LabException($"no topology {nameOrFile}: neither a file nor one of {string.Join(", ", Names)}");
        }

        (Topology? topology, IReadOnlyList<string> errors) = TopologyReader.Read(File.ReadAllText(path), Path.GetFileName(path));
        return topology ?? throw new LabException(string.Join('\n', errors));
    }

    /// <summary>The topologies that come with the lab.</summary>
    public static IReadOnlyList<string> Names { get; } =
        [.. Directory.GetFiles(Path.Combine(AppContext.BaseDirectory, "topologies"), "*.yaml").Select(f => Path.GetFileNameWithoutExtension(f)).Order(StringComparer.Ordinal)];
}

/// <summary>One node and the share of the host's memory and processors that is on it, always an equal one.</summary>
public sealed record NumaNode(int Id);

/// <summary>A port, bridge or function: <see cref="Kind"/> is QEMU's own name for it.</summary>
public sealed record TopologyDevice
{
    public required string Id { get; init; }

    public required string Kind { get; init; }

    /// <summary>Slot and function on the bus it sits on.</summary>
    public required (int Slot, int Function) Slot { get; init; }

    /// <summary>Further QEMU properties, verbatim.</summary>
    public IReadOnlyDictionary<string, string> Options { get; init; } = new Dictionary<string, string>();

    /// <summary>An NVMe disk's size.</summary>
    public long SizeBytes { get; init; }

    /// <summary>The text an NVMe disk starts with; zeros follow.</summary>
    public string Content { get; init; } = "";

    /// <summary>How many virtual functions an NVMe disk can have.</summary>
    public int VirtualFunctions { get; init; }

    public IReadOnlyList<TopologyDevice> Below { get; init; } = [];

    public IEnumerable<TopologyDevice> SelfAndBelow => Below.SelectMany(device => device.SelfAndBelow).Prepend(this);
}

/// <summary>What the lab's kernel makes of the topology; the lab's tests hold it to that.</summary>
public sealed record Promises
{
    /// <summary>Each group's devices by address, root ports and the lab's own devices left out unless they matter.</summary>
    public IReadOnlyList<IReadOnlyList<string>> Groups { get; init; } = [];

    /// <summary>The driver of a device by its address; "none" for no driver.</summary>
    public IReadOnlyDictionary<string, string> Drivers { get; init; } = new Dictionary<string, string>();
}
