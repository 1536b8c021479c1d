// docs/refusals.md as the code has it: each code with its status, its meaning (the enum's own comment) and what AssignHub says, made by the same
// factories that the service calls.

using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Xml.Linq;
using AssignHub.Api.Http;
using AssignHub.Engine;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using Microsoft.AspNetCore.WebUtilities;

namespace AssignHub.Tests.Api;

internal static class RefusalsPage
{
    private static readonly DateTimeOffset At = DateTimeOffset.UnixEpoch;
    private static readonly PciAddress Address = PciAddress.Parse("0000:03:01.0");
    private static readonly PciDevice Nic = new() { Address = Address, Driver = "igb", Group = 7, Sriov = new SriovState(7, 2, null) };
    private static readonly Container Container = new() { Id = "c-0000-03-01-0", Group = 7, Members = [], Guest = "web01", CreatedAt = At };
    private static readonly Guest Guest = new() { Spec = new GuestSpec { Name = "web01" }, State = GuestState.Running, Uid = 1, CreatedAt = At };
    private static readonly GroupHolder Holder = new(4242, "dpdk-testpmd");
    private static readonly HostUse Mounted = new(HostUseKind.Storage, "nvme0n1p2 is mounted at /srv", "umount /srv");

    /// <summary>Examples of every refusal, in no order.</summary>
    public static ImmutableArray<Refusal> Examples { get; } =
    [
        RequestRefusals.Malformed("vcpus: has to be 1 to 255"),
        RequestRefusals.Unauthenticated(),
        RequestRefusals.Forbidden("Viewer", "Operator"),
        RequestRefusals.NotFound("/v1/nothing"),
        RequestRefusals.MethodNotAllowed("/v1/host", "DELETE"),
        RequestRefusals.BodyTooLarge(),
        RequestRefusals.UnsupportedMediaType(),
        RequestRefusals.OperationNotFound("17"),
        RequestRefusals.PreconditionFailed("/v1/guests/web01", "\"7LYAJmCtUrzlY8KWHpyoCQ\""),
        RequestRefusals.TokenNotFound("t-1"),
        RequestRefusals.KeyMismatch("8e03978e"),
        RequestRefusals.KeyUnderWay("8e03978e"),
        RequestRefusals.EventsGone(17, 4001, 104000),
        RequestRefusals.TooManyStreams(16),
        RequestRefusals.Busy(new ClaimGroup(7, null), 17),
        Refusals.DeviceNotFound(Address),
        Refusals.GroupNotFound(7),
        Refusals.BridgeNotFound(Address),
        Refusals.ContainerNotFound(Container.Id),
        Refusals.GuestNotFound(Guest.Name),
        Refusals.NotInGuest(Address, Guest.Name),
        Refusals.ContainerSingleGroup(7, Address, 8),
        Refusals.GroupOwned(Container),
        Refusals.ContainerExists(7, Container),
        Refusals.ContainerNotReady(Container with { State = ContainerState.Releasing }),
        Refusals.GroupChanged(Container, "0000:03:00.0 is 8086:10d3 with serial 2 and was 8086:10d3 with serial 1"),
        Refusals.GroupForeign(7, Holder),
        Refusals.BridgeDriver(7, Nic with { Driver = "shpchp" }),
        Refusals.FirmwareRegion(7, new ReservedRegion(0x7b000000, 0x7b7fffff, "direct")),
        Refusals.HasVfs(Nic),
        Refusals.InUseByHost(Nic, Mounted),
        Refusals.InUseByHost(Nic, Mounted with { Detail = "nvme0n1p2 is mounted at /", Remedy = "Boot the host from another device.", Essential = "the root file system" }),
        Refusals.Quarantined(new Quarantine(Address, "its vendor id reads ffff instead of 8086", At)),
        Refusals.IsBridge(Address),
        Refusals.IommuDisabled(),
        Refusals.NoIommu(7),
        Refusals.VfioUnavailable(),
        Refusals.ResetHitsGuest(Address.ToString(), Address, 7, Guest),
        Refusals.ResetHitsHost(Address.ToString(), Nic),
        Refusals.ResetHitsForeign(Address.ToString(), Address, Holder),
        Refusals.ResetUnsupported(Address.ToString(), $"The kernel has no way to reset {Address} alone."),
        Refusals.GuestRunning(Guest, "Stop it first: POST /v1/guests/web01/stop."),
        Refusals.GuestNotRunning(Guest with { State = GuestState.Stopped }),
        Refusals.GuestIommuRequired(Guest.Name),
        Refusals.NoFreeSlot(Guest.Name, Address),
        Refusals.GuestExists(Guest),
        Refusals.NoUserLeft("web02"),
        Refusals.UnplugTimeout(Guest.Name, Address),
        Refusals.QemuFailed(ProblemCode.MemoryLockExceeded, Address.ToString(), $"plugDevice of {Address}: QEMU, device_add: vfio_container_dma_map(0x1, 0x0, 0xa0000, 0x2) = -12"),
        Refusals.QemuFailed(ProblemCode.QemuError, Address.ToString(), $"plugDevice of {Address}: QEMU, device_add: Bus 'hp0' not found"),
        Refusals.HostFailed(Address.ToString(), new HostFault("bind", Address.ToString(), Errno.EBUSY, "driver vfio-pci").Message),
        Refusals.Bug("request", "AssignHub failed at this request; the log has the trace id."),
    ];

