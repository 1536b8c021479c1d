// /v1/devices/{address}/sriov: how many virtual functions a physical one has.

using AssignHub.Api.Http;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Devices;

/// <summary>How many virtual functions a device is to have.</summary>
public sealed record SriovRequest
{
    /// <summary>The number, from 0 to the device's <c>sriov.totalVfs</c>.</summary>
    public required int NumVfs { get; init; }
}

internal static class SriovEndpoints
{
    public static void Map(RouteGroupBuilder devices) =>
        devices.MapPut("/{address}/sriov", PutAsync).NeedsRole(Role.Operator).WithName("setDeviceSriov").WithSummary("Set the number of a device's virtual functions")
            .WithDescription("Its own driver makes them; each has a group of its own where the path to it has ACS. From one number to another the kernel goes by way of none, "
                + "so it is refused while any that exists is claimed, in a guest, used by the host or held by a foreign process. They are gone after the host's next boot.")
            .Accepts<SriovRequest>("application/json").ProducesChange<DeviceResource>().TakesIfMatch()
            .WithProblems(ProblemCode.ValidationFailed, ProblemCode.DeviceNotFound, ProblemCode.GroupOwned);

    private static async Task<IResult> PutAsync(HttpContext http, string address, ChangeEndpoints changes, PciIds names)
    {
        PciAddress device = Requests.Address(address);
        SriovRequest request = await http.Request.BodyAsync(ApiJson.Wire.SriovRequest, http.RequestAborted).ConfigureAwait(false);
        return request.NumVfs >= 0
            ? await DeviceEndpoints.SubmitAsync(http, changes, new SetVirtualFunctions(device, request.NumVfs), device, names).ConfigureAwait(false)
            : throw BadRequestException.Of("numVfs", "has to be a number from 0 to the device's sriov.totalVfs");
    }
}
