// Checks JSON against the schemas of the OpenAPI document: the part of JSON Schema 2020-12 that the document uses. Another keyword fails the check.

using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace AssignHub.Tests.Api;

internal sealed class JsonSchemas(JsonObject document)
{
    private const string Components = "#/components/schemas/";
    // The values stand in the type's range by the types of the code; the rest says nothing of the form.
    private static readonly string[] Silent = ["description", "format", "examples", "title"];

    /// <summary>What is wrong, and where; null if nothing.</summary>
    public string? Objection(JsonNode? value, JsonNode schema, string at = "$")
    {
        foreach ((string keyword, JsonNode? rule) in schema.AsObject())
        {
            string? wrong = keyword switch
            {
                "$ref" => Objection(value, document["components"]!["schemas"]![((string)rule!)[Components.Length..]]!, at),
                "type" => Types(rule!).Contains(TypeOf(value)) || (TypeOf(value) == "integer" && Types(rule!).Contains("number")) ? null : $"is {TypeOf(value)}, not {rule!.ToJsonString()}",
                "enum" => rule!.AsArray().Any(allowed => JsonNode.DeepEquals(allowed, value)) ? null : $"is {value?.ToJsonString()}, none of {rule.ToJsonString()}",
                "pattern" => value is JsonValue text && text.TryGetValue(out string? word) && !Regex.IsMatch(word, (string)rule!) ? $"{word} is not like {rule}" : null,
                "minLength" => value is JsonValue text && text.TryGetValue(out string? word) && word.Length < (int)rule! ? "is too short" : null,
                "maxLength" => value is JsonValue text && text.TryGetValue(out string? word) && word.Length > (int)rule! ? "is too long" : null,
                "minimum" => value?.GetValueKind() == JsonValueKind.Number && Number(value) < Number(rule!) ? $"is below {rule}" : null,
                "maximum" => value?.GetValueKind() == JsonValueKind.Number && Number(value) > Number(rule!) ? $"is above {rule}" : null,
                "required" => value is JsonObject map && rule!.AsArray().FirstOrDefault(name => !map.ContainsKey((string)name!)) is { } lacking ? $"lacks {lacking}" : null,
                "items" => value is JsonArray list ? First(list.Select((item, i) => Objection(item, rule!, $"{at}[{i}]"))) : null,
                "properties" => value is JsonObject map ? First(map.Select(field => rule![field.Key] is { } own ? Objection(field.Value, own, $"{at}.{field.Key}") : null)) : null,
                "additionalProperties" => value is JsonObject map ? Additional(map, schema, rule!, at) : null,
                "oneOf" => rule!.AsArray().Count(one => Objection(value, one!, at) is null) == 1 ? null
                    : $"is not one of these: {string.Join("; or ", rule.AsArray().Select(one => Objection(value, one!, at) ?? "it is this"))}",
                _ when Silent.Contains(keyword) => null,
                _ => $"the schema says {keyword}, which this does not know",
            };
            if (wrong is not null)
            {
                return wrong.StartsWith('$') ? wrong : $"{at} {wrong}";
            }
        }

        return null;
    }

    private string? Additional(JsonObject map, JsonNode schema, JsonNode rule, string at)
    {
        IEnumerable<KeyValuePair<string, JsonNode?>> others = map.Where(field => schema["properties"]?[field.Key] is null);
        return rule.GetValueKind() == JsonValueKind.False
            ? others.Select(field => $"{at}.{field.Key} is not in the schema").FirstOrDefault()
            : First(others.Select(field => Objection(field.Value, rule, $"{at}.{field.Key}")));
    }

    private static string? First(IEnumerable<string?> objections) => objections.FirstOrDefault(objection => objection is not null);

    private static IEnumerable<string> Types(JsonNode rule) => rule is JsonArray several ? several.Select(one => (string)one!) : [(string)rule!];

    private static decimal Number(JsonNode value) => decimal.Parse(value.ToJsonString(), NumberStyles.Float, CultureInfo.InvariantCulture);

    private static string TypeOf(JsonNode? value) => value?.GetValueKind() switch
    {
        null or JsonValueKind.Null => "null",
        JsonValueKind.Object => "object",
        JsonValueKind.Array => "array",
        JsonValueKind.String => "string",
        JsonValueKind.True or JsonValueKind.False => "boolean",
        _ => value.ToJsonString().AsSpan().ContainsAny(".eE") ? "number" : "integer",
    };
}
