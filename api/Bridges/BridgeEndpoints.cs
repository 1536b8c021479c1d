// /v1/bridges: what is below each, and the reset that hits it all.

using System.Collections.Immutable;
using AssignHub.Api.Http;
using AssignHub.Engine.Host;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Bridges;

/// <summary>A PCI-to-PCI bridge or port.</summary>
public sealed record BridgeResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>Its address.</summary>
    public required PciAddress Address { get; init; }
    /// <summary>The bus right below.</summary>
    public required int SecondaryBus { get; init; }
    /// <summary>The highest bus below.</summary>
    public required int SubordinateBus { get; init; }
    /// <summary>Its driver, or null.</summary>
    public string? Driver { get; init; }
    /// <summary>Its own IOMMU group, or null.</summary>
    public int? Group { get; init; }
    /// <summary>All devices below, which its reset hits.</summary>
    public required ImmutableArray<PciAddress> Devices { get; init; }
    /// <summary>Their groups.</summary>
    public required ImmutableArray<int> Groups { get; init; }
    /// <summary>The running guests that have one of them.</summary>
    public required ImmutableArray<string> Guests { get; init; }
    /// <summary>Whether it can be reset now.</summary>
    public required bool Resettable { get; init; }
    /// <summary>Why not.</summary>
    public required ImmutableArray<Refusal> Refusals { get; init; }

    /// <summary>Shows a bridge.</summary>
    public static BridgeResource From(World world, PciDevice bridge)
    {
        ImmutableArray<PciAddress> below = Resets.Below(world.Host, bridge);
        ImmutableArray<Refusal> refusals = Resets.RefusalsFor(world, bridge);
        return new BridgeResource
        {
            Host = world.Host.Host,
            Address = bridge.Address,
            SecondaryBus = bridge.Bridge!.SecondaryBus,
            SubordinateBus = bridge.Bridge.SubordinateBus,
            Driver = bridge.Driver,
            Group = bridge.Group,
            Devices = below,
            Groups = [.. below.Select(address => world.Host.Devices[address].Group).OfType<int>().Distinct().Order()],
            Guests = [.. below.Select(address => world.ActiveGuestWith(address)?.Name).OfType<string>().Distinct().Order(StringComparer.Ordinal)],
            Resettable = refusals.IsEmpty,
            Refusals = refusals,
        };
    }
}

internal static class BridgeEndpoints
{
    public static void Map(RouteGroupBuilder v1)
    {
        RouteGroupBuilder bridges = v1.MapGroup("/bridges").WithTags("Hardware");
        bridges.MapGet("", List).NeedsRole(Role.Viewer).WithName("listBridges").WithSummary("List the PCI bridges")
            .WithDescription("Each with all that is below it, which shares its reset.")
            .Produces<Page<BridgeResource>>().WithParameters(Parameters.Paging).WithProblems(ProblemCode.ValidationFailed);
        bridges.MapGet("/{address}", Get).NeedsRole(Role.Viewer).WithName("getBridge").WithSummary("Get a bridge")
            .WithDescription("With the devices, groups and running guests below it, and every reason why it cannot be reset.")
            .Produces<BridgeResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.BridgeNotFound);
        bridges.MapPost("/{address}/reset", ResetAsync).NeedsRole(Role.Operator).WithName("resetBridge").WithSummary("Reset everything below a bridge")
            .WithDescription("Refused while a device below is the host's, a running guest's or a foreign process's. Afterwards each device has to answer, or it is quarantined. "
                + "With evict the devices of running guests are unplugged before and plugged back after.")
            .WithParameters(Parameters.Evict).ProducesChange<BridgeResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.BridgeNotFound, ProblemCode.ResetBlocked, ProblemCode.UnplugTimeout);
    }

    private static IResult List(HttpRequest request, Observer observer)
    {
        World world = observer.World;
        IEnumerable<BridgeResource> all = world.Host.Devices.Values.Where(device => device.IsBridge).Select(device => BridgeResource.From(world, device));
        return TypedResults.Json(Pages.Of(request, all, bridge => bridge.Address.ToString()), ApiJson.Wire.PageBridgeResource);
    }

    private static IResult Get(HttpContext http, string address, Observer observer)
    {
        PciAddress bridge = Requests.Address(address);
        World world = observer.World;
        return world.Host.Devices.TryGetValue(bridge, out PciDevice? device) && device.IsBridge
            ? TypedResults.Json(BridgeResource.From(world, device), ApiJson.Wire.BridgeResource)
            : Problems.Refused(http, [Refusals.BridgeNotFound(bridge)]);
    }

    private static Task<IResult> ResetAsync(HttpContext http, string address, ChangeEndpoints changes)
    {
        PciAddress bridge = Requests.Address(address);
        return changes.SubmitAsync(http, new ResetBridge(bridge, http.Request.Flag("evict")),
            world => TypedResults.Json(BridgeResource.From(world, world.Host.Devices[bridge]), ApiJson.Wire.BridgeResource));
    }
}
