// Source-generated JSON of everything that goes over the wire.

using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using AssignHub.Api.Bridges;
using AssignHub.Api.Containers;
using AssignHub.Api.Devices;
using AssignHub.Api.Events;
using AssignHub.Api.Groups;
using AssignHub.Api.Guests;
using AssignHub.Api.Hosts;
using AssignHub.Api.Operations;
using AssignHub.Api.Tokens;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;

namespace AssignHub.Api.Http;

/// <summary>The wire's JSON: camelCase, enums as camelCase words, unknown fields refused.</summary>
[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow, NumberHandling = JsonNumberHandling.Strict,
    Converters =
    [
        typeof(CodeConverter),
        typeof(TimeConverter),
        typeof(WordConverter<GuestState>),
        typeof(WordConverter<GuestIommu>),
        typeof(WordConverter<GuestDeviceState>),
        typeof(WordConverter<ContainerState>),
        typeof(WordConverter<GroupOwner>),
        typeof(WordConverter<DeviceState>),
        typeof(WordConverter<HostUseKind>),
        typeof(WordConverter<OperationState>),
        typeof(WordConverter<StepState>),
        typeof(WordConverter<CheckStatus>),
        typeof(WordConverter<Role>),
    ],
    RespectNullableAnnotations = true, AllowDuplicateProperties = false)]
[JsonSerializable(typeof(ProblemDocument))]
[JsonSerializable(typeof(PlanResource))]
[JsonSerializable(typeof(Page<OperationResource>))]
[JsonSerializable(typeof(Page<DeviceResource>))]
[JsonSerializable(typeof(Page<GroupResource>))]
[JsonSerializable(typeof(Page<BridgeResource>))]
[JsonSerializable(typeof(Page<ContainerResource>))]
[JsonSerializable(typeof(Page<GuestResource>))]
[JsonSerializable(typeof(Page<GuestDeviceResource>))]
[JsonSerializable(typeof(Page<EventResource>))]
[JsonSerializable(typeof(HostResource))]
[JsonSerializable(typeof(ContainerRequest))]
[JsonSerializable(typeof(GuestRequest))]
[JsonSerializable(typeof(DeviceSelection))]
[JsonSerializable(typeof(OverrideRequest))]
[JsonSerializable(typeof(SriovRequest))]
[JsonSerializable(typeof(DeviceVfioResource))]
[JsonSerializable(typeof(Page<TokenResource>))]
[JsonSerializable(typeof(TokenRequest))]
[JsonSerializable(typeof(Answer))]
internal sealed partial class ApiJson : JsonSerializerContext
{
    /// <summary>The context to use: JSON is not put into HTML here, so apostrophes and plus signs stand as they are.</summary>
    public static ApiJson Wire => field ??= new(new JsonSerializerOptions(Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
}

/// <summary>Codes are snake_case.</summary>
internal sealed class CodeConverter() : JsonStringEnumConverter<ProblemCode>(JsonNamingPolicy.SnakeCaseLower, allowIntegerValues: false);

/// <summary>All other enums are camelCase, and never numbers.</summary>
internal sealed class WordConverter<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.CamelCase, allowIntegerValues: false)
    where T : struct, Enum;

/// <summary>Times are RFC 3339 in UTC, with a Z.</summary>
internal sealed class TimeConverter : JsonConverter<DateTimeOffset>
{
    public override DateTimeOffset Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) => reader.GetDateTimeOffset();

    public override void Write(Utf8JsonWriter writer, DateTimeOffset value, JsonSerializerOptions options) =>
        writer.WriteStringValue(value.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture));
}
