// The tokens in the store. The service and the command line work on them at the same time, so each method is one transaction of its own.

using AssignHub.Engine.Operations;
using Dapper;
using Microsoft.Data.Sqlite;

namespace AssignHub.Db;

/// <summary>A token as it is kept: without the token.</summary>
public sealed record Token
{
    /// <summary>Its id.</summary>
    public required string Id { get; init; }
    /// <summary>Whose it is, or what for; the actor in operations and events.</summary>
    public required string Name { get; init; }
    /// <summary>What it may do.</summary>
    public required string Role { get; init; }
    /// <summary>The SHA-256 of the token, in hex.</summary>
    public required string Hash { get; init; }
    /// <summary>When it was made.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
    /// <summary>When it ends by itself; null if never.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }
    /// <summary>When it was last used, to the minute; null if never.</summary>
    public DateTimeOffset? LastUsedAt { get; init; }
}

/// <summary>Reads and writes tokens, each change together with the event that tells of it.</summary>
/// <param name="path">The database file, with its schema up to date.</param>
/// <param name="host">The host's name.</param>
/// <param name="clock">Tells when.</param>
public sealed class Tokens(string path, string host, TimeProvider clock)
{
    /// <summary>All tokens, by name.</summary>
    public IReadOnlyList<Token> List()
    {
        using SqliteConnection connection = Sqlite.Open(path);
        return [.. connection.Query<TokenRow>(Sql.Tokens, new { Host = host }).Select(row => row.ToToken())];
    }

    /// <summary>Adds a token; false if another has its name.</summary>
    public bool Add(Token token, string actor)
    {
        using SqliteConnection connection = Sqlite.Open(path);
        using SqliteTransaction transaction = connection.BeginTransaction();
        try
        {
            connection.Execute(Sql.AddToken, TokenRow.From(host, token), transaction);
        }
        catch (SqliteException error) when (Sqlite.IsConstraint(error))
        {
            return false;
        }

        EventLog.Add(host, [Told("tokenCreated", token, actor)], transaction);
        transaction.Commit();
        return true;
    }

    /// <summary>Drops a token by its id.</summary>
    /// <param name="id">Its id.</param>
    /// <param name="actor">Who asks.</param>
    /// <param name="condition">What has to hold of it at that moment.</param>
    /// <returns>The token as it was, and whether it is gone; no token if there was none.</returns>
    public (Token? Token, bool Dropped) Drop(string id, string actor, Func<Token, bool> condition)
    {
        using SqliteConnection connection = Sqlite.Open(path);
        using SqliteTransaction transaction = connection.BeginTransaction();
        Token? token = connection.QuerySingleOrDefault<TokenRow>(Sql.FindToken, new { Host = host, Id = id }, transaction)?.ToToken();
        if (token is null || !condition(token))
        {
            return (token, false);
        }

        connection.Execute(Sql.DropToken, new { Host = host, Id = id }, transaction);
        EventLog.Add(host, [Told("tokenRevoked", token, actor)], transaction);
        transaction.Commit();
        return (token, true);
    }

    /// <summary>Notes that a token was used.</summary>
    public void Touch(string id)
    {
        using SqliteConnection connection = Sqlite.Open(path);
        connection.Execute(Sql.TouchToken, new { Host = host, Id = id, LastUsedAt = Text.Time(clock.GetUtcNow()) });
    }

    private Event Told(string kind, Token token, string actor) =>
        new(0, clock.GetUtcNow(), kind, $"token {token.Name}", null, actor, $"{token.Role}{(token.ExpiresAt is { } end ? $", until {end.UtcDateTime:yyyy-MM-dd'T'HH:mm:ss'Z'}" : "")}");
}

internal sealed record TokenRow
{
    public required string Host { get; init; }
    public required string Id { get; init; }
    public required string Name { get; init; }
    public required string Role { get; init; }
    public required string Hash { get; init; }
    public required string CreatedAt { get; init; }
    public string? ExpiresAt { get; init; }
    public string? LastUsedAt { get; init; }

    public static TokenRow From(string host, Token token) => new()
    {
        Host = host,
        Id = token.Id,
        Name = token.Name,
        Role = token.Role,
        Hash = token.Hash,
        CreatedAt = Text.Time(token.CreatedAt),
        ExpiresAt = token.ExpiresAt is { } end ? Text.Time(end) : null,
        LastUsedAt = token.LastUsedAt is { } used ? Text.Time(used) : null,
    };

    public Token ToToken() => new()
    {
        Id = Id,
        Name = Name,
        Role = Role,
        Hash = Hash,
        CreatedAt = Text.Time(CreatedAt),
        ExpiresAt = ExpiresAt is null ? null : Text.Time(ExpiresAt),
        LastUsedAt = LastUsedAt is null ? null : Text.Time(LastUsedAt),
    };
}
