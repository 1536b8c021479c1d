// Writing the event log: where ids are given, and old events go.

using AssignHub.Engine.Operations;
using Dapper;
using Microsoft.Data.Sqlite;

namespace AssignHub.Db;

internal static class EventLog
{
    private const int DroppedAtOnce = 1000;

    /// <summary>Adds events as part of a transaction. The newest <see cref="Store.EventsKept"/> are kept; older ones go some at a time.</summary>
    public static void Add(string host, IEnumerable<Event> events, SqliteTransaction transaction)
    {
        foreach (Event happened in events)
        {
            long id = transaction.Connection!.ExecuteScalar<long>(Sql.AddEvent, EventRow.From(host, happened), transaction);
            if (id % DroppedAtOnce == 0)
            {
                transaction.Connection!.Execute(Sql.DropEvents, new { Host = host, Until = id - Store.EventsKept }, transaction);
            }
        }
    }
}
