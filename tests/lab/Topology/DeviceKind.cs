namespace AssignHub.Lab;

/// <summary>A kind of device that a topology may hold: what it needs to sit on and what may sit below it.</summary>
/// <param name="Name">QEMU's name.</param>
/// <param name="Above">The kinds it sits on; empty for any bus. "root" is the root bus.</param>
/// <param name="HasBus">Whether devices sit below it.</param>
/// <param name="SlotsBelow">How many slots its bus has.</param>
/// <param name="Properties">QEMU properties that this kind always gets.</param>
internal sealed record DeviceKind(
    string Name, string[] Above, bool HasBus = false, int SlotsBelow = 0, params string[] Properties)
{
    public const string Root = "root";

    private static readonly string[] PciExpressBuses = [Root, "pxb-pcie"];

    public static IReadOnlyDictionary<string, DeviceKind> All { get; } = new DeviceKind[]
    {
        new("pcie-root-port", PciExpressBuses, HasBus: true, SlotsBelow: 1),
        new("pxb-pcie", [Root], HasBus: true, SlotsBelow: 32),
        new("x3130-upstream", ["pcie-root-port", "xio3130-downstream"], HasBus: true, SlotsBelow: 32),
        new("xio3130-downstream", ["x3130-upstream"], HasBus: true, SlotsBelow: 1),
        new("pcie-pci-bridge", [Root, "pcie-root-port", "xio3130-downstream"], HasBus: true, SlotsBelow: 32),
        new("pci-bridge", ["pcie-pci-bridge", "pci-bridge"], HasBus: true, SlotsBelow: 32),

        // No option ROMs: firmware would only lose time with them, and not every machine has the files.
        new("e1000", [], Properties: "romfile="),
        new("e1000e", [], Properties: "romfile="),
        new("igb", [.. PciExpressBuses, "pcie-root-port", "xio3130-downstream"], Properties: "romfile="),
        new("nvme", [.. PciExpressBuses, "pcie-root-port", "xio3130-downstream"]),
        new("edu", []),
        new("pci-testdev", []),
    }.ToDictionary(kind => kind.Name, StringComparer.Ordinal);

    public bool IsPort => Name is "pcie-root-port" or "xio3130-downstream";

    public bool MaySitOn(string above) => Above.Length == 0 ? above is not ("pxb-pcie" or "x3130-upstream") : Above.Contains(above);
}
