namespace AssignHub.Lab;

/// <summary>How the lab's kernel offers the IOMMU to user space.</summary>
public enum LabBackend
{
    /// <summary>The distribution's kernel: /dev/vfio/vfio and groups.</summary>
    Type1,

    /// <summary>A kernel of the lab's own with CONFIG_IOMMUFD: /dev/iommu and device nodes, and what Type1 has.</summary>
    Iommufd,
}

/// <summary>What lab to boot.</summary>
public sealed record LabOptions
{
    /// <summary>The name of a topology that comes with the lab, or a file.</summary>
    public string Topology { get; init; } = "sample";

    public LabBackend Backend { get; init; } = LabBackend.Type1;

    /// <summary>The port of 127.0.0.1 that leads to port 8080 inside; 0 takes a free one.</summary>
    public int Port { get; init; }

    public int MemoryMiB { get; init; } = 4096;

    public int Cpus { get; init; } = 2;

    /// <summary>Where the running lab keeps its sockets, logs and disks; null makes a folder that goes with the lab.</summary>
    public string? StateDirectory { get; init; }

    /// <summary>Whether the lab lives on when this process ends.</summary>
    public bool Detached { get; init; }

    /// <summary>How long one boot may take until it is given up and started afresh, once.</summary>
    public TimeSpan BootTimeout { get; init; } = TimeSpan.FromSeconds(120);

    /// <summary>More words for the kernel's command line.</summary>
    public IReadOnlyList<string> KernelArguments { get; init; } = [];
}
