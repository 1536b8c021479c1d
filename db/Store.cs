// The engine's store in SQLite: the difference of two inventories, the operation and its events in one durable transaction.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Pci;
using Dapper;
using Microsoft.Data.Sqlite;

namespace AssignHub.Db;

/// <summary>Keeps the inventory and journal of one host in a SQLite file.</summary>
public sealed class Store : IStore
{
    /// <summary>How many events are kept, the newest ones; older ones go some at a time.</summary>
    public const int EventsKept = 100_000;

    private const int ProbeTimeoutSeconds = 3;

    private readonly string _host;
    private readonly string _path;
    private readonly SqliteConnection _writer;

    static Store() => DefaultTypeMap.MatchNamesWithUnderscores = true;

    /// <summary>Opens the store, creating it or bringing its schema up to date.</summary>
    /// <param name="path">The database file; its folder must be there.</param>
    /// <param name="host">The host's name, carried by every row.</param>
    /// <exception cref="InvalidDataException">The database is newer than this program.</exception>
    public Store(string path, string host)
    {
        _host = host;
        _path = path;
        _writer = Sqlite.Open(path);
        Sqlite.Migrate(_writer);
    }

    /// <inheritdoc/>
    public StoreContents Load()
    {
        using SqliteConnection reader = Sqlite.Open(_path);
        var key = new { Host = _host };
        ILookup<string, GuestDeviceRow> devices = reader.Query<GuestDeviceRow>(Sql.GuestDevices, key).ToLookup(row => row.Guest);
        ILookup<string, MemberRow> members = reader.Query<MemberRow>(Sql.Members, key).ToLookup(row => row.Container);
        var inventory = new Inventory
        {
            Guests = reader.Query<GuestRow>(Sql.Guests, key).Select(row => row.ToGuest(devices[row.Name]))
                .ToImmutableSortedDictionary(guest => guest.Name, guest => guest, StringComparer.Ordinal),
            Containers = reader.Query<ContainerRow>(Sql.Containers, key).Select(row => row.ToContainer(members[row.Id]))
                .ToImmutableSortedDictionary(container => container.Id, container => container, StringComparer.Ordinal),
            Quarantined = reader.Query<QuarantineRow>(Sql.Quarantines, key)
                .Select(row => new Quarantine(PciAddress.Parse(row.Address), row.Reason, Text.Time(row.Since)))
                .ToImmutableSortedDictionary(quarantine => quarantine.Address, quarantine => quarantine),
            Overrides = reader.Query<OverrideRow>(Sql.Overrides, key).Select(row => row.ToOverride())
                .ToImmutableSortedDictionary(over => over.Address, over => over),
        };
        return new StoreContents(
            inventory,
            [.. reader.Query<OperationRow>(Sql.UnfinishedOperations, key).Select(row => row.ToOperation())],
            reader.ExecuteScalar<long>(Sql.LastOperation, key));
    }

    /// <inheritdoc/>
    public void Write(Inventory before, Inventory after, Operation? operation, IReadOnlyList<Event> events, RequestKey? key = null)
    {
        try
        {
            using SqliteTransaction transaction = _writer.BeginTransaction();
            WriteGuests(before, after, transaction);
            WriteContainers(before, after, transaction);
            WriteQuarantines(before, after, transaction);
            WriteOverrides(before, after, transaction);
            if (operation is not null)
            {
                _writer.Execute(Sql.PutOperation, OperationRow.From(_host, operation), transaction);
            }

            if (key is not null)
            {
                _writer.Execute(Sql.PutAnswer,
                    new { Host = _host, key.Token, key.Key, key.Fingerprint, Operation = operation?.Id, Answer = (string?)null, CreatedAt = Text.Time(operation!.CreatedAt) }, transaction);
            }

            EventLog.Add(_host, events, transaction);

            transaction.Commit();
        }
        catch (SqliteException error) when (Sqlite.IsConstraint(error))
        {
            throw new StoreConflictException("The store's schema forbids this: a group has at most one container, a device at most one container and guest.", error);
        }
    }

    /// <inheritdoc/>
    public void Probe()
    {
        using SqliteConnection connection = Sqlite.Open(_path, ProbeTimeoutSeconds);
        using SqliteTransaction transaction = connection.BeginTransaction();
        connection.Execute(Sql.Probe, new { Host = _host }, transaction);
        transaction.Commit();
    }

    /// <inheritdoc/>
    public Operation? FindOperation(long id)
    {
        using SqliteConnection reader = Sqlite.Open(_path);
        return reader.QuerySingleOrDefault<OperationRow>(Sql.FindOperation, new { Host = _host, Id = id })?.ToOperation();
    }

