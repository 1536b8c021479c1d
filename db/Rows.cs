// The tables' rows as Dapper reads and writes them, and their way to and from the engine's records.

using System.Collections.Immutable;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using AssignHub.Engine;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Pci;

namespace AssignHub.Db;

internal sealed record GuestRow
{
    public required string Host { get; init; }
    public required string Name { get; init; }
    public required string Spec { get; init; }
    public long Generation { get; init; }
    public required string State { get; init; }
    public int? Pid { get; init; }
    public long? StartTime { get; init; }
    public uint Uid { get; init; }
    public string? Error { get; init; }
    public required string CreatedAt { get; init; }

    public static GuestRow From(string host, Guest guest) => new()
    {
        Host = host,
        Name = guest.Name,
        Spec = Json.Write(guest.Spec, EngineJson.Default.GuestSpec),
        Generation = guest.Generation,
        State = guest.State.ToString(),
        Pid = guest.Process?.Pid,
        StartTime = (long?)guest.Process?.StartTime,
        Uid = guest.Uid,
        Error = guest.Error,
        CreatedAt = Text.Time(guest.CreatedAt),
    };

    public Guest ToGuest(IEnumerable<GuestDeviceRow> devices) => new()
    {
        Spec = Json.Read(Spec, EngineJson.Default.GuestSpec),
        Generation = Generation,
        State = Enum.Parse<GuestState>(State),
        Process = Pid is { } pid ? new GuestProcess(pid, (ulong)StartTime!.Value, Uid) : null,
        Uid = Uid,
        Error = Error,
        CreatedAt = Text.Time(CreatedAt),
        Devices = devices.Select(row => row.ToDevice()).ToImmutableSortedDictionary(device => device.Address, device => device),
    };
}

internal sealed record GuestDeviceRow
{
    public required string Host { get; init; }
    public required string Address { get; init; }
    public required string Guest { get; init; }
    public required string Container { get; init; }
    public required string State { get; init; }
    public string? Bus { get; init; }
    public int? Slot { get; init; }

    public static GuestDeviceRow From(string host, string guest, GuestDevice device) => new()
    {
        Host = host,
        Address = device.Address.ToString(),
        Guest = guest,
        Container = device.Container,
        State = device.State.ToString(),
        Bus = device.Bus,
        Slot = device.Slot,
    };

    public GuestDevice ToDevice() => new(PciAddress.Parse(Address), Container, Enum.Parse<GuestDeviceState>(State), Bus, Slot);
}

internal sealed record ContainerRow
{
    public required string Host { get; init; }
    public required string Id { get; init; }
    public int? GroupNumber { get; init; }
    public string? Backend { get; init; }
    public string? Guest { get; init; }
    public required string State { get; init; }
    public bool Keep { get; init; }
    public string? Iommu { get; init; }
    public required string Reports { get; init; }
    public string? Error { get; init; }
    public string? Fence { get; init; }
    public required string CreatedAt { get; init; }

    public static ContainerRow From(string host, Container container) => new()
    {
        Host = host,
        Id = container.Id,
        GroupNumber = container.Group,
        Backend = container.Backend,
        Guest = container.Guest,
        State = container.State.ToString(),
        Keep = container.Keep,
        Iommu = container.Iommu is { } iommu ? Json.Write(iommu, EngineJson.Default.IommuReport) : null,
        Reports = Json.Write(container.Reports, EngineJson.Default.ImmutableArrayDeviceReport),
        Error = container.Error,
        Fence = container.Fence,
        CreatedAt = Text.Time(container.CreatedAt),
    };

    public Container ToContainer(IEnumerable<MemberRow> members) => new()
    {
        Id = Id,
        Group = GroupNumber,
        Members = [.. members.Select(row => row.ToMember()).OrderBy(member => member.Address)],
        Backend = Backend,
        Guest = Guest,
        State = Enum.Parse<ContainerState>(State),
        Keep = Keep,
        Iommu = Iommu is null ? null : Json.Read(Iommu, EngineJson.Default.IommuReport),
        Reports = Json.Read(Reports, EngineJson.Default.ImmutableArrayDeviceReport),
        Error = Error,
        Fence = Fence,
        CreatedAt = Text.Time(CreatedAt),
    };
}

internal sealed record MemberRow
{
    public required string Host { get; init; }
    public required string Address { get; init; }
    public required string Container { get; init; }
    public ushort VendorId { get; init; }
    public ushort DeviceId { get; init; }
    public string? Serial { get; init; }
    public bool IsBridge { get; init; }
    public string? OriginalDriver { get; init; }

