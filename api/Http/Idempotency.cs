// Idempotency-Key on POST: the same request sent again gets the answer of the first, and does nothing a second time.

using System.Collections.Concurrent;
using System.Security.Cryptography;
using System.Text;
using AssignHub.Api.Tokens;
using AssignHub.Db;
using AssignHub.Engine.Operations;

namespace AssignHub.Api.Http;

/// <summary>What a request with a key carries on its way.</summary>
/// <param name="Key">The key.</param>
/// <param name="Operation">The operation that the same request began before the service ended; null if none.</param>
internal sealed record KeyedRequest(RequestKey Key, long? Operation);

/// <summary>Answers again what was answered before.</summary>
internal sealed class Idempotency(RequestDelegate next, Answers answers)
{
    private const string Header = "Idempotency-Key";
    private const int LongestKey = 255;

    private readonly ConcurrentDictionary<(string Token, string Key), string> _underWay = new();

    /// <summary>Takes a request in.</summary>
    public Task InvokeAsync(HttpContext http) =>
        HttpMethods.IsPost(http.Request.Method) && http.GetEndpoint() is not null && http.Request.Headers.TryGetValue(Header, out var header)
            ? AnswerAsync(http, header.ToString())
            : next(http);

    private async Task AnswerAsync(HttpContext http, string name)
    {
        if (name.Length is 0 or > LongestKey || name.Any(letter => letter is < ' ' or > '~'))
        {
            throw BadRequestException.Of(Header, $"has to be 1 to {LongestKey} printable ASCII characters");
        }

        string token = BearerHandler.TokenOf(http.Request);
        var key = new RequestKey(Secret.HashOf(token), name, await FingerprintAsync(http.Request).ConfigureAwait(false));
        string underWay = _underWay.GetOrAdd((key.Token, key.Key), key.Fingerprint);
        if (!ReferenceEquals(underWay, key.Fingerprint))
        {
            await Problems.Refused(http, [underWay == key.Fingerprint ? RequestRefusals.KeyUnderWay(name) : RequestRefusals.KeyMismatch(name)]).ExecuteAsync(http).ConfigureAwait(false);
            return;
        }

        try
        {
            await AnswerAsync(http, key, token).ConfigureAwait(false);
        }
        finally
        {
            _underWay.TryRemove((key.Token, key.Key), out _);
        }
    }

    private async Task AnswerAsync(HttpContext http, RequestKey key, string token)
    {
        KnownKey? known = answers.Find(key);
        if (known is not null && known.Fingerprint != key.Fingerprint)
        {
            await Problems.Refused(http, [RequestRefusals.KeyMismatch(key.Key)]).ExecuteAsync(http).ConfigureAwait(false);
            return;
        }

        if (known?.Answer is { } before)
        {
            await Answer.Open(before, token).SendAsync(http.Response).ConfigureAwait(false);
            return;
        }

        http.Features.Set(new KeyedRequest(key, known?.Operation));
        Stream wire = http.Response.Body;
        using var body = new MemoryStream();
        http.Response.Body = body;
        try
        {
            await next(http).ConfigureAwait(false);
        }
        finally
        {
            http.Response.Body = wire;
        }

        var answer = Answer.Of(http.Response, body);
        if (answer.IsFinal)
        {
            // Kept before it is sent: an answer that a client has seen is the one that it will see.
            answers.Put(key, answer.Seal(token));
        }

        await answer.SendAsync(http.Response).ConfigureAwait(false);
    }

    private static async Task<string> FingerprintAsync(HttpRequest request)
    {
        request.EnableBuffering(Service.LargestBodyBytes);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(Encoding.UTF8.GetBytes($"{request.Path}{request.QueryString}\n"));
        byte[] buffer = new byte[16 << 10];
        for (int read; (read = await request.Body.ReadAsync(buffer, request.HttpContext.RequestAborted).ConfigureAwait(false)) > 0;)
        {
            hash.AppendData(buffer, 0, read);
        }

        request.Body.Position = 0;
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }
}
