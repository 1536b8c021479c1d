// /v1/containers: claims, each on exactly one group.

using System.Collections.Immutable;
using AssignHub.Api.Http;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;

namespace AssignHub.Api.Containers;

/// <summary>A claim on one group.</summary>
public sealed record ContainerResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>Its id.</summary>
    public required string Id { get; init; }
    /// <summary>Its group's number at this boot; null while the group is not there.</summary>
    public int? Group { get; init; }
    /// <summary>All members of the group, bridges too.</summary>
    public required ImmutableArray<PciAddress> Devices { get; init; }
    /// <summary>How it reaches the IOMMU; null until it was first opened.</summary>
    public string? Backend { get; init; }
    /// <summary>The guest that it belongs to, or null.</summary>
    public string? Guest { get; init; }
    /// <summary>How far it is.</summary>
    public required ContainerState State { get; init; }
    /// <summary>Whether the reservation stays when the guest lets go.</summary>
    public required bool Keep { get; init; }
    /// <summary>What the kernel said of its IOMMU; null until it was first opened.</summary>
    public IommuReport? Iommu { get; init; }
    /// <summary>The driver that each device goes back to at release; null for one that had none.</summary>
    public required ImmutableSortedDictionary<PciAddress, string?> OriginalDrivers { get; init; }
    /// <summary>Why it failed, or what its group differs in from the one that was claimed.</summary>
    public string? Error { get; init; }
    /// <summary>When it was claimed.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>Shows a container.</summary>
    public static ContainerResource From(Container container, string host) => new()
    {
        Host = host,
        Id = container.Id,
        Group = container.Group,
        Devices = [.. container.Members.Select(member => member.Address)],
        Backend = container.Backend,
        Guest = container.Guest,
        State = container.Shown,
        Keep = container.Keep,
        Iommu = container.Iommu,
        OriginalDrivers = container.Endpoints.ToImmutableSortedDictionary(member => member.Address, member => member.OriginalDriver),
        Error = container.Error ?? container.Fence,
        CreatedAt = container.CreatedAt,
    };
}

/// <summary>What to claim: a group by its number, or by one device in it.</summary>
public sealed record ContainerRequest
{
    /// <summary>The group's number.</summary>
    public int? Group { get; init; }
    /// <summary>A device; its whole group is taken.</summary>
    public PciAddress? Device { get; init; }
    /// <summary>The guest that it is for.</summary>
    public string? Guest { get; init; }
    /// <summary>Whether the reservation stays when the guest lets go.</summary>
    public bool Keep { get; init; }
}

internal static class ContainerEndpoints
{
    public static void Map(RouteGroupBuilder v1)
    {
        RouteGroupBuilder containers = v1.MapGroup("/containers").WithTags("Claims");
        containers.MapGet("", List).NeedsRole(Role.Viewer).WithName("listContainers").WithSummary("List the containers")
            .WithDescription("Each is a claim on exactly one group, for a guest or for none.")
            .Produces<Page<ContainerResource>>().WithParameters(Parameters.Paging, Parameters.Filters("guest", "state")).WithProblems(ProblemCode.ValidationFailed);
        containers.MapPost("", ClaimAsync).NeedsRole(Role.Operator).WithName("claimGroup").WithSummary("Claim a group")
            .WithDescription("Takes the whole group off its host drivers and proves the claim against the kernel. Every reason against it is named, and then nothing was touched.")
            .Accepts<ContainerRequest>("application/json").ProducesChange<ContainerResource>(StatusCodes.Status201Created)
            .WithProblems(ProblemCode.ValidationFailed, ProblemCode.GroupNotFound, ProblemCode.GroupOwned);
        containers.MapGet("/{id}", Get).NeedsRole(Role.Viewer).WithName("getContainer").WithSummary("Get a container")
            .WithDescription("With the driver that each device goes back to, and what the kernel said of its IOMMU when the claim was proven.")
            .ProducesTagged<ContainerResource>().WithProblems(ProblemCode.ContainerNotFound);
        containers.MapDelete("/{id}", ReleaseAsync).NeedsRole(Role.Operator).WithName("releaseContainer").WithSummary("Release a group")
            .WithDescription("Every device goes back to the driver that it came from.")
            .ProducesRemoval().TakesIfMatch().WithProblems(ProblemCode.ContainerNotFound, ProblemCode.GuestRunning);
        containers.MapPost("/{id}/accept", AcceptAsync).NeedsRole(Role.Operator).WithName("acceptContainer").WithSummary("Take a fenced container's group as it is now")
            .WithDescription("A container is fenced when a device of its group went, came or is another: nothing is started on it until the group is as it was claimed, or this.")
            .ProducesChange<ContainerResource>().TakesIfMatch().WithProblems(ProblemCode.ContainerNotFound, ProblemCode.GroupChanged);
    }