    public static MemberRow From(string host, string container, ContainerMember member) => new()
    {
        Host = host,
        Address = member.Address.ToString(),
        Container = container,
        VendorId = member.VendorId,
        DeviceId = member.DeviceId,
        Serial = member.Serial,
        IsBridge = member.IsBridge,
        OriginalDriver = member.OriginalDriver,
    };

    public ContainerMember ToMember() => new(PciAddress.Parse(Address), VendorId, DeviceId, Serial, IsBridge, OriginalDriver);
}

internal sealed record QuarantineRow
{
    public required string Host { get; init; }
    public required string Address { get; init; }
    public required string Reason { get; init; }
    public required string Since { get; init; }
}

internal sealed record OverrideRow
{
    public required string Host { get; init; }
    public required string Address { get; init; }
    public required string Reason { get; init; }
    public required string Actor { get; init; }
    public required string CreatedAt { get; init; }
    public required string ExpiresAt { get; init; }

    public static OverrideRow From(string host, Override over) => new()
    {
        Host = host,
        Address = over.Address.ToString(),
        Reason = over.Reason,
        Actor = over.Actor,
        CreatedAt = Text.Time(over.Since),
        ExpiresAt = Text.Time(over.Until),
    };

    public Override ToOverride() => new(PciAddress.Parse(Address), Reason, Actor, Text.Time(CreatedAt), Text.Time(ExpiresAt));
}

internal sealed record OperationRow
{
    public required string Host { get; init; }
    public long Id { get; init; }
    public required string Kind { get; init; }
    public required string Subject { get; init; }
    public required string Change { get; init; }
    public required string Actor { get; init; }
    public required string State { get; init; }
    public required string Steps { get; init; }
    public string? Error { get; init; }
    public required string Warnings { get; init; }
    public required string CreatedAt { get; init; }
    public string? FinishedAt { get; init; }

    public static OperationRow From(string host, Operation operation) => new()
    {
        Host = host,
        Id = operation.Id,
        Kind = operation.Change.Kind,
        Subject = operation.Change.Subject,
        Change = Json.Write(operation.Change, EngineJson.Default.Change),
        Actor = operation.Actor,
        State = operation.State.ToString(),
        Steps = Json.Write(operation.Steps, EngineJson.Default.ImmutableArrayOperationStep),
        Error = operation.Error is { } error ? Json.Write(error, EngineJson.Default.Problem) : null,
        Warnings = Json.Write(operation.Warnings, EngineJson.Default.ImmutableArrayString),
        CreatedAt = Text.Time(operation.CreatedAt),
        FinishedAt = operation.FinishedAt is { } finished ? Text.Time(finished) : null,
    };

    public Operation ToOperation() => new()
    {
        Id = Id,
        Change = Json.Read(Change, EngineJson.Default.Change),
        Actor = Actor,
        State = Enum.Parse<OperationState>(State),
        Steps = Json.Read(Steps, EngineJson.Default.ImmutableArrayOperationStep),
        Error = Error is null ? null : Json.Read(Error, EngineJson.Default.Problem),
        Warnings = Json.Read(Warnings, EngineJson.Default.ImmutableArrayString),
        CreatedAt = Text.Time(CreatedAt),
        FinishedAt = FinishedAt is null ? null : Text.Time(FinishedAt),
    };
}

internal sealed record EventRow
{
    public required string Host { get; init; }
    public long Id { get; init; }
    public required string Time { get; init; }
    public required string Kind { get; init; }
    public required string Subject { get; init; }
    public long? Operation { get; init; }
    public required string Actor { get; init; }
    public string? Data { get; init; }

    public static EventRow From(string host, Event happened) => new()
    {
        Host = host,
        Id = happened.Id,
        Time = Text.Time(happened.Time),
        Kind = happened.Kind,
        Subject = happened.Subject,
        Operation = happened.Operation,
        Actor = happened.Actor,
        Data = happened.Data,
    };

    public Event ToEvent() => new(Id, Text.Time(Time), Kind, Subject, Operation, Actor, Data);
}

/// <summary>Times as RFC 3339 UTC with fixed width, so that text order is time order.</summary>
internal static class Text
{
    public static string Time(DateTimeOffset time) => time.UtcDateTime.ToString("O", CultureInfo.InvariantCulture);

    public static DateTimeOffset Time(string text) =>
        DateTimeOffset.Parse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal);
}

internal static class Json
{
    public static string Write<T>(T value, JsonTypeInfo<T> type) => JsonSerializer.Serialize(value, type);

    public static T Read<T>(string text, JsonTypeInfo<T> type) =>
        JsonSerializer.Deserialize(text, type) ?? throw new InvalidDataException("the store has null where a value belongs");
}
