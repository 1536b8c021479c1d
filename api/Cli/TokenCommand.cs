// assignhub token: makes, lists and revokes tokens in the service's database, whether the service runs or not.

using System.Globalization;
using AssignHub.Api.Http;
using AssignHub.Api.Tokens;
using AssignHub.Db;

namespace AssignHub.Api.Cli;

internal static class TokenCommand
{
    private static string Actor => $"{Environment.UserName} on the console";

    public static int Create(string data, string? proc, string name, Role role, int? expiresInSeconds) => WithTokens(data, proc, tokens =>
    {
        if (TokenEndpoints.NameProblem(name) is { } problem)
        {
            return Fail($"--name {name}: {problem}");
        }

        string secret = Secret.Create();
        DateTimeOffset now = TimeProvider.System.GetUtcNow();
        Token token = TokenEndpoints.Make(name, role, secret, now, expiresInSeconds is { } seconds ? now.AddSeconds(seconds) : null);
        if (!tokens.Add(token, Actor))
        {
            return Fail($"--name {name}: is another token's: revoke that one, or choose another name");
        }

        Console.WriteLine(secret);
        return 0;
    });

    public static int List(string data, string? proc) => WithTokens(data, proc, tokens =>
    {
        foreach (Token token in tokens.List())
        {
            Console.WriteLine($"{token.Id}  {token.Role,-8}  created {Day(token.CreatedAt)}  last used {Day(token.LastUsedAt)}  expires {Day(token.ExpiresAt)}  {token.Name}");
        }

        return 0;
    });

    public static int Revoke(string data, string? proc, string which) => WithTokens(data, proc, tokens =>
        tokens.List().FirstOrDefault(token => token.Id == which || token.Name == which) is { } found && tokens.Drop(found.Id, Actor, _ => true).Dropped
            ? 0
            : Fail($"there is no token {which}; assignhub token list shows them"));

    private static int WithTokens(string data, string? proc, Func<Db.Tokens, int> work)
    {
        try
        {
            Directory.CreateDirectory(data, ServeCommand.DataMode);
            string database = Path.Combine(data, Service.DatabaseFile);
            string host = Service.HostName(proc ?? "/proc");
            // Brings the schema up to date, as the service would.
            new Store(database, host).Dispose();
            return work(new Db.Tokens(database, host, TimeProvider.System));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or InvalidDataException or Microsoft.Data.Sqlite.SqliteException)
        {
            return Fail(error.Message);
        }
    }

    private static string Day(DateTimeOffset? time) => time is { } at ? at.UtcDateTime.ToString("yyyy-MM-dd HH:mm", CultureInfo.InvariantCulture) : "never";

    private static int Fail(string message)
    {
        Console.Error.WriteLine($"assignhub: {message}");
        return 1;
    }
}
