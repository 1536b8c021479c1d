// Whether the service can do its work: each reason against it, found out and not assumed.

using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;
using Microsoft.Data.Sqlite;

namespace AssignHub.Api.Health;

/// <summary>Judges it, at most once a second: it writes to the store, and anyone may ask.</summary>
internal sealed class Readiness(IStore store, Reconciler reconciler, Observer observer, TimeProvider clock)
{
    // Its rounds are five seconds apart; in one it may wait for operations that hold what it needs.
    private static readonly TimeSpan LongestRound = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan Freshness = TimeSpan.FromSeconds(1);

    private readonly Lock _gate = new();
    private long? _judgedAt;
    private string[] _lacks = [];

    /// <summary>What is lacking; nothing if the service is ready.</summary>
    public IReadOnlyList<string> Lacks()
    {
        lock (_gate)
        {
            if (_judgedAt is not { } then || clock.GetElapsedTime(then) >= Freshness)
            {
                _lacks = [.. Judge()];
                _judgedAt = clock.GetTimestamp();
            }

            return _lacks;
        }
    }

    private IEnumerable<string> Judge()
    {
        World world = observer.World;
        if (!world.Host.Vfio.IommuEnabled)
        {
            yield return "the IOMMU is off";
        }
        else if (!world.Host.Vfio.Available)
        {
            yield return "the kernel offers no VFIO";
        }

        if (StoreProblem() is { } problem)
        {
            yield return $"the store cannot be written: {problem}";
        }

        if (clock.GetUtcNow() - reconciler.LastRound > LongestRound)
        {
            yield return $"the reconciler has not come round since {reconciler.LastRound.UtcDateTime:yyyy-MM-dd'T'HH:mm:ss'Z'}";
        }
    }

    private string? StoreProblem()
    {
        try
        {
            store.Probe();
            return null;
        }
        catch (SqliteException error)
        {
            return error.Message;
        }
    }
}
