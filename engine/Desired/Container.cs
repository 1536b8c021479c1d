// A container: the claim on exactly one IOMMU group.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Desired;

/// <summary>One claimed group. It is known by its members: kernel group numbers change at boot.</summary>
public sealed record Container
{
    /// <summary>The API's name of the iommufd backend.</summary>
    public const string Iommufd = "iommufd";

    /// <summary>The API's name of the backend of groups without an IOMMU.</summary>
    public const string NoIommu = "noiommu";

    /// <summary>Its id, chosen at the claim.</summary>
    public required string Id { get; init; }
    /// <summary>The group's kernel number at this boot; null while the group is not there.</summary>
    public required int? Group { get; init; }
    /// <summary>All devices of the group as they were when it was claimed, in bus order.</summary>
    public required ImmutableArray<ContainerMember> Members { get; init; }
    /// <summary>How it reaches the IOMMU; null until it was first opened.</summary>
    public string? Backend { get; init; }
    /// <summary>The guest that it belongs to, or null.</summary>
    public string? Guest { get; init; }
    /// <summary>How far it is.</summary>
    public ContainerState State { get; init; }
    /// <summary>Whether the reservation stays when the guest lets go.</summary>
    public bool Keep { get; init; }
    /// <summary>What the kernel said of its IOMMU when it was proven.</summary>
    public IommuReport? Iommu { get; init; }
    /// <summary>What the kernel said of its devices when they were last opened by AssignHub.</summary>
    public ImmutableArray<DeviceReport> Reports { get; init; } = [];
    /// <summary>Why it failed, if it did.</summary>
    public string? Error { get; init; }
    /// <summary>Why nothing may be started on it, in words: its group is not the one that was claimed. Null if it is.</summary>
    public string? Fence { get; init; }
    /// <summary>When it was claimed.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>Whether it is an iommufd context, whose devices a guest gets as open files.</summary>
    public bool IsIommufd => Backend == Iommufd;

    /// <summary>How far it is as clients see it: a fence stands before <see cref="State"/>, which goes on below it.</summary>
    public ContainerState Shown => Fence is not null && State is (ContainerState.Ready or ContainerState.Attached) ? ContainerState.Fenced : State;

    /// <summary>The members that move to VFIO: all but bridges.</summary>
    public IEnumerable<ContainerMember> Endpoints => Members.Where(member => !member.IsBridge);
}

/// <summary>A member of a claimed group, with what identifies it and where it came from.</summary>
/// <param name="Address">Its address.</param>
/// <param name="VendorId">Its vendor id at the claim.</param>
/// <param name="DeviceId">Its device id at the claim.</param>
/// <param name="Serial">Its serial at the claim, or null.</param>
/// <param name="IsBridge">Bridges stay where they are.</param>
/// <param name="OriginalDriver">The driver it was on before the claim, or null if none; restored at release.</param>
public sealed record ContainerMember(
    PciAddress Address, ushort VendorId, ushort DeviceId, string? Serial, bool IsBridge, string? OriginalDriver);

/// <summary>How far a container is.</summary>
public enum ContainerState
{
    /// <summary>Its devices move to VFIO.</summary>
    Preparing,
    /// <summary>Proven, and with no running guest.</summary>
    Ready,
    /// <summary>A guest holds it.</summary>
    Attached,
    /// <summary>Its devices go back to the host.</summary>
    Releasing,
    /// <summary>Neither the claim nor the way back worked out.</summary>
    Failed,
    /// <summary>Its group changed; nothing is started on it until someone accepts, or the change is gone. Only shown: <see cref="Container.Fence"/>.</summary>
    Fenced,
}
