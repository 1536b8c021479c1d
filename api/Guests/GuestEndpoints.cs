// /v1/guests: virtual machines, and their devices below each.

using AssignHub.Api.Http;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Guests;

internal static class GuestEndpoints
{
    public static void Map(RouteGroupBuilder v1)
    {
        RouteGroupBuilder guests = v1.MapGroup("/guests").WithTags("Guests");
        guests.MapGet("", List).NeedsRole(Role.Viewer).WithName("listGuests").WithSummary("List the guests")
            .WithDescription("What was asked for of each and, under `status`, what is.")
            .Produces<Page<GuestResource>>().WithParameters(Parameters.Paging, Parameters.Filters("state")).WithProblems(ProblemCode.ValidationFailed);
        guests.MapPost("", CreateAsync).NeedsRole(Role.Operator).WithName("createGuest").WithSummary("Create a guest and reserve its devices")
            .WithDescription("Each device is reserved with its whole group. The guest does not run until it is started.")
            .Accepts<GuestRequest>("application/json").ProducesChange<GuestResource>(StatusCodes.Status201Created)
            .WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound, ProblemCode.GroupOwned);
        guests.MapGet("/{name}", Get).NeedsRole(Role.Viewer).WithName("getGuest").WithSummary("Get a guest")
            .WithDescription("What was asked for and, under `status`, what the kernel and QEMU say now.")
            .ProducesTagged<GuestResource>().WithProblems(ProblemCode.GuestNotFound);
        guests.MapDelete("/{name}", DeleteAsync).NeedsRole(Role.Operator).WithName("deleteGuest").WithSummary("Delete a guest")
            .WithDescription("Its devices go back to the host, except those in containers that are kept. A running guest is deleted with force only.")
            .WithParameters(Parameters.Force).ProducesRemoval().TakesIfMatch().WithProblems(ProblemCode.ValidationFailed, ProblemCode.GuestNotFound, ProblemCode.GuestRunning);
        MapVerb(guests, "start", "Launch a guest with its devices", "It starts paused and empty, gets each of its devices, then runs. One that runs already stays as it is.", (name, _) => new StartGuest(name));
        MapVerb(guests, "stop", "End a guest; its devices stay reserved", "It is asked by its power button and, if it does not end in time, made to; with force at once.", (name, force) => new StopGuest(name, force));
        MapVerb(guests, "pause", "Hold a guest's CPUs", "Its memory and devices stay as they are.", (name, _) => new PauseGuest(name));
        MapVerb(guests, "resume", "Let a guest's CPUs run again", "One that runs stays as it is.", (name, _) => new ResumeGuest(name));
        guests.MapGet("/{name}/console", Console).NeedsRole(Role.Viewer).WithName("getGuestConsole").WithSummary("Get what a guest wrote to its serial console")
            .WithDescription("As text; the oldest is cut off when it grows long.")
            .Produces<string>(contentType: "text/plain").WithProblems(ProblemCode.GuestNotFound);

