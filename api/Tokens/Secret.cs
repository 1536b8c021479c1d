// A token's own text: made at random, shown once, and known afterwards by its hash.

using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;

namespace AssignHub.Api.Tokens;

/// <summary>Makes tokens, and what they are known by.</summary>
public static class Secret
{
    private const int Bytes = 32;

    /// <summary>A new token: 256 random bits, behind a prefix by which scanners of leaked secrets know it.</summary>
    public static string Create() => $"assignhub_{Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(Bytes))}";

    /// <summary>
    /// What a token is known by where it must not stand itself. A slow, salted hash makes guessing dear, and nobody guesses 256 random bits:
    /// the plain hash gives as little away, and costs a request nothing.
    /// </summary>
    public static string HashOf(string token) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(token)));
}
