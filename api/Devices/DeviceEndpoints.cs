// /v1/devices: every PCI function of the host.

using AssignHub.Api.Http;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Devices;

internal static class DeviceEndpoints
{
    public static void Map(RouteGroupBuilder v1)
    {
        RouteGroupBuilder devices = v1.MapGroup("/devices").WithTags("Hardware");
        devices.MapGet("", List).NeedsRole(Role.Viewer).WithName("listDevices").WithSummary("List the PCI devices")
            .WithDescription("By address. Each says whether it can be assigned and, if not, every reason. A claimed device that the host misses is there too.")
            .Produces<Page<DeviceResource>>()
            .WithParameters(Parameters.Paging, Parameters.Filters("vendorId", "deviceId", "class", "driver", "group", "numaNode", "state", "assignable"))
            .WithProblems(ProblemCode.ValidationFailed);
        devices.MapGet("/{address}", Get).NeedsRole(Role.Viewer).WithName("getDevice").WithSummary("Get a device")
            .WithDescription("With what the host does with it, and every reason why it cannot be assigned.")
            .ProducesTagged<DeviceResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound);
        devices.MapPost("/{address}/reset", ResetAsync).NeedsRole(Role.Operator).WithName("resetDevice").WithSummary("Reset one function")
            .WithDescription("By the kernel's best method, which hits nothing else. Afterwards the device has to answer, or it is quarantined.")
            .ProducesChange<DeviceResource>().TakesIfMatch().WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound, ProblemCode.ResetBlocked);
        OverrideEndpoints.Map(devices);
        SriovEndpoints.Map(devices);
        devices.MapPost("/{address}/clear", ClearAsync).NeedsRole(Role.Operator).WithName("clearDevice").WithSummary("Lift a device's quarantine")
            .WithDescription("A device that did not answer after a reset is not assigned until somebody says that it may be.")
            .ProducesChange<DeviceResource>().TakesIfMatch().WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound);
        devices.MapGet("/{address}/vfio", GetVfio).NeedsRole(Role.Viewer).WithName("getDeviceVfio").WithSummary("What the kernel told of a device through VFIO")
            .WithDescription("Regions with what of them can be mapped, interrupts, and resets, as they were when AssignHub last opened the device: at the claim of its group.")
            .Produces<DeviceVfioResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound, ProblemCode.ContainerNotFound, ProblemCode.VfioUnavailable);
    }

    /// <summary>Submits a change of a device and shows it after.</summary>
    public static Task<IResult> SubmitAsync(HttpContext http, ChangeEndpoints changes, Change change, PciAddress device, PciIds names) =>
        changes.SubmitAsync(http, change, world => EntityTags.Show(http, Find(world, device, names), ApiJson.Wire.DeviceResource), world => Tag(world, device, names));

    /// <summary>A device's ETag; null if there is no such device.</summary>
    public static string? Tag(World world, PciAddress device, PciIds names) => EntityTags.Of(Find(world, device, names), ApiJson.Wire.DeviceResource);

    /// <summary>A device that the host has, or that a container has and the host misses.</summary>
    private static DeviceResource? Find(World world, PciAddress asked, PciIds names) =>
        world.Host.Devices.TryGetValue(asked, out PciDevice? device) ? DeviceResource.From(world, device, names)
        : world.Inventory.ContainerOf(asked)?.Members.First(member => member.Address == asked) is { } member ? DeviceResource.Missing(world, member, names)
        : null;

    private static IResult List(HttpRequest request, Observer observer, PciIds names)
    {
        World world = observer.World;
        bool? assignable = Pages.Switch(request, "assignable");
        int? group = Pages.Filter(request, "group");
        int? numaNode = Pages.Filter(request, "numaNode");
        IEnumerable<DeviceResource> all = world.Host.Devices.Values.Where(device => (group is null || device.Group == group) && (numaNode is null || device.NumaNode == numaNode))
            .Select(device => DeviceResource.From(world, device, names))
            .Concat(group is null && numaNode is null ? Missing(world, names) : [])
            .Where(device => (assignable is null || device.Assignable == assignable)
                && Matches(request, "vendorId", device.VendorId) && Matches(request, "deviceId", device.DeviceId)
                && Matches(request, "class", device.Class) && Matches(request, "driver", device.Driver)
                && Matches(request, "state", device.State.ToString()));
        return TypedResults.Json(Pages.Of(request, all.OrderBy(device => device.Address), device => device.Address.ToString()), ApiJson.Wire.PageDeviceResource);
    }

    private static IResult Get(HttpContext http, string address, Observer observer, PciIds names)
    {
        PciAddress asked = Requests.Address(address);
        return Find(observer.World, asked, names) is { } device
            ? EntityTags.Show(http, device, ApiJson.Wire.DeviceResource)
            : Problems.Refused(http, [Refusals.DeviceNotFound(asked)]);
    }

    private static Task<IResult> ResetAsync(HttpContext http, string address, ChangeEndpoints changes, PciIds names)
    {
        PciAddress device = Requests.Address(address);
        return SubmitAsync(http, changes, new ResetDevice(device), device, names);
    }

    private static Task<IResult> ClearAsync(HttpContext http, string address, ChangeEndpoints changes, PciIds names)
    {
        PciAddress device = Requests.Address(address);
        return SubmitAsync(http, changes, new ClearQuarantine(device), device, names);
    }

    private static IResult GetVfio(HttpContext http, string address, Observer observer)
    {
        PciAddress asked = Requests.Address(address);
        World world = observer.World;
        if (!world.Host.Devices.TryGetValue(asked, out PciDevice? device))
        {
            return Problems.Refused(http, [Refusals.DeviceNotFound(asked)]);
        }

        Container? container = world.Inventory.ContainerOf(asked);
        return container?.Reports.FirstOrDefault(report => report.Address == asked) is { } report
            ? TypedResults.Json(DeviceVfioResource.From(world, device, container, report), ApiJson.Wire.DeviceVfioResource)
            : Problems.Refused(http, [Refusals.NeverOpened(asked, container)]);
    }

    private static IEnumerable<DeviceResource> Missing(World world, PciIds names) =>
        world.Inventory.Containers.Values.SelectMany(container => container.Members)
            .Where(member => !world.Host.Devices.ContainsKey(member.Address))
            .Select(member => DeviceResource.Missing(world, member, names));

    private static bool Matches(HttpRequest request, string name, string? value) =>
        request.Query[name] is not [{ } wanted] || string.Equals(wanted, value, StringComparison.OrdinalIgnoreCase);
}
