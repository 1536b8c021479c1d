// An answer as it was given, to be given again; sealed at rest.

using System.Security.Cryptography;
using System.Text;
using System.Text.Json;

namespace AssignHub.Api.Http;

/// <summary>An answer's status, headers and body.</summary>
/// <param name="Status">The status.</param>
/// <param name="Headers">The headers that say something of the answer.</param>
/// <param name="Body">The body; all that changes something answers with text.</param>
internal sealed record Answer(int Status, Dictionary<string, string> Headers, string Body)
{
    private const int NonceBytes = 12;
    private const int TagBytes = 16;
    private static readonly string[] Said = ["Content-Type", "Location", "ETag", ChangeEndpoints.OperationHeader, "Preference-Applied"];

    /// <summary>Whether it is that of something that was done or begun. A refusal touched nothing: sent again, the request is decided again.</summary>
    public bool IsFinal => Status < StatusCodes.Status300MultipleChoices || Headers.ContainsKey(ChangeEndpoints.OperationHeader);

    /// <summary>Reads what a response has so far.</summary>
    public static Answer Of(HttpResponse response, MemoryStream body) => new(
        response.StatusCode,
        Said.Where(response.Headers.ContainsKey).ToDictionary(name => name, name => response.Headers[name].ToString()),
        Encoding.UTF8.GetString(body.GetBuffer(), 0, (int)body.Length));

    /// <summary>Gives it.</summary>
    public Task SendAsync(HttpResponse response)
    {
        response.StatusCode = Status;
        foreach ((string name, string value) in Headers)
        {
            response.Headers[name] = value;
        }

        byte[] body = Encoding.UTF8.GetBytes(Body);
        return body.Length == 0 ? Task.CompletedTask : response.Body.WriteAsync(body).AsTask();
    }

    /// <summary>
    /// Encrypts it under the token that asked: an answer may have a secret in it, such as a new token, and the database is not to know
    /// secrets. Who repeats the request has the token.
    /// </summary>
    public string Seal(string token)
    {
        byte[] plain = JsonSerializer.SerializeToUtf8Bytes(this, ApiJson.Wire.Answer);
        byte[] sealedBytes = new byte[NonceBytes + TagBytes + plain.Length];
        Span<byte> nonce = sealedBytes.AsSpan(0, NonceBytes);
        RandomNumberGenerator.Fill(nonce);
        using var cipher = new AesGcm(Key(token), TagBytes);
        cipher.Encrypt(nonce, plain, sealedBytes.AsSpan(NonceBytes + TagBytes), sealedBytes.AsSpan(NonceBytes, TagBytes));
        return Convert.ToBase64String(sealedBytes);
    }

    /// <summary>Decrypts it.</summary>
    public static Answer Open(string text, string token)
    {
        byte[] sealedBytes = Convert.FromBase64String(text);
        byte[] plain = new byte[sealedBytes.Length - NonceBytes - TagBytes];
        using var cipher = new AesGcm(Key(token), TagBytes);
        cipher.Decrypt(sealedBytes.AsSpan(0, NonceBytes), sealedBytes.AsSpan(NonceBytes + TagBytes), sealedBytes.AsSpan(NonceBytes, TagBytes), plain);
        return JsonSerializer.Deserialize(plain, ApiJson.Wire.Answer)!;
    }

    private static byte[] Key(string token) => HKDF.DeriveKey(HashAlgorithmName.SHA256, Encoding.UTF8.GetBytes(token), 32, info: "assignhub answer"u8.ToArray());
}
