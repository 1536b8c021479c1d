// Bearer tokens. At its first start the service writes one for its administrator, readable by root only.

using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;
using System.Text.Encodings.Web;
using AssignHub.Api.Tokens;
using Microsoft.AspNetCore.Authentication;
using Microsoft.Extensions.Options;

namespace AssignHub.Api.Http;

/// <summary>The administrator's token, kept in <c>admin.token</c> (mode 0600) in the data directory.</summary>
public sealed class AdminToken
{
    private const int Bytes = 32;
    private readonly byte[] _hash;

    private AdminToken(string path, string token)
    {
        Path = path;
        _hash = Hash(token);
    }

    /// <summary>The file that it is in.</summary>
    public string Path { get; }

    /// <summary>Reads the token, making one at the first start.</summary>
    /// <param name="directory">The data directory.</param>
    public static AdminToken ReadOrCreate(string directory)
    {
        string path = System.IO.Path.Combine(directory, "admin.token");
        if (!File.Exists(path))
        {
            // Written beside and moved, so that a crash leaves no empty token that would let nobody in.
            string fresh = $"{path}.new";
            File.Delete(fresh);
            using (var file = new FileStream(fresh, new FileStreamOptions
            {
                Mode = FileMode.CreateNew,
                Access = FileAccess.Write,
                UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
            }))
            {
                file.Write(Encoding.ASCII.GetBytes(Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(Bytes)) + "\n"));
                file.Flush(flushToDisk: true);
            }

            File.Move(fresh, path);
        }

        string token = File.ReadAllText(path).Trim();
        return token.Length > 0 ? new AdminToken(path, token) : throw new InvalidDataException($"{path} is empty; delete it and start again to get a new token");
    }

    /// <summary>Whether it is this token, in a time that does not tell how much of it is right.</summary>
    public bool Matches(string token) => CryptographicOperations.FixedTimeEquals(_hash, Hash(token));

    private static byte[] Hash(string token) => SHA256.HashData(Encoding.UTF8.GetBytes(token));
}

/// <summary>Lets in who has a token.</summary>
internal sealed class BearerHandler(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger, UrlEncoder encoder, TokenBook tokens, Denials denials)
    : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
{
    public const string SchemeName = "Bearer";

    /// <summary>The token that came with a request; empty if none.</summary>
    public static string TokenOf(HttpRequest request)
    {
        string header = request.Headers.Authorization.ToString();
        return header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase) ? header["Bearer ".Length..].Trim() : "";
    }

    protected override Task<AuthenticateResult> HandleAuthenticateAsync()
    {
        string token = TokenOf(Request);
        if (token.Length == 0)
        {
            return Task.FromResult(AuthenticateResult.NoResult());
        }

        if (tokens.Find(token) is not { } bearer)
        {
            return Task.FromResult(AuthenticateResult.Fail("unknown, revoked or expired"));
        }

        var identity = new ClaimsIdentity([new Claim(ClaimTypes.Name, bearer.Name), new Claim(ClaimTypes.Role, bearer.Role.ToString())], SchemeName);
        return Task.FromResult(AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(identity), SchemeName)));
    }

    protected override Task HandleChallengeAsync(AuthenticationProperties properties)
    {
        denials.Tell(Context, TokenOf(Request).Length == 0 ? "unauthenticated: no token" : "unauthenticated: an unknown, revoked or expired token");
        Response.StatusCode = StatusCodes.Status401Unauthorized;
        Response.Headers.WWWAuthenticate = "Bearer realm=\"assignhub\"";
        return Task.CompletedTask;
    }

    protected override Task HandleForbiddenAsync(AuthenticationProperties properties)
    {
        denials.Tell(Context, "forbidden: the token's role does not allow it");
        Response.StatusCode = StatusCodes.Status403Forbidden;
        return Task.CompletedTask;
    }
}
