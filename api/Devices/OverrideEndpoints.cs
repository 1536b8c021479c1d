// /v1/devices/{address}/override: somebody's word that a device may be taken although the host uses it.

using AssignHub.Api.Http;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Devices;

/// <summary>An override in force.</summary>
/// <param name="Reason">Why, in words.</param>
/// <param name="Until">When it ends by itself.</param>
/// <param name="Actor">Who gave it.</param>
public sealed record OverrideResource(string Reason, DateTimeOffset Until, string Actor);

/// <summary>An override as it is asked for.</summary>
public sealed record OverrideRequest
{
    /// <summary>Why, in words; it stands in the event log.</summary>
    public required string Reason { get; init; }
    /// <summary>For how long: 1 to 604800 (seven days).</summary>
    public required int ExpiresInSeconds { get; init; }
}

internal static class OverrideEndpoints
{
    private const int LongestReason = 500;

    public static void Map(RouteGroupBuilder devices)
    {
        devices.MapPut("/{address}/override", PutAsync).NeedsRole(Role.Admin).WithName("setOverride").WithSummary("Let a device be taken although the host uses it")
            .WithDescription("Lifts `device_in_use_by_host` for this one device until it expires; another PUT replaces it. It is refused for what the root "
                + "file system or AssignHub's own data is on. Nothing is ended on the host before the device is taken: the plan's warnings say what breaks.")
            .Accepts<OverrideRequest>("application/json").ProducesChange<DeviceResource>().TakesIfMatch()
            .WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound, ProblemCode.DeviceInUseByHost, ProblemCode.DeviceIsBridge);
        devices.MapDelete("/{address}/override", DeleteAsync).NeedsRole(Role.Admin).WithName("clearOverride").WithSummary("End an override before its time")
            .WithDescription("What was taken meanwhile stays taken.")
            .ProducesRemoval().TakesIfMatch().WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound);
    }

    private static async Task<IResult> PutAsync(HttpContext http, string address, ChangeEndpoints changes, PciIds names)
    {
        PciAddress device = Requests.Address(address);
        OverrideRequest request = await http.Request.BodyAsync(ApiJson.Wire.OverrideRequest, http.RequestAborted).ConfigureAwait(false);
        string reason = request.Reason.Trim();
        if (reason.Length is 0 or > LongestReason || reason.Any(char.IsControl))
        {
            throw BadRequestException.Of("reason", $"has to be 1 to {LongestReason} characters on one line");
        }

        if (request.ExpiresInSeconds < 1 || request.ExpiresInSeconds > Overrides.Longest.TotalSeconds)
        {
            throw BadRequestException.Of("expiresInSeconds", $"has to be from 1 to {Overrides.Longest.TotalSeconds:0}");
        }

        var change = new SetOverride(device, reason, http.User.Identity?.Name ?? "anonymous", TimeSpan.FromSeconds(request.ExpiresInSeconds));
        return await DeviceEndpoints.SubmitAsync(http, changes, change, device, names).ConfigureAwait(false);
    }

    private static Task<IResult> DeleteAsync(HttpContext http, string address, ChangeEndpoints changes, PciIds names)
    {
        PciAddress device = Requests.Address(address);
        return changes.SubmitAsync(http, new ClearOverride(device), _ => TypedResults.NoContent(), world => DeviceEndpoints.Tag(world, device, names));
    }
}
