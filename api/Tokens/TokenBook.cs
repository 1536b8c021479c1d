// The tokens as requests are checked against them: in memory, and never older than a moment.

using System.Collections.Frozen;
using AssignHub.Api.Http;
using AssignHub.Db;

namespace AssignHub.Api.Tokens;

/// <summary>Whom a token stands for.</summary>
/// <param name="Name">The actor in operations and events.</param>
/// <param name="Role">What it may do.</param>
public sealed record Bearer(string Name, Role Role);

/// <summary>Knows every token, with those that the command line adds and revokes while the service runs.</summary>
/// <param name="tokens">The store's.</param>
/// <param name="admin">The administrator's own.</param>
/// <param name="clock">Tells which have expired.</param>
/// <param name="logger">Told when a use cannot be noted.</param>
public sealed partial class TokenBook(Db.Tokens tokens, AdminToken admin, TimeProvider clock, ILogger<TokenBook> logger)
{
    private static readonly TimeSpan Freshness = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan UseNoted = TimeSpan.FromMinutes(1);

    private readonly Lock _gate = new();
    private Page? _page;

    /// <summary>Whom a token stands for now; null if it is unknown, revoked or expired.</summary>
    public Bearer? Find(string token)
    {
        if (admin.Matches(token))
        {
            return new Bearer("admin", Role.Admin);
        }

        Page page = Current();
        if (!page.ByHash.TryGetValue(Secret.HashOf(token), out Token? found) || found.ExpiresAt <= clock.GetUtcNow())
        {
            return null;
        }

        NoteUse(found);
        return new Bearer(found.Name, Enum.Parse<Role>(found.Role, ignoreCase: true));
    }

    /// <summary>Has the next request read the store again: this service has just changed it.</summary>
    public void Forget() => Volatile.Write(ref _page, null);

    private Page Current()
    {
        Page? page = Volatile.Read(ref _page);
        if (page is not null && clock.GetElapsedTime(page.ReadAt) < Freshness)
        {
            return page;
        }

        lock (_gate)
        {
            page = Volatile.Read(ref _page);
            if (page is null || clock.GetElapsedTime(page.ReadAt) >= Freshness)
            {
                long now = clock.GetTimestamp();
                page = new Page(tokens.List().ToFrozenDictionary(token => token.Hash, StringComparer.Ordinal), now);
                Volatile.Write(ref _page, page);
            }

            return page;
        }
    }

    private void NoteUse(Token token)
    {
        if (token.LastUsedAt is { } last && clock.GetUtcNow() - last < UseNoted)
        {
            return;
        }

        try
        {
            tokens.Touch(token.Id);
            Forget();
        }
        catch (Microsoft.Data.Sqlite.SqliteException error)
        {
            // A full disk must not keep anyone from reading.
            LogNotNoted(logger, error, token.Name);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "That token {Token} was used could not be noted")]
    private static partial void LogNotNoted(ILogger logger, Exception error, string token);

    private sealed record Page(FrozenDictionary<string, Token> ByHash, long ReadAt);
}
