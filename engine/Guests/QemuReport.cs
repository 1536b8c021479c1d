// What a QEMU program says of itself.

namespace AssignHub.Engine.Guests;

/// <summary>A QEMU program: where it is, which it is, what it can do.</summary>
/// <param name="Program">Its file or name, as set.</param>
public sealed record QemuReport(string Program)
{
    /// <summary>Its file; null if there is none.</summary>
    public string? Path { get; init; }
    /// <summary>Its version, major and minor.</summary>
    public Version? Version { get; init; }
    /// <summary>Whether it takes open iommufd and device files (<c>-object iommufd</c>).</summary>
    public bool HasIommufd { get; init; }
    /// <summary>Whether it has the device <c>vfio-pci</c>.</summary>
    public bool HasVfioPci { get; init; }
    /// <summary>Why it could not be asked; null if it answered.</summary>
    public string? Fault { get; init; }

    /// <summary>Why guests cannot get open iommufd and device files; null if they can.</summary>
    public string? ObjectionToIommufd =>
        Fault ?? (HasIommufd ? null : $"QEMU {Version?.ToString() ?? "of an unknown version"} has no iommufd object; 9.0 was the first with it");
}