    private static IResult List(HttpRequest request, Observer observer)
    {
        World world = observer.World;
        IEnumerable<ContainerResource> all = world.Inventory.Containers.Values
            .Where(container => (request.Query["guest"] is not [{ } guest] || guest == container.Guest)
                && (request.Query["state"] is not [{ } state] || string.Equals(state, container.Shown.ToString(), StringComparison.OrdinalIgnoreCase)))
            .Select(container => ContainerResource.From(container, world.Host.Host));
        return TypedResults.Json(Pages.Of(request, all, container => container.Id), ApiJson.Wire.PageContainerResource);
    }

    private static IResult Get(HttpContext http, string id, Observer observer)
    {
        return Find(observer.World, id) is { } container
            ? EntityTags.Show(http, container, ApiJson.Wire.ContainerResource)
            : Problems.Refused(http, [Refusals.ContainerNotFound(id)]);
    }

    private static async Task<IResult> ClaimAsync(HttpContext http, ChangeEndpoints changes)
    {
        ContainerRequest request = await http.Request.BodyAsync(ApiJson.Wire.ContainerRequest, http.RequestAborted).ConfigureAwait(false);
        if (request.Group is null && request.Device is null)
        {
            throw BadRequestException.Of("group", "a group, or a device in it, has to be named");
        }

        if (request.Group is < 0)
        {
            throw BadRequestException.Of("group", "has to be 0 or more");
        }

        return await changes.SubmitAsync(http, new ClaimGroup(request.Group, request.Device, request.Guest, request.Keep), world => Created(http, world, request)).ConfigureAwait(false);
    }

    private static Task<IResult> ReleaseAsync(HttpContext http, string id, ChangeEndpoints changes) =>
        changes.SubmitAsync(http, new ReleaseContainer(id), _ => TypedResults.NoContent(), world => EntityTags.Of(Find(world, id), ApiJson.Wire.ContainerResource));

    private static Task<IResult> AcceptAsync(HttpContext http, string id, ChangeEndpoints changes) =>
        changes.SubmitAsync(http, new AcceptContainer(id), world => EntityTags.Show(http, Find(world, id), ApiJson.Wire.ContainerResource),
            world => EntityTags.Of(Find(world, id), ApiJson.Wire.ContainerResource));

    private static ContainerResource? Find(World world, string id) =>
        world.Inventory.Containers.TryGetValue(id, out Container? container) ? ContainerResource.From(container, world.Host.Host) : null;

    private static IResult Created(HttpContext http, World world, ContainerRequest request)
    {
        Container? container = world.Inventory.Containers.Values.FirstOrDefault(container => container.Group is { } group && group == request.Group
            || request.Device is { } device && container.Members.Any(member => member.Address == device));
        return EntityTags.Show(http, container is null ? null : ContainerResource.From(container, world.Host.Host), ApiJson.Wire.ContainerResource,
            created: $"/v1/containers/{container?.Id}");
    }
}
