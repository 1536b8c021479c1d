// What requests with an Idempotency-Key were answered, for a day.

using AssignHub.Engine.Operations;
using Dapper;
using Microsoft.Data.Sqlite;

namespace AssignHub.Db;

/// <summary>What is known of a key that was used before.</summary>
public sealed record KnownKey
{
    /// <summary>Of the request that it came with.</summary>
    public required string Fingerprint { get; init; }
    /// <summary>The operation that the request began; null if it needed none.</summary>
    public long? Operation { get; init; }
    /// <summary>The answer, sealed; null if the service ended before it had one.</summary>
    public string? Answer { get; init; }
}

/// <summary>Keeps answers in the same file as <see cref="Store"/>, which adds the rows of requests that begin an operation.</summary>
/// <param name="path">The database file, with its schema up to date.</param>
/// <param name="host">The host's name.</param>
/// <param name="clock">Tells how old they are.</param>
public sealed class Answers(string path, string host, TimeProvider clock)
{
    /// <summary>How long a key is known.</summary>
    public static readonly TimeSpan Kept = TimeSpan.FromHours(24);

    /// <summary>What is known of a key; null if nothing, or no longer. Those that are too old go.</summary>
    public KnownKey? Find(RequestKey key)
    {
        using SqliteConnection connection = Sqlite.Open(path);
        connection.Execute(Sql.DropAnswers, new { Host = host, Before = Text.Time(clock.GetUtcNow() - Kept) });
        return connection.QuerySingleOrDefault<KnownKey>(Sql.FindAnswer, new { Host = host, key.Token, key.Key });
    }

    /// <summary>Keeps an answer.</summary>
    public void Put(RequestKey key, string answer)
    {
        using SqliteConnection connection = Sqlite.Open(path);
        connection.Execute(Sql.PutAnswer,
            new { Host = host, key.Token, key.Key, key.Fingerprint, Operation = (long?)null, Answer = answer, CreatedAt = Text.Time(clock.GetUtcNow()) });
    }
}
