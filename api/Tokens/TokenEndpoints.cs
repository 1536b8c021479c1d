// /v1/tokens: who may use the API.

using System.Text.RegularExpressions;
using AssignHub.Api.Http;
using AssignHub.Db;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Tokens;

/// <summary>A token. It is shown once, when it is made.</summary>
public sealed record TokenResource
{
    /// <summary>The host's name.</summary>
    public required string Host { get; init; }
    /// <summary>Its id.</summary>
    public required string Id { get; init; }
    /// <summary>Whose it is, or what for; the actor in operations and events.</summary>
    public required string Name { get; init; }
    /// <summary>What it may do.</summary>
    public required Role Role { get; init; }
    /// <summary>When it was made.</summary>
    public required DateTimeOffset CreatedAt { get; init; }
    /// <summary>When it ends by itself; null if never.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }
    /// <summary>When it was last used, to the minute; null if never.</summary>
    public DateTimeOffset? LastUsedAt { get; init; }
    /// <summary>The token itself, in the answer to POST only.</summary>
    public string? Token { get; init; }

    /// <summary>Shows a token.</summary>
    public static TokenResource From(Token token, string host) => new()
    {
        Host = host,
        Id = token.Id,
        Name = token.Name,
        Role = Enum.Parse<Role>(token.Role, ignoreCase: true),
        CreatedAt = token.CreatedAt,
        ExpiresAt = token.ExpiresAt,
        LastUsedAt = token.LastUsedAt,
    };
}

/// <summary>A token as it is asked for.</summary>
public sealed record TokenRequest
{
    /// <summary>Whose it is, or what for: letters, digits, <c>-</c>, <c>_</c>, <c>.</c> and <c>@</c>, at most 63, a letter or digit first.</summary>
    public required string Name { get; init; }
    /// <summary>What it may do.</summary>
    public required Role Role { get; init; }
    /// <summary>When it ends by itself; never if left out.</summary>
    public DateTimeOffset? ExpiresAt { get; init; }
}

internal static partial class TokenEndpoints
{
    public static void Map(RouteGroupBuilder v1)
    {
        RouteGroupBuilder tokens = v1.MapGroup("/tokens").WithTags("Access");
        tokens.MapGet("", List).NeedsRole(Role.Admin).WithName("listTokens").WithSummary("List the tokens")
            .WithDescription("Without the administrator's own, which is in admin.token.")
            .Produces<Page<TokenResource>>().WithParameters(Parameters.Paging).WithProblems(ProblemCode.ValidationFailed);
        tokens.MapPost("", CreateAsync).NeedsRole(Role.Admin).WithName("createToken").WithSummary("Make a token")
            .WithDescription("The answer shows it, and nothing does afterwards: the service keeps a hash of it.")
            .Accepts<TokenRequest>("application/json").Produces<TokenResource>(StatusCodes.Status201Created).WithProblems(ProblemCode.ValidationFailed);
        tokens.MapGet("/{id}", Get).NeedsRole(Role.Admin).WithName("getToken").WithSummary("Get a token")
            .WithDescription("What is known of it; never the token itself.")
            .ProducesTagged<TokenResource>().WithProblems(ProblemCode.TokenNotFound);
        tokens.MapDelete("/{id}", Delete).NeedsRole(Role.Admin).WithName("revokeToken").WithSummary("Revoke a token")
            .WithDescription("It is unknown from the next request on, and event streams that it opened end.")
            .Produces(StatusCodes.Status204NoContent).TakesIfMatch().WithProblems(ProblemCode.TokenNotFound);
    }

    /// <summary>What is wrong with a token's name; null if nothing.</summary>
    public static string? NameProblem(string name) =>
        !NamePattern().IsMatch(name) ? "has to be letters, digits, '-', '_', '.' and '@', at most 63, a letter or digit first"
        : name is "admin" or "assignhub" or "anonymous" ? "is what AssignHub itself goes by in events"
        : null;

    private static IResult List(HttpRequest request, Db.Tokens tokens, Observer observer)
    {
        string host = observer.World.Host.Host;
        return TypedResults.Json(Pages.Of(request, tokens.List().Select(token => TokenResource.From(token, host)), token => token.Name), ApiJson.Wire.PageTokenResource);
    }

    private static IResult Get(HttpContext http, string id, Db.Tokens tokens, Observer observer) => tokens.List().FirstOrDefault(token => token.Id == id) is { } found
        ? EntityTags.Show(http, TokenResource.From(found, observer.World.Host.Host), ApiJson.Wire.TokenResource)
        : Problems.Refused(http, [RequestRefusals.TokenNotFound(id)]);

    private static async Task<IResult> CreateAsync(HttpContext http, Db.Tokens tokens, TokenBook book, Ledger ledger, Observer observer, TimeProvider clock)
    {
        TokenRequest request = await http.Request.BodyAsync(ApiJson.Wire.TokenRequest, http.RequestAborted).ConfigureAwait(false);
        if (NameProblem(request.Name) is { } problem)
        {
            throw BadRequestException.Of("name", problem);
        }

        if (request.ExpiresAt <= clock.GetUtcNow())
        {
            throw BadRequestException.Of("expiresAt", "is over already");
        }

        string secret = Secret.Create();
        Token token = Make(request.Name, request.Role, secret, clock.GetUtcNow(), request.ExpiresAt);
        if (!tokens.Add(token, http.User.Identity!.Name!))
        {
            throw BadRequestException.Of("name", "is another token's: revoke that one, or choose another name");
        }

        book.Forget();
        ledger.Announce();
        var resource = TokenResource.From(token, observer.World.Host.Host);
        IResult shown = EntityTags.Show(http, resource with { Token = secret }, ApiJson.Wire.TokenResource, created: $"/v1/tokens/{token.Id}");
        http.Response.Headers.ETag = EntityTags.Of(resource, ApiJson.Wire.TokenResource);
        http.Response.Headers.CacheControl = "no-store";
        return shown;
    }

    /// <summary>A new token as it is kept.</summary>
    public static Token Make(string name, Role role, string secret, DateTimeOffset now, DateTimeOffset? end) => new()
    {
        Id = $"t-{Guid.CreateVersion7(now):N}",
        Name = name,
        Role = role.ToString().ToLowerInvariant(),
        Hash = Secret.HashOf(secret),
        CreatedAt = now,
        ExpiresAt = end,
    };

    private static IResult Delete(HttpContext http, string id, Db.Tokens tokens, TokenBook book, Ledger ledger, Observer observer)
    {
        string host = observer.World.Host.Host;
        string Tag(Token token) => EntityTags.Of(TokenResource.From(token, host), ApiJson.Wire.TokenResource)!;
        (Token? token, bool dropped) = tokens.Drop(id, http.User.Identity!.Name!, token => EntityTags.Matches(http.Request, Tag(token)));
        if (!dropped)
        {
            return Problems.Refused(http, [token is null ? RequestRefusals.TokenNotFound(id) : RequestRefusals.PreconditionFailed(http.Request.Path, Tag(token))]);
        }

        book.Forget();
        ledger.Announce();
        return TypedResults.NoContent();
    }

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._@-]{0,62}\z")]
    private static partial Regex NamePattern();
}
