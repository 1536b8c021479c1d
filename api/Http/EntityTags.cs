// ETags: a resource's tag is a hash of what is shown of it, so that it changes when anything in it does, whoever changed it.

using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using AssignHub.Engine.Rules;
using Microsoft.Net.Http.Headers;

namespace AssignHub.Api.Http;

internal static class EntityTags
{
    private const int Bytes = 16;

    /// <summary>The strong tag of a resource; null if there is none.</summary>
    public static string? Of<T>(T? resource, JsonTypeInfo<T> type)
        where T : class => resource is null ? null : Of(JsonSerializer.SerializeToUtf8Bytes(resource, type));

    /// <summary>Shows a resource with its tag, or says that the client has it already (304), or that others have removed it since.</summary>
    /// <param name="http">The request.</param>
    /// <param name="resource">The resource.</param>
    /// <param name="type">How it is written.</param>
    /// <param name="created">Where it is, if the request has created it.</param>
    public static IResult Show<T>(HttpContext http, T? resource, JsonTypeInfo<T> type, string? created = null)
        where T : class
    {
        if (resource is null)
        {
            return Problems.Refused(http, [RequestRefusals.NotFound(created ?? http.Request.Path)]);
        }

        byte[] json = JsonSerializer.SerializeToUtf8Bytes(resource, type);
        string tag = Of(json);
        http.Response.Headers.ETag = tag;
        if (HttpMethods.IsGet(http.Request.Method) && Names(http.Request.Headers.IfNoneMatch, tag, weakly: true))
        {
            return TypedResults.StatusCode(StatusCodes.Status304NotModified);
        }

        http.Response.Headers.Location = created;
        return new Shown(json, created is null ? StatusCodes.Status200OK : StatusCodes.Status201Created);
    }

    /// <summary>What the request's <c>If-Match</c> demands of the world; null if it has none.</summary>
    /// <param name="request">The request.</param>
    /// <param name="tag">The tag of the resource that it is about, in a world.</param>
    public static Func<World, Refusal?>? Precondition(HttpRequest request, Func<World, string?> tag)
    {
        Microsoft.Extensions.Primitives.StringValues wanted = request.Headers.IfMatch;
        string path = request.Path;
        return wanted.Count == 0 ? null : world => tag(world) is { } now && Names(wanted, now, weakly: false) ? null : RequestRefusals.PreconditionFailed(path, tag(world));
    }

    /// <summary>Whether a resource with this tag is what the request's <c>If-Match</c> demands; it is if there is none.</summary>
    public static bool Matches(HttpRequest request, string tag) => request.Headers.IfMatch.Count == 0 || Names(request.Headers.IfMatch, tag, weakly: false);

    private static bool Names(Microsoft.Extensions.Primitives.StringValues header, string tag, bool weakly) =>
        EntityTagHeaderValue.TryParseList(header, out IList<EntityTagHeaderValue>? tags)
        && tags.Any(wanted => wanted.Equals(EntityTagHeaderValue.Any) || (wanted.Tag == tag && (weakly || !wanted.IsWeak)));

    private static string Of(byte[] json) => $"\"{Base64Url.EncodeToString(SHA256.HashData(json).AsSpan(0, Bytes))}\"";

    private sealed class Shown(byte[] json, int status) : IResult
    {
        public Task ExecuteAsync(HttpContext httpContext)
        {
            httpContext.Response.StatusCode = status;
            httpContext.Response.ContentType = "application/json; charset=utf-8";
            httpContext.Response.ContentLength = json.Length;
            return httpContext.Response.Body.WriteAsync(json, httpContext.RequestAborted).AsTask();
        }
    }
}
