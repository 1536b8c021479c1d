// The store as the engine sees it: the inventory and the journal, written together. SQLite today, PostgreSQL for a fleet.

using AssignHub.Engine.Desired;

namespace AssignHub.Engine.Operations;

/// <summary>Keeps the inventory, the journal and the events. Each write is one durable transaction.</summary>
public interface IStore : IDisposable
{
    /// <summary>Reads all that a starting service needs.</summary>
    StoreContents Load();

    /// <summary>
    /// Writes, in one transaction, what differs between two inventories, an operation as it is now, and new events, which get their ids here.
    /// </summary>
    /// <param name="before">The inventory as it was written last.</param>
    /// <param name="after">The inventory as it is to be.</param>
    /// <param name="operation">The operation, or null.</param>
    /// <param name="events">What happened.</param>
    /// <param name="key">The key of the request that begins the operation, or null.</param>
    /// <exception cref="StoreConflictException">The schema forbids it: a second container for a group, a device in two containers.</exception>
    void Write(Inventory before, Inventory after, Operation? operation, IReadOnlyList<Event> events, RequestKey? key = null);

    /// <summary>Writes something and takes it back, to find out whether the store can be written; the exception says why not.</summary>
    void Probe();

    /// <summary>One operation, or null.</summary>
    Operation? FindOperation(long id);

    /// <summary>Operations, newest first, with an id below <paramref name="before"/>.</summary>
    IReadOnlyList<Operation> ListOperations(long before, int limit);

    /// <summary>Events, oldest first, with an id above <paramref name="after"/>.</summary>
    IReadOnlyList<Event> ListEvents(long after, int limit);

    /// <summary>The ids of the oldest and the newest event that are kept; between them none is missing. Zeros while there is none.</summary>
    (long Oldest, long Newest) EventSpan();
}

/// <summary>What the store has when the service starts.</summary>
/// <param name="Inventory">What was asked for.</param>
/// <param name="Unfinished">Operations that were under way when the service ended, oldest first.</param>
/// <param name="LastOperation">The highest operation id so far.</param>
public sealed record StoreContents(Inventory Inventory, IReadOnlyList<Operation> Unfinished, long LastOperation);

/// <summary>The store refused a write because its schema forbids the result.</summary>
/// <param name="message">Which rule of the schema.</param>
/// <param name="inner">The store's own error.</param>
public sealed class StoreConflictException(string message, Exception inner) : Exception(message, inner);