        guests.MapGet("/{name}/devices", ListDevices).NeedsRole(Role.Viewer).WithName("listGuestDevices").WithSummary("List a guest's devices")
            .WithDescription("Each with its group, the container that holds it, and how far it is into the guest or out of it.")
            .Produces<Page<GuestDeviceResource>>().WithParameters(Parameters.Paging).WithProblems(ProblemCode.ValidationFailed, ProblemCode.GuestNotFound);
        guests.MapPost("/{name}/devices", AttachAsync).NeedsRole(Role.Operator).WithName("attachDevice").WithSummary("Give a device to a guest")
            .WithDescription("With its whole group, and at once if the guest runs.")
            .Accepts<DeviceSelection>("application/json").ProducesChange<GuestDeviceResource>(StatusCodes.Status201Created).TakesIfMatch()
            .WithProblems(ProblemCode.ValidationFailed, ProblemCode.GuestNotFound, ProblemCode.GroupOwned);
        guests.MapGet("/{name}/devices/{address}", GetDevice).NeedsRole(Role.Viewer).WithName("getGuestDevice").WithSummary("Get a guest's device")
            .WithDescription("With its group, the container that holds it, and how far it is into the guest or out of it.")
            .ProducesTagged<GuestDeviceResource>().WithProblems(ProblemCode.ValidationFailed, ProblemCode.GuestNotFound);
        guests.MapDelete("/{name}/devices/{address}", DetachAsync).NeedsRole(Role.Operator).WithName("detachDevice").WithSummary("Take a device out of a guest")
            .WithDescription("Done when the guest let go, QEMU said so and the kernel shows the device closed. With its last device the group goes back to the host, unless it is kept. "
                + "With force a device is pulled out of a guest that does not let go.")
            .WithParameters(Parameters.Force).ProducesRemoval().TakesIfMatch().WithProblems(ProblemCode.ValidationFailed, ProblemCode.GuestNotFound, ProblemCode.Busy, ProblemCode.UnplugTimeout);
    }

    private static void MapVerb(RouteGroupBuilder guests, string verb, string summary, string description, Func<string, bool, Change> change)
    {
        RouteHandlerBuilder route = guests.MapPost($"/{{name}}/{verb}", (HttpContext http, string name, ChangeEndpoints changes) =>
                changes.SubmitAsync(http, change(name, verb == "stop" && http.Request.Flag("force")),
                    world => EntityTags.Show(http, Find(world, name), ApiJson.Wire.GuestResource), world => Tag(world, name)))
            .NeedsRole(Role.Operator).WithName($"{verb}Guest").WithSummary(summary).WithDescription(description).ProducesChange<GuestResource>().TakesIfMatch()
            .WithProblems(ProblemCode.ValidationFailed, ProblemCode.GuestNotFound, ProblemCode.GuestNotRunning, ProblemCode.QemuError);
        if (verb == "stop")
        {
            route.WithParameters(Parameters.Force);
        }
    }

    private static GuestResource? Find(World world, string name) =>
        world.Inventory.Guests.TryGetValue(name, out Guest? guest) ? GuestResource.From(world, guest) : null;

    private static GuestDeviceResource? Find(World world, string name, PciAddress address) =>
        world.Inventory.Guests.GetValueOrDefault(name)?.Devices.GetValueOrDefault(address) is { } device ? GuestDeviceResource.From(world, device) : null;

    private static string? Tag(World world, string name) => EntityTags.Of(Find(world, name), ApiJson.Wire.GuestResource);

    private static IResult List(HttpRequest request, Observer observer)
    {
        World world = observer.World;
        IEnumerable<GuestResource> all = world.Inventory.Guests.Values
            .Where(guest => request.Query["state"] is not [{ } state] || string.Equals(state, guest.State.ToString(), StringComparison.OrdinalIgnoreCase))
            .Select(guest => GuestResource.From(world, guest));
        return TypedResults.Json(Pages.Of(request, all, guest => guest.Name), ApiJson.Wire.PageGuestResource);
    }

    private static IResult Get(HttpContext http, string name, Observer observer) => Find(observer.World, name) is { } guest
        ? EntityTags.Show(http, guest, ApiJson.Wire.GuestResource)
        : Problems.Refused(http, [Refusals.GuestNotFound(name)]);

    private static async Task<IResult> CreateAsync(HttpContext http, ChangeEndpoints changes)
    {
        GuestRequest request = await http.Request.BodyAsync(ApiJson.Wire.GuestRequest, http.RequestAborted).ConfigureAwait(false);
        GuestSpec spec = GuestValidation.ToSpec(request);
        return await changes.SubmitAsync(http, new CreateGuest(spec), world =>
            EntityTags.Show(http, Find(world, spec.Name), ApiJson.Wire.GuestResource, created: $"/v1/guests/{spec.Name}")).ConfigureAwait(false);
    }

    private static Task<IResult> DeleteAsync(HttpContext http, string name, ChangeEndpoints changes) =>
        changes.SubmitAsync(http, new DeleteGuest(name, http.Request.Flag("force")), _ => TypedResults.NoContent(), world => Tag(world, name));

    private static IResult Console(HttpContext http, string name, Observer observer, GuestProcesses processes)
    {
        if (!observer.World.Inventory.Guests.ContainsKey(name))
        {
            return Problems.Refused(http, [Refusals.GuestNotFound(name)]);
        }

        string path = processes.PathsOf(name).ConsoleLog;
        return File.Exists(path)
            ? TypedResults.Stream(File.Open(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete), "text/plain; charset=utf-8")
            : TypedResults.Text("");
    }

    private static IResult ListDevices(HttpContext http, string name, Observer observer)
    {
        World world = observer.World;
        return world.Inventory.Guests.TryGetValue(name, out Guest? guest)
            ? TypedResults.Json(
                Pages.Of(http.Request, guest.Devices.Values.Select(device => GuestDeviceResource.From(world, device)), device => device.Address.ToString()),
                ApiJson.Wire.PageGuestDeviceResource)
            : Problems.Refused(http, [Refusals.GuestNotFound(name)]);
    }

    private static IResult GetDevice(HttpContext http, string name, string address, Observer observer)
    {
        PciAddress device = Requests.Address(address);
        World world = observer.World;
        return Find(world, name, device) is { } found
            ? EntityTags.Show(http, found, ApiJson.Wire.GuestDeviceResource)
            : Problems.Refused(http, [world.Inventory.Guests.ContainsKey(name) ? Refusals.NotInGuest(device, name) : Refusals.GuestNotFound(name)]);
    }

    private static async Task<IResult> AttachAsync(HttpContext http, string name, ChangeEndpoints changes)
    {
        DeviceSelection request = await http.Request.BodyAsync(ApiJson.Wire.DeviceSelection, http.RequestAborted).ConfigureAwait(false);
        return await changes.SubmitAsync(http, new AttachDevice(name, request.Address), world => EntityTags.Show(
                http, Find(world, name, request.Address), ApiJson.Wire.GuestDeviceResource, created: $"/v1/guests/{name}/devices/{request.Address}"),
            world => Tag(world, name)).ConfigureAwait(false);
    }

    private static Task<IResult> DetachAsync(HttpContext http, string name, string address, ChangeEndpoints changes)
    {
        PciAddress device = Requests.Address(address);
        return changes.SubmitAsync(http, new DetachDevice(name, device, http.Request.Flag("force")), _ => TypedResults.NoContent(),
            world => EntityTags.Of(Find(world, name, device), ApiJson.Wire.GuestDeviceResource));
    }
}
