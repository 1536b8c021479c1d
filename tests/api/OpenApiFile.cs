// The committed openapi.yaml, as tests ask it: which operation a request is, what it may answer, and whether an answer is that.

using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace AssignHub.Tests.Api;

internal sealed record DocumentedOperation(string Id, string Method, string Path, JsonObject Text)
{
    public IEnumerable<int> Statuses => Text["responses"]!.AsObject().Select(response => int.Parse(response.Key, CultureInfo.InvariantCulture));

    public bool Takes(string parameter) => Text["parameters"]?.AsArray().Any(one => (string?)one!["name"] == parameter) == true;
}

internal sealed partial class OpenApiFile
{
    private static readonly Lazy<OpenApiFile> Loaded = new(() => new OpenApiFile());
    private readonly List<(DocumentedOperation Operation, Regex Pattern)> _operations = [];

    private OpenApiFile()
    {
        using var reader = new StreamReader(Path.Combine(OpenApiTests.Repository(), "openapi.yaml"));
        var yaml = new YamlStream();
        yaml.Load(reader);
        Root = ToJson(yaml.Documents[0].RootNode)!.AsObject();
        Schemas = new JsonSchemas(Root);
        foreach ((string path, JsonNode? verbs) in Root["paths"]!.AsObject())
        {
            var pattern = new Regex($"^{Parameter().Replace(path, "[^/]+")}/?$", RegexOptions.CultureInvariant | RegexOptions.IgnoreCase);
            foreach ((string verb, JsonNode? text) in verbs!.AsObject())
            {
                _operations.Add((new DocumentedOperation((string)text!["operationId"]!, verb.ToUpperInvariant(), path, text.AsObject()), pattern));
            }
        }
    }

    public static OpenApiFile Committed => Loaded.Value;

    public JsonObject Root { get; }

    public JsonSchemas Schemas { get; }

    public IEnumerable<DocumentedOperation> Operations => _operations.Select(known => known.Operation);

    /// <summary>What is wrong with an answer; null if it is one that the document has.</summary>
    public string? Objection(string method, string path, int status, string? mediaType, string body)
    {
        string asked = $"{method} {path} answered {status}";
        List<DocumentedOperation> here = [.. _operations.Where(known => known.Pattern.IsMatch(path)).Select(known => known.Operation)];
        // /v1/tokens/{id} and a literal path never both match, so there is at most one for each verb.
        if (here.Find(operation => operation.Method == method) is not { } documented)
        {
            bool page = path is "/" or "/openapi.yaml" || path.StartsWith("/swagger", StringComparison.Ordinal);
            return page || status == (here.Count > 0 ? 405 : 404) ? null : $"{asked}, and no such operation is documented";
        }

        if (documented.Text["responses"]![status.ToString(CultureInfo.InvariantCulture)] is not { } response)
        {
            return $"{asked}, which {documented.Id} does not document: {body}";
        }

        if (response["content"] is not { } content)
        {
            return body.Length == 0 ? null : $"{asked} with a body, and {documented.Id} documents none";
        }

        return content[mediaType ?? ""] is not { } media ? $"{asked} with {mediaType}, which {documented.Id} does not document"
            : mediaType!.EndsWith("json", StringComparison.Ordinal) && Schemas.Objection(JsonNode.Parse(body), media["schema"]!) is { } wrong ? $"{asked}, not by its schema: {wrong}"
            : null;
    }

    // YAML's core schema: only plain scalars are anything but strings.
    private static JsonNode? ToJson(YamlNode node) => node switch
    {
        YamlMappingNode map => new JsonObject(map.Children.Select(child => KeyValuePair.Create(((YamlScalarNode)child.Key).Value!, ToJson(child.Value)))),
        YamlSequenceNode list => new JsonArray([.. list.Children.Select(ToJson)]),
        YamlScalarNode { Style: ScalarStyle.Plain } plain => plain.Value switch
        {
            "true" => true,
            "false" => false,
            "null" or "" => null,
            { } text when long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number) => number,
            { } text => text,
            null => null,
        },
        YamlScalarNode quoted => quoted.Value,
        _ => throw new InvalidDataException(node.ToString()),
    };

    [GeneratedRegex(@"\{[^}]+\}")]
    private static partial Regex Parameter();
}

/// <summary>Sends requests on, and fails the test if an answer is not a documented one.</summary>
internal sealed class ContractHandler : DelegatingHandler
{
    public ContractHandler(HttpMessageHandler? inner = null)
        : base(inner ?? new SocketsHttpHandler())
    {
    }

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        HttpResponseMessage answer = await base.SendAsync(request, cancellationToken);
        string? mediaType = answer.Content.Headers.ContentType?.MediaType;
        string body = "";
        if (mediaType != "text/event-stream")
        {
            await answer.Content.LoadIntoBufferAsync(cancellationToken);
            body = await answer.Content.ReadAsStringAsync(cancellationToken);
        }

        string? objection = OpenApiFile.Committed.Objection(request.Method.Method, request.RequestUri!.AbsolutePath, (int)answer.StatusCode, mediaType, body);
        Assert.True(objection is null, objection);
        return answer;
    }
}