    /// <summary>The page.</summary>
    public static string Write()
    {
        Dictionary<string, string> meanings = Meanings();
        var page = new StringBuilder("""
            # Refusals

            Every problem that AssignHub answers with (`application/problem+json`, RFC 9457) has one of these codes, in `code` and as the last part
            of `type` (`urn:assignhub:problem:CODE`), which is its anchor on this page. Its `refusals` name every reason at once, each with
            what is in the way and what would clear it. Up to 4xx nothing was touched; what a 5xx had begun was undone. The examples are what the service
            says, with made-up names in it.

            This page is generated from the code, and a test holds it to it: `ASSIGNHUB_WRITE_DOCS=1 tests/run api` writes it anew.


            """);
        foreach (IGrouping<int, ProblemCode> status in Enum.GetValues<ProblemCode>().GroupBy(Problems.StatusOf).OrderBy(status => status.Key))
        {
            page.Append(CultureInfo.InvariantCulture, $"## {status.Key} {ReasonPhrases.GetReasonPhrase(status.Key)}\n\n");
            foreach (ProblemCode code in status)
            {
                page.Append(CultureInfo.InvariantCulture, $"### {NameOf(code)}\n\n{meanings[code.ToString()]}\n\n");
                foreach (Refusal example in Examples.Where(example => example.Code == code))
                {
                    page.Append(CultureInfo.InvariantCulture, $"> {example.Message}\n>\n> *Remedy:* {example.Remedy}\n\n");
                }
            }
        }

        return page.ToString().TrimEnd('\n') + "\n";
    }

    /// <summary>The comment of each code.</summary>
    private static Dictionary<string, string> Meanings()
    {
        string assembly = typeof(ProblemCode).Assembly.GetName().Name!;
        string prefix = $"F:{typeof(ProblemCode).FullName}.";
        return XDocument.Load(Path.Combine(AppContext.BaseDirectory, $"{assembly}.xml")).Descendants("member")
            .Where(member => member.Attribute("name")!.Value.StartsWith(prefix, StringComparison.Ordinal))
            .ToDictionary(member => member.Attribute("name")!.Value[prefix.Length..], member => member.Element("summary")!.Value.Trim());
    }

    private static string NameOf(ProblemCode code) => JsonNamingPolicy.SnakeCaseLower.ConvertName(code.ToString());
}
