// /metrics: what was measured, and how things stand, in Prometheus' text format.

using System.Globalization;
using System.Text;
using AssignHub.Api.Events;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Metrics;

internal static class MetricsEndpoint
{
    public static void Map(IEndpointRouteBuilder routes) => routes.MapGet("/metrics", Show).WithTags("Service").WithName("getMetrics")
        .WithSummary("Get what the service measures").WithDescription("In Prometheus' text format. It names no device, guest or token.")
        .Produces<string>(contentType: "text/plain").AllowAnonymous();

    private static IResult Show(Prometheus measured, Observer observer, Ledger ledger, EventStreams streams)
    {
        World world = observer.World;
        var page = new StringBuilder();
        measured.Write(page);
        WriteCounts(page, "assignhub_groups", "IOMMU groups by their owner.", "owner", world.Host.Groups.Values.Select(group => Ownership.OwnerOf(world, group)));
        WriteCounts(page, "assignhub_devices", "PCI functions by their state.", "state", world.Host.Devices.Values.Select(device => Ownership.StateOf(world, device)));
        WriteCounts(page, "assignhub_containers", "Containers by their state.", "state", world.Inventory.Containers.Values.Select(container => container.State));
        WriteCounts(page, "assignhub_guests", "Guests by their state.", "state", world.Inventory.Guests.Values.Select(guest => guest.State));
        Write(page, "assignhub_operations_unfinished", "Operations under way.", ledger.Unfinished.Count());
        Write(page, "assignhub_event_streams", "Clients that follow the event log.", streams.Open);
        return TypedResults.Text(page.ToString(), "text/plain; version=0.0.4; charset=utf-8");
    }

    private static void WriteCounts<T>(StringBuilder page, string name, string help, string label, IEnumerable<T> all)
        where T : struct, Enum
    {
        Dictionary<T, int> counts = all.CountBy(value => value).ToDictionary();
        page.Append(CultureInfo.InvariantCulture, $"# HELP {name} {help}\n# TYPE {name} gauge\n");
        foreach (T value in Enum.GetValues<T>())
        {
            page.Append(CultureInfo.InvariantCulture, $"{name}{{{label}=\"{value.ToString().ToLowerInvariant()}\"}} {counts.GetValueOrDefault(value)}\n");
        }
    }

    private static void Write(StringBuilder page, string name, string help, int value) =>
        page.Append(CultureInfo.InvariantCulture, $"# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n");
}
