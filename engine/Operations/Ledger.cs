// The inventory in memory and its only way into the store. Deciding is serial and happens under its lock.

using System.Collections.Concurrent;
using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Rules;

namespace AssignHub.Engine.Operations;

/// <summary>
/// Holds what was asked for and what is under way. A change is decided and journaled in one critical section, so that two
/// requests cannot both be told yes; the store's schema is the second lock.
/// </summary>
public sealed class Ledger(IStore store, Measures measures, TimeProvider clock)
{
    private readonly Lock _gate = new();
    private readonly Dictionary<string, long> _held = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<long, Running> _running = new();
    private Inventory _inventory = Inventory.Empty;
    private TaskCompletionSource _released = NewSignal();
    private TaskCompletionSource _told = NewSignal();
    private long _lastOperation;

    /// <summary>What is asked for now.</summary>
    public Inventory Inventory => Volatile.Read(ref _inventory);

    /// <summary>Completes when an operation next gives up what it held.</summary>
    public Task Released => Volatile.Read(ref _released).Task;

    /// <summary>Operations under way.</summary>
    public IEnumerable<Operation> Unfinished => _running.Values.Select(running => running.Operation).OrderBy(operation => operation.Id);

    /// <summary>Completes when an event is next written.</summary>
    public Task Told => Volatile.Read(ref _told).Task;

    /// <summary>Reads the store; returns the operations that were under way when the service last ended.</summary>
    public IReadOnlyList<Operation> Load()
    {
        StoreContents contents = store.Load();
        lock (_gate)
        {
            _inventory = contents.Inventory;
            _lastOperation = contents.LastOperation;
            foreach (Operation operation in contents.Unfinished)
            {
                _running[operation.Id] = new Running(operation);
            }
        }

        return contents.Unfinished;
    }

    /// <summary>
    /// Decides with the inventory as it is at this moment and, if there is a plan with steps and nothing holds what it
    /// touches, journals and begins it.
    /// </summary>
    /// <param name="decide">The pure decision.</param>
    /// <param name="actor">Who asked.</param>
    /// <param name="resumed">The operation to carry on with, or null for a new one.</param>
    /// <param name="key">What the request is known again by, or null.</param>
    /// <returns>The decision, with the operation that began, or the ids of those in its way.</returns>
    public (Decision Decision, Operation? Begun, ImmutableArray<long> InTheWay) Begin(
        Func<Inventory, Decision> decide, string actor, Operation? resumed, RequestKey? key = null)
    {
        lock (_gate)
        {
            Decision decision = decide(_inventory);
            if (decision.Plan is not { } plan)
            {
                return (decision, null, []);
            }

            if (plan.Steps.IsEmpty && plan.Reserved == _inventory && resumed is null)
            {
                return (decision, null, []);
            }

            ImmutableArray<long> inTheWay = [.. plan.Touches.Where(_held.ContainsKey).Select(subject => _held[subject]).Distinct()];
            if (!inTheWay.IsEmpty)
            {
                return (decision, null, inTheWay);
            }

            DateTimeOffset now = clock.GetUtcNow();
            Operation operation = resumed is null
                ? new Operation { Id = ++_lastOperation, Change = plan.Change, Actor = actor, CreatedAt = now }
                : resumed with { Steps = [.. resumed.Steps.Select(step => step.State is StepState.Succeeded ? step : step with { State = StepState.Skipped })] };
            int first = operation.Steps.Length;
            operation = (operation with
            {
                State = OperationState.Running,
                Steps = [.. operation.Steps, .. plan.Steps.Select(step => new OperationStep(step))],
                Warnings = plan.Warnings,
            }).Starting(first, now);
            Event started = NewEvent(resumed is null ? "operationStarted" : "operationResumed", operation.Change.Subject, operation, operation.Change.Kind);
            Write(plan.Reserved, operation, [started], key);
            foreach (string subject in plan.Touches)
            {
                _held[subject] = operation.Id;
            }

            _running.AddOrUpdate(operation.Id, _ => new Running(operation), (_, running) => running with { Operation = operation });
            return (decision, operation, []);
        }
    }

