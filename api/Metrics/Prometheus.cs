// Listens to the instruments of this service and of ASP.NET Core, and shows what they add up to in Prometheus' text format.

using System.Diagnostics.Metrics;
using System.Text;
using AssignHub.Engine.Operations;

namespace AssignHub.Api.Metrics;

/// <summary>Everything that was measured since the service started. Names are those that OpenTelemetry gives the same instruments.</summary>
internal sealed class Prometheus : IDisposable
{
    private static readonly double[] Quick = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
    private static readonly double[] Slow = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300];

    private readonly MeterListener _listener = new();
    private readonly Dictionary<string, Series> _series = new(StringComparer.Ordinal)
    {
        ["http.server.request.duration"] = new(
            "http_server_request_duration_seconds", "HTTP requests.", Quick, ["http.route", "http.request.method", "http.response.status_code"]),
        ["assignhub.operation.duration"] = new("assignhub_operation_duration_seconds", "Operations from their acceptance to their end.", Slow, ["kind", "outcome"]),
        ["assignhub.step.duration"] = new("assignhub_step_duration_seconds", "Steps of operations: calls of the kernel and of QEMU.", Slow, ["action", "outcome"]),
        ["assignhub.resets"] = new("assignhub_resets_total", "Resets of functions and of buses.", null, ["kind", "outcome"]),
        ["assignhub.refusals"] = new("assignhub_refusals_total", "Reasons for which requests were refused or failed, each counted.", null, ["code"]),
    };

    /// <summary>Begins to listen to the meters that one factory makes.</summary>
    public Prometheus(IMeterFactory factory)
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Scope == factory && instrument.Meter.Name is Measures.MeterName or "Microsoft.AspNetCore.Hosting"
                && _series.TryGetValue(instrument.Name, out Series? series))
            {
                listener.EnableMeasurementEvents(instrument, series);
            }
        };
        _listener.SetMeasurementEventCallback<double>((_, value, tags, series) => ((Series)series!).Record(value, tags));
        _listener.SetMeasurementEventCallback<long>((_, value, tags, series) => ((Series)series!).Record(value, tags));
        _listener.Start();
    }

    /// <summary>Writes all of it.</summary>
    public void Write(StringBuilder page)
    {
        foreach (Series series in _series.Values)
        {
            series.Write(page);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _listener.Dispose();
}
