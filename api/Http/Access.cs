// Who may do what: each route declares the role that it needs, and what is denied is told in the event log.

using AssignHub.Engine.Operations;

namespace AssignHub.Api.Http;

/// <summary>What a token may do. Each role may do what those before it may.</summary>
public enum Role
{
    /// <summary>Read.</summary>
    Viewer,
    /// <summary>Change hardware and guests.</summary>
    Operator,
    /// <summary>Override what protects the host, and give tokens.</summary>
    Admin,
}

/// <summary>The role that a route needs.</summary>
/// <param name="Role">The least role.</param>
public sealed record NeededRole(Role Role);

internal static class Access
{
    /// <summary>Declares the role that a route needs.</summary>
    public static RouteHandlerBuilder NeedsRole(this RouteHandlerBuilder route, Role role) => route.RequireAuthorization(role.ToString()).WithMetadata(new NeededRole(role));

    /// <summary>Adds a policy for each role.</summary>
    public static void AddRoles(this IServiceCollection services)
    {
        var policies = services.AddAuthorizationBuilder();
        foreach (Role role in Enum.GetValues<Role>())
        {
            policies.AddPolicy(role.ToString(), policy => policy.RequireRole([.. Enum.GetValues<Role>().Where(other => other >= role).Select(other => other.ToString())]));
        }
    }
}

/// <summary>Tells of requests that were denied. Somebody who knocks without end does not fill the log: some are told each second, the rest are counted.</summary>
internal sealed class Denials(Ledger ledger, TimeProvider clock)
{
    private const int MostPerSecond = 5;
    private const int LongestSubject = 200;

    private readonly Lock _gate = new();
    private long _second;
    private int _told;
    private long _untold;

    /// <summary>Tells of one.</summary>
    public void Tell(HttpContext http, string why)
    {
        long untold;
        lock (_gate)
        {
            long second = clock.GetUtcNow().ToUnixTimeSeconds();
            (_second, _told) = second == _second ? (second, _told + 1) : (second, 1);
            if (_told > MostPerSecond)
            {
                _untold++;
                return;
            }

            (untold, _untold) = (_untold, 0);
        }

        string subject = $"{http.Request.Method} {http.Request.Path}";
        ledger.Tell("denied", subject.Length > LongestSubject ? subject[..LongestSubject] : subject, http.User.Identity?.Name ?? "anonymous",
            $"{why}, from {http.Connection.RemoteIpAddress}{(untold > 0 ? $"; {untold} more before it were not told one by one" : "")}");
    }
}