    /// <inheritdoc/>
    public IReadOnlyList<Operation> ListOperations(long before, int limit)
    {
        using SqliteConnection reader = Sqlite.Open(_path);
        return [.. reader.Query<OperationRow>(Sql.ListOperations, new { Host = _host, Before = before, Limit = limit }).Select(row => row.ToOperation())];
    }

    /// <inheritdoc/>
    public IReadOnlyList<Event> ListEvents(long after, int limit)
    {
        using SqliteConnection reader = Sqlite.Open(_path);
        return [.. reader.Query<EventRow>(Sql.ListEvents, new { Host = _host, After = after, Limit = limit }).Select(row => row.ToEvent())];
    }

    /// <inheritdoc/>
    public (long Oldest, long Newest) EventSpan()
    {
        using SqliteConnection reader = Sqlite.Open(_path);
        return reader.QuerySingle<(long, long)>(Sql.EventSpan, new { Host = _host });
    }

    /// <inheritdoc/>
    public void Dispose() => _writer.Dispose();

    private void WriteGuests(Inventory before, Inventory after, SqliteTransaction transaction)
    {
        foreach (string gone in before.Guests.Keys.Where(name => !after.Guests.ContainsKey(name)))
        {
            _writer.Execute(Sql.DropGuest, new { Host = _host, Name = gone }, transaction);
        }

        foreach (Guest guest in after.Guests.Values.Where(guest => !ReferenceEquals(guest, before.Guests.GetValueOrDefault(guest.Name))))
        {
            _writer.Execute(Sql.PutGuest, GuestRow.From(_host, guest), transaction);
            if (!ReferenceEquals(guest.Devices, before.Guests.GetValueOrDefault(guest.Name)?.Devices))
            {
                _writer.Execute(Sql.DropGuestDevices, new { Host = _host, Guest = guest.Name }, transaction);
                _writer.Execute(Sql.AddGuestDevice, guest.Devices.Values.Select(device => GuestDeviceRow.From(_host, guest.Name, device)), transaction);
            }
        }
    }

    private void WriteContainers(Inventory before, Inventory after, SqliteTransaction transaction)
    {
        foreach (string gone in before.Containers.Keys.Where(id => !after.Containers.ContainsKey(id)))
        {
            _writer.Execute(Sql.DropContainer, new { Host = _host, Id = gone }, transaction);
        }

        // Two groups may have swapped their numbers at a boot, and each number is taken until its old holder lets go.
        foreach (Container container in after.Containers.Values.Where(container =>
            before.Containers.TryGetValue(container.Id, out Container? was) && was.Group != container.Group))
        {
            _writer.Execute(Sql.ParkContainer, new { Host = _host, container.Id }, transaction);
        }

        foreach (Container container in after.Containers.Values)
        {
            Container? was = before.Containers.GetValueOrDefault(container.Id);
            if (ReferenceEquals(container, was))
            {
                continue;
            }

            _writer.Execute(Sql.PutContainer, ContainerRow.From(_host, container), transaction);
            if (was is null || was.Members != container.Members)
            {
                _writer.Execute(Sql.DropMembers, new { Host = _host, Container = container.Id }, transaction);
                _writer.Execute(Sql.AddMember, container.Members.Select(member => MemberRow.From(_host, container.Id, member)), transaction);
            }
        }
    }

    private void WriteQuarantines(Inventory before, Inventory after, SqliteTransaction transaction)
    {
        foreach (PciAddress gone in before.Quarantined.Keys.Where(address => !after.Quarantined.ContainsKey(address)))
        {
            _writer.Execute(Sql.DropQuarantine, new { Host = _host, Address = gone.ToString() }, transaction);
        }

        foreach (Quarantine quarantine in after.Quarantined.Values.Where(quarantine => before.Quarantined.GetValueOrDefault(quarantine.Address) != quarantine))
        {
            _writer.Execute(Sql.PutQuarantine,
                new { Host = _host, Address = quarantine.Address.ToString(), quarantine.Reason, Since = Text.Time(quarantine.Since) }, transaction);
        }
    }

    private void WriteOverrides(Inventory before, Inventory after, SqliteTransaction transaction)
    {
        foreach (PciAddress gone in before.Overrides.Keys.Where(address => !after.Overrides.ContainsKey(address)))
        {
            _writer.Execute(Sql.DropOverride, new { Host = _host, Address = gone.ToString() }, transaction);
        }

        foreach (Override over in after.Overrides.Values.Where(over => before.Overrides.GetValueOrDefault(over.Address) != over))
        {
            _writer.Execute(Sql.PutOverride, OverrideRow.From(_host, over), transaction);
        }
    }
}
