// Recovery before the first request, reconciliation as long as the service runs, an orderly end.

using AssignHub.Api.Http;
using AssignHub.Engine.Operations;

namespace AssignHub.Api;

/// <summary>Runs the reconciler as a hosted service: hosted services start before the listener does.</summary>
internal sealed partial class Recovery(
    Reconciler reconciler, Coordinator coordinator, AdminToken admin, IHostApplicationLifetime lifetime, ILogger<Recovery> logger) : IHostedService, IDisposable
{
    private readonly CancellationTokenSource _stopping = new();
    private Task _watching = Task.CompletedTask;

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        await reconciler.RecoverAsync(cancellationToken).ConfigureAwait(false);
        LogReady(logger, admin.Path);
        _watching = WatchAsync();
    }

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _stopping.CancelAsync().ConfigureAwait(false);
        await _watching.ConfigureAwait(false);
        await coordinator.DrainAsync(cancellationToken).ConfigureAwait(false);
    }

    public void Dispose() => _stopping.Dispose();

    private async Task WatchAsync()
    {
        try
        {
            await reconciler.RunAsync(_stopping.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (_stopping.IsCancellationRequested)
        {
            // The service stops.
        }
        catch (Exception)
        {
            // Without its reconciler the service would slowly stop to be true: it ends, and whoever supervises it starts it anew.
            lifetime.StopApplication();
            throw;
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Recovered; the administrator's token is in {Path}")]
    private static partial void LogReady(ILogger logger, string path);
}
