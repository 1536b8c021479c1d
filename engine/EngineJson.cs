// How the engine's records are written: into the store's JSON columns, and for comparing specs.

using System.Collections.Immutable;
using System.Text.Json;
using System.Text.Json.Serialization;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine;

/// <summary>Source-generated JSON of what the engine stores.</summary>
[JsonSourceGenerationOptions(JsonSerializerDefaults.Web, UseStringEnumConverter = true, UnmappedMemberHandling = JsonUnmappedMemberHandling.Skip,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(Change))]
[JsonSerializable(typeof(Step))]
[JsonSerializable(typeof(IommuReport))]
[JsonSerializable(typeof(Problem))]
[JsonSerializable(typeof(ImmutableArray<OperationStep>))]
[JsonSerializable(typeof(ImmutableArray<DeviceReport>))]
[JsonSerializable(typeof(ImmutableArray<string>))]
[JsonSerializable(typeof(GuestSpec))]
public sealed partial class EngineJson : JsonSerializerContext;
