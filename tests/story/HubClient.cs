// A client of the API that shows what it says and hears, for people to read along.

using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace AssignHub.Story;

/// <summary>An answer: its status and its JSON, null where it has none.</summary>
public sealed record HubAnswer(HttpStatusCode Status, JsonNode? Body, string Text)
{
    /// <summary>The problem's code, or null.</summary>
    public string? Code => Body is JsonObject body ? (string?)body["code"] : null;
}

/// <summary>Talks to AssignHub.</summary>
public sealed class HubClient : IDisposable
{
    private static readonly JsonSerializerOptions Indented = new() { WriteIndented = true };
    private readonly HttpClient _http;
    private readonly TextWriter? _show;

    /// <summary>Makes a client.</summary>
    /// <param name="url">Where the service is.</param>
    /// <param name="token">A bearer token, or null.</param>
    /// <param name="show">Where requests and answers are shown, or null.</param>
    public HubClient(Uri url, string? token, TextWriter? show = null)
    {
        _http = new HttpClient { BaseAddress = url, Timeout = TimeSpan.FromMinutes(5) };
        if (token is not null)
        {
            _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        }

        _show = show;
    }

    public Task<HubAnswer> GetAsync(string path) => SendAsync(HttpMethod.Get, path);

    public Task<HubAnswer> PostAsync(string path, JsonNode? body = null) => SendAsync(HttpMethod.Post, path, body);

    public Task<HubAnswer> DeleteAsync(string path) => SendAsync(HttpMethod.Delete, path);

    /// <summary>Sends a request that waits for its operation's end.</summary>
    public async Task<HubAnswer> SendAsync(HttpMethod method, string path, JsonNode? body = null, int waitSeconds = 120)
    {
        using var request = new HttpRequestMessage(method, path);
        if (method != HttpMethod.Get && waitSeconds > 0)
        {
            request.Headers.Add("Prefer", string.Create(CultureInfo.InvariantCulture, $"wait={waitSeconds}"));
        }

        if (body is not null)
        {
            request.Content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json");
        }

        _show?.WriteLine($"  > {method} {path}{(body is null ? "" : $" {body.ToJsonString()}")}");
        using HttpResponseMessage response = await _http.SendAsync(request).ConfigureAwait(false);
        string text = await response.Content.ReadAsStringAsync().ConfigureAwait(false);
        JsonNode? json = response.Content.Headers.ContentType?.MediaType?.EndsWith("json", StringComparison.Ordinal) == true && text.Length > 0 ? JsonNode.Parse(text) : null;
        Show(response.StatusCode, json, text);
        return new HubAnswer(response.StatusCode, json, text);
    }

    public void Dispose() => _http.Dispose();

    private void Show(HttpStatusCode status, JsonNode? json, string text)
    {
        if (_show is null)
        {
            return;
        }

        _show.WriteLine($"  < {(int)status} {status}");
        string shown = json?.ToJsonString(Indented) ?? text;
        foreach (string line in shown.Split('\n').Where(line => line.Length > 0).Take(40))
        {
            _show.WriteLine($"    {line}");
        }
    }
}