    /// <summary>Journals an operation as it is now together with its effect on the inventory.</summary>
    public Operation Commit(Operation operation, Func<Inventory, Inventory> effect, string? happened = null, string? subject = null, string? data = null)
    {
        lock (_gate)
        {
            Event[] events = happened is null ? [] : [NewEvent(happened, subject ?? operation.Change.Subject, operation, data)];
            Write(effect(_inventory), operation, events);
            if (_running.TryGetValue(operation.Id, out Running? running))
            {
                _running[operation.Id] = running with { Operation = operation };
            }

            return operation;
        }
    }

    /// <summary>Changes the inventory outside of any operation: to what was found at start.</summary>
    public void Adjust(Func<Inventory, Inventory> change)
    {
        lock (_gate)
        {
            Write(change(_inventory), null, []);
        }
    }

    /// <summary>Writes down something that happened beside the inventory.</summary>
    public void Tell(string kind, string subject, string actor, string? data, long? operation = null)
    {
        lock (_gate)
        {
            Write(_inventory, null, [new Event(0, clock.GetUtcNow(), kind, subject, operation, actor, data)]);
        }
    }

    /// <summary>Wakes who waits for events: one was written by somebody else.</summary>
    public void Announce() => Interlocked.Exchange(ref _told, NewSignal()).SetResult();

    /// <summary>Adds the steps of another plan to an operation, with what that plan reserves.</summary>
    public Operation Amend(Operation operation, Func<Inventory, Plan> plan)
    {
        lock (_gate)
        {
            Plan added = plan(_inventory);
            return Commit(operation with { Steps = [.. operation.Steps, .. added.Steps.Select(step => new OperationStep(step))] }, _ => added.Reserved);
        }
    }

    /// <summary>Journals an operation's end and gives up what it held.</summary>
    public void Finish(Operation operation, Func<Inventory, Inventory> effect)
    {
        string outcome = "operation" + operation.State;
        try
        {
            Commit(operation, effect, outcome, data: operation.Error?.Detail);
        }
        finally
        {
            Running? running;
            lock (_gate)
            {
                foreach (string subject in _held.Where(held => held.Value == operation.Id).Select(held => held.Key).ToArray())
                {
                    _held.Remove(subject);
                }

                _running.TryRemove(operation.Id, out running);
            }

            measures.Ended(operation);
            Interlocked.Exchange(ref _released, NewSignal()).SetResult();
            running?.Finished.TrySetResult(operation);
        }
    }

    /// <summary>An operation, under way or ended; null if there never was one by this id.</summary>
    public Operation? Find(long id) => _running.TryGetValue(id, out Running? running) ? running.Operation : store.FindOperation(id);

    /// <summary>Waits for an operation's end, at most until cancelled; gives it as it is then.</summary>
    public async Task<Operation?> WaitAsync(long id, CancellationToken cancellation)
    {
        if (!_running.TryGetValue(id, out Running? running))
        {
            return store.FindOperation(id);
        }

        try
        {
            return await running.Finished.Task.WaitAsync(cancellation).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            return Find(id);
        }
    }

    private void Write(Inventory after, Operation? operation, IReadOnlyList<Event> events, RequestKey? key = null)
    {
        store.Write(_inventory, after, operation, events, key);
        Volatile.Write(ref _inventory, after);
        if (events.Count > 0)
        {
            Announce();
        }
    }

    private Event NewEvent(string kind, string subject, Operation operation, string? data) =>
        new(0, clock.GetUtcNow(), kind, subject, operation.Id, operation.Actor, data);

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private sealed record Running(Operation Operation)
    {
        public TaskCompletionSource<Operation> Finished { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
