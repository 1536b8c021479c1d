// Source-generated JSON of everything that goes over the wire.

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
        typeof(WordConverter<GuestState>),
        typeof(WordConverter<GuestIommu>),
        typeof(WordConverter<GuestDeviceState>),
        typeof(WordConverter<ContainerState>),
        typeof(WordConverter<GroupOwner>),
        typeof(WordConverter<DeviceState>),
        typeof(WordConverter<HostUseKind>),
        typeof(WordConverter<OperationState>),
        typeof(WordConverter<StepState>),
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
internal sealed partial class ApiJson : JsonSerializerContext;

/// <summary>Codes are snake_case.</summary>
internal sealed class CodeConverter() : JsonStringEnumConverter<ProblemCode>(JsonNamingPolicy.SnakeCaseLower, allowIntegerValues: false);

/// <summary>All other enums are camelCase, and never numbers.</summary>
internal sealed class WordConverter<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.CamelCase, allowIntegerValues: false)
    where T : struct, Enum;
