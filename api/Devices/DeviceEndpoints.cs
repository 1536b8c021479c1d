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
        devices.MapGet("", List).WithName("listDevices").WithSummary("List the PCI devices")
            .Produces<Page<DeviceResource>>()
            .WithParameters(Parameters.Paging, Parameters.Filters("vendorId", "deviceId", "class", "driver", "group", "numaNode", "state", "assignable"))
            .WithProblems(ProblemCode.ValidationFailed);
        devices.MapGet("/{address}", Get).WithName("getDevice").WithSummary("Get a device")
            .Produces<DeviceResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound);
        devices.MapPost("/{address}/reset", ResetAsync).WithName("resetDevice").WithSummary("Reset one function")
            .WithDescription("By the kernel's best method, which hits nothing else. Afterwards the device has to answer, or it is quarantined.")
            .ProducesChange<DeviceResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound, ProblemCode.ResetBlocked);
        OverrideEndpoints.Map(devices);
        SriovEndpoints.Map(devices);
        devices.MapPost("/{address}/clear", ClearAsync).WithName("clearDevice").WithSummary("Lift a device's quarantine")
            .ProducesChange<DeviceResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound);
        devices.MapGet("/{address}/vfio", GetVfio).WithName("getDeviceVfio").WithSummary("What the kernel told of a device through VFIO")
            .WithDescription("Regions with what of them can be mapped, interrupts, and resets, as they were when AssignHub last opened the device: at the claim of its group.")
            .Produces<DeviceVfioResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound, ProblemCode.ContainerNotFound, ProblemCode.VfioUnavailable);
    }

    /// <summary>The answer that shows a device.</summary>
    public static IResult Show(World world, PciAddress address, PciIds names) =>
        TypedResults.Json(DeviceResource.From(world, world.Host.Devices[address], names), ApiJson.Wire.DeviceResource);

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
        World world = observer.World;
        if (world.Host.Devices.ContainsKey(asked))
        {
            return Show(world, asked, names);
        }

        ContainerMember? member = world.Inventory.ContainerOf(asked)?.Members.First(member => member.Address == asked);
        return member is null
            ? Problems.Refused(http, [Refusals.DeviceNotFound(asked)])
            : TypedResults.Json(DeviceResource.Missing(world, member, names), ApiJson.Wire.DeviceResource);
    }

    private static Task<IResult> ResetAsync(HttpContext http, string address, ChangeEndpoints changes, PciIds names)
    {
        PciAddress device = Requests.Address(address);
        return changes.SubmitAsync(http, new ResetDevice(device), world => Show(world, device, names));
    }

    private static Task<IResult> ClearAsync(HttpContext http, string address, ChangeEndpoints changes, PciIds names)
    {
        PciAddress device = Requests.Address(address);
        return changes.SubmitAsync(http, new ClearQuarantine(device), world => Show(world, device, names));
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
