// Reading what a request says: bodies, addresses, switches and preferences. Everything malformed is a BadRequestException.

using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Http;

internal static class Requests
{
    /// <summary>The longest that a client may ask to be kept waiting.</summary>
    private const int LongestWaitSeconds = 300;

    /// <summary>Reads a JSON body. Unknown fields are errors.</summary>
    public static async Task<T> BodyAsync<T>(this HttpRequest request, JsonTypeInfo<T> type, CancellationToken cancellation)
    {
        if (!request.HasJsonContentType())
        {
            throw new BadRequestException(
                System.Collections.Immutable.ImmutableSortedDictionary<string, string[]>.Empty.Add("content-type", ["has to be application/json"]),
                ProblemCode.UnsupportedMediaType);
        }

        try
        {
            return await JsonSerializer.DeserializeAsync(request.Body, type, cancellation).ConfigureAwait(false)
                ?? throw BadRequestException.Of("$", "has to be a JSON object");
        }
        catch (JsonException error)
        {
            throw BadRequestException.Of(error.Path ?? "$", error.InnerException?.Message ?? error.Message);
        }
    }

    /// <summary>Reads a PCI address from the path.</summary>
    public static PciAddress Address(string text) => PciAddress.TryParse(text, out PciAddress address)
        ? address
        : throw BadRequestException.Of("address", $"'{text}' is not a PCI address such as 0000:03:01.0 (domain:bus:slot.function, lower-case hex)");

    /// <summary>Reads a switch from the query: absent, <c>true</c> or <c>false</c>.</summary>
    public static bool Flag(this HttpRequest request, string name)
    {
        string? text = request.Query[name];
        return text is not null && (bool.TryParse(text, out bool value) ? value : throw BadRequestException.Of(name, "has to be true or false"));
    }

    /// <summary>Reads a whole number from the query.</summary>
    public static long Number(this HttpRequest request, string name, long fallback, long least, long most)
    {
        string? text = request.Query[name];
        return text is null ? fallback
            : long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long value) && value >= least && value <= most ? value
            : throw BadRequestException.Of(name, $"has to be a whole number from {least} to {most}");
    }

    /// <summary>How long to wait for the end of an operation: <c>Prefer: wait=N</c> (RFC 7240) in seconds; null if not asked for.</summary>
    public static TimeSpan? PreferredWait(this HttpRequest request)
    {
        foreach (string? header in request.Headers["Prefer"])
        {
            foreach (string preference in (header ?? "").Split(',', StringSplitOptions.TrimEntries))
            {
                if (preference.StartsWith("wait=", StringComparison.OrdinalIgnoreCase)
                    && int.TryParse(preference.AsSpan(5), NumberStyles.None, CultureInfo.InvariantCulture, out int seconds))
                {
                    return TimeSpan.FromSeconds(Math.Min(seconds, LongestWaitSeconds));
                }
            }
        }

        return null;
    }
}
