// /v1/groups: the IOMMU groups, the unit of ownership.

using System.Collections.Immutable;
using System.Globalization;
using AssignHub.Api.Http;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Groups;

/// <summary>An IOMMU group.</summary>
public sealed record GroupResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>The kernel's number for it at this boot.</summary>
    public required int Id { get; init; }
    /// <summary>Its members, bridges too.</summary>
    public required ImmutableArray<PciAddress> Devices { get; init; }
    /// <summary>Who owns it.</summary>
    public required GroupOwner Owner { get; init; }
    /// <summary>The container that holds it, or null.</summary>
    public string? Container { get; init; }
    /// <summary>The guest that its container belongs to, or null.</summary>
    public string? Guest { get; init; }
    /// <summary>The process that holds it through VFIO, if AssignHub did not start it.</summary>
    public GroupHolder? Foreign { get; init; }
    /// <summary>Whether the kernel would let it into a container as it is now.</summary>
    public required bool Viable { get; init; }
    /// <summary>Whether it can be claimed now.</summary>
    public required bool Assignable { get; init; }
    /// <summary>Why not.</summary>
    public required ImmutableArray<Refusal> Refusals { get; init; }
    /// <summary>What makes it less trustworthy than it looks, and what of the host breaks when it is claimed.</summary>
    public required ImmutableArray<string> Warnings { get; init; }
    /// <summary>I/O addresses that a container leaves out.</summary>
    public required ImmutableArray<ReservedRegion> ReservedRegions { get; init; }
    /// <summary>The type of its default domain: <c>DMA</c>, <c>DMA-FQ</c>, <c>identity</c>.</summary>
    public required string Type { get; init; }

    /// <summary>Shows a group.</summary>
    public static GroupResource From(World world, IommuGroup group)
    {
        ImmutableArray<Refusal> refusals = Claims.RefusalsFor(world, group);
        Container? container = world.ContainerOf(group);
        return new GroupResource
        {
            Host = world.Host.Host,
            Id = group.Number,
            Devices = group.Devices,
            Owner = Ownership.OwnerOf(world, group),
            Container = container?.Id,
            Guest = container?.Guest,
            Foreign = container is null ? world.Host.Holders.GetValueOrDefault(group.Number) : null,
            Viable = Ownership.IsViable(world, group),
            Assignable = refusals.IsEmpty,
            Refusals = refusals,
            Warnings = [.. world.Host.Vfio.Warnings, .. Trust.WarningsFor(world.Host, group), .. world.Members(group).SelectMany(member => Overrides.WarningsFor(world, member))],
            ReservedRegions = group.ReservedRegions,
            Type = group.Type,
        };
    }
}

internal static class GroupEndpoints
{
    public static void Map(RouteGroupBuilder v1)
    {
        RouteGroupBuilder groups = v1.MapGroup("/groups").WithTags("Hardware");
        groups.MapGet("", List).NeedsRole(Role.Viewer).WithName("listGroups").WithSummary("List the IOMMU groups")
            .WithDescription("A group is the smallest set of devices that the hardware isolates, so it is claimed as a whole.")
            .Produces<Page<GroupResource>>().WithParameters(Parameters.Paging, Parameters.Filters("owner", "guest", "assignable"))
            .WithProblems(ProblemCode.ValidationFailed);
        groups.MapGet("/{id}", Get).NeedsRole(Role.Viewer).WithName("getGroup").WithSummary("Get a group")
            .WithDescription("With its owner, and every reason why it cannot be claimed.")
            .Produces<GroupResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.GroupNotFound);
    }

    private static IResult List(HttpRequest request, Observer observer)
    {
        World world = observer.World;
        bool? assignable = Pages.Switch(request, "assignable");
        IEnumerable<GroupResource> all = world.Host.Groups.Values.Select(group => GroupResource.From(world, group))
            .Where(group => (assignable is null || group.Assignable == assignable)
                && (request.Query["owner"] is not [{ } owner] || string.Equals(owner, group.Owner.ToString(), StringComparison.OrdinalIgnoreCase))
                && (request.Query["guest"] is not [{ } guest] || guest == group.Guest));
        return TypedResults.Json(Pages.Of(request, all, group => group.Id.ToString(CultureInfo.InvariantCulture)), ApiJson.Wire.PageGroupResource);
    }

    private static IResult Get(HttpContext http, string id, Observer observer)
    {
        if (!int.TryParse(id, NumberStyles.None, CultureInfo.InvariantCulture, out int number))
        {
            throw BadRequestException.Of("id", $"'{id}' is not a group's number");
        }

        World world = observer.World;
        return world.Host.Groups.TryGetValue(number, out IommuGroup? group)
            ? TypedResults.Json(GroupResource.From(world, group), ApiJson.Wire.GroupResource)
            : Problems.Refused(http, [Refusals.GroupNotFound(number)]);
    }
}
