// At start: finds out what is and carries on from there. Then: watches guests and hardware, and brings the records in line.

using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;
using AssignHub.Engine.Rules;
using Microsoft.Extensions.Logging;

namespace AssignHub.Engine.Operations;

/// <summary>Keeps what is and what was asked for together, by the same road as everyone: it submits changes.</summary>
public sealed partial class Reconciler(
    Ledger ledger, Observer observer, Coordinator coordinator, GuestSupervisor guests, TimeProvider clock, ILogger<Reconciler> logger)
{
    private const string Actor = "assignhub";
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(5);

    private long _lastRound = clock.GetUtcNow().UtcTicks;

    /// <summary>When it last began a round.</summary>
    public DateTimeOffset LastRound => new(Interlocked.Read(ref _lastRound), TimeSpan.Zero);

    /// <summary>Loads the store, observes the host and takes up what was under way.</summary>
    public async Task RecoverAsync(CancellationToken cancellation)
    {
        IReadOnlyList<Operation> unfinished = ledger.Load();
        World world = observer.Scan();
        ledger.Adjust(inventory => Identity.Realign(world with { Inventory = inventory }));
        guests.Ended += OnEnded;
        foreach (Guest guest in ledger.Inventory.Guests.Values.Where(guest => guest.IsActive))
        {
            await FindAsync(guest, cancellation).ConfigureAwait(false);
        }

        foreach (Operation operation in unfinished)
        {
            LogResumed(logger, operation.Id, operation.Change.Kind, operation.Change.Subject);
            await coordinator.ResumeAsync(operation, cancellation).ConfigureAwait(false);
        }

        HashSet<string> busy = [.. unfinished.SelectMany(operation => Scope.GuestsOf(observer.World, operation.Change))];
        foreach (Guest guest in ledger.Inventory.Guests.Values.Where(guest => guest.IsActive && !busy.Contains(guest.Name)))
        {
            await SubmitAsync(new SettleGuest(guest.Name, "its process ended while the service was away"), cancellation).ConfigureAwait(false);
        }

        foreach (Container container in ledger.Inventory.Containers.Values.Where(container => NeedsPreparing(observer.World, container)))
        {
            await SubmitAsync(new ClaimGroup(container.Group, null, container.Guest, container.Keep), cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Watches until cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        using var timer = new PeriodicTimer(Interval, clock);
        while (await timer.WaitForNextTickAsync(cancellation).ConfigureAwait(false))
        {
            Interlocked.Exchange(ref _lastRound, clock.GetUtcNow().UtcTicks);
            try
            {
                observer.Scan();
            }
            catch (HostFault fault)
            {
                LogScanFailed(logger, fault);
            }

            foreach (Override over in ledger.Inventory.Overrides.Values.Where(over => over.Until <= clock.GetUtcNow()))
            {
                await SubmitAsync(new ClearOverride(over.Address), cancellation).ConfigureAwait(false);
            }

            foreach (Guest guest in ledger.Inventory.Guests.Values.Where(guest => guest.State is GuestState.Running or GuestState.Paused))
            {
                TrimLogs(guest.Name);

                // Connects again where the monitor broke off; a process that is gone unnoticed is settled.
                if (!await FindAsync(guest, cancellation).ConfigureAwait(false))
                {
                    await SubmitAsync(new SettleGuest(guest.Name, "its process is gone"), cancellation).ConfigureAwait(false);
                }
            }
        }
    }

    /// <summary>A reservation whose devices are not on VFIO: the host was booted since.</summary>
    private static bool NeedsPreparing(World world, Container container) =>
        container is { State: ContainerState.Ready, Group: not null }
        && container.Endpoints.Any(member => world.Host.Devices.TryGetValue(member.Address, out PciDevice? device) && !VfioDrivers.IsVfio(device.Driver));

    private void OnEnded(string name, GuestEnd end)
    {
        LogEnded(logger, name, end.Reason, end.LastWords);
        if (end.ProcessGone)
        {
            bool asked = end.Reason is "guest-shutdown" or "host-qmp-quit";
            string? error = asked ? null : end.LastWords.Length > 0 ? end.LastWords : "its process ended without a word";
            _ = SettleAsync(new SettleGuest(name, error));
        }
    }

    private void TrimLogs(string guest)
    {
        try
        {
            guests.TrimLogs(guest);
        }
        catch (IOException error)
        {
            // A full or failing disk: the logs grow on, and the next round tries again.
            LogTrimFailed(logger, error, guest);
        }
    }

    private async Task SettleAsync(SettleGuest settle)
    {
        try
        {
            await SubmitAsync(settle, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception error)
        {
            LogSettleFailed(logger, error, settle.Guest);
        }
    }

    private async Task<bool> FindAsync(Guest guest, CancellationToken cancellation)
    {
        try
        {
            return await guests.FindAsync(guest, cancellation).ConfigureAwait(false) is not null;
        }
        catch (QemuException silent)
        {
            // It lives and does not answer: it is left alone, and asked again at the next round.
            LogSilent(logger, silent, guest.Name);
            return true;
        }
    }

    private async Task SubmitAsync(Change change, CancellationToken cancellation)
    {
        Submission submission = await coordinator.SubmitAsync(change, new Request(Actor), cancellation).ConfigureAwait(false);
        foreach (Refusal refusal in submission.Decision.Refusals.Where(refusal => refusal.Code != ProblemCode.GuestNotFound))
        {
            LogRefused(logger, change.Kind, change.Subject, refusal.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Operation {Operation} ({Kind} {Subject}) was under way when the service ended; it is taken up")]
    private static partial void LogResumed(ILogger logger, long operation, string kind, string subject);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Guest {Guest} ended ({Reason}): {LastWords}")]
    private static partial void LogEnded(ILogger logger, string guest, string? reason, string lastWords);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The logs of guest {Guest} could not be cut")]
    private static partial void LogTrimFailed(ILogger logger, Exception error, string guest);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Guest {Guest} does not answer")]
    private static partial void LogSilent(ILogger logger, Exception error, string guest);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Kind} {Subject} is refused: {Message}")]
    private static partial void LogRefused(ILogger logger, string kind, string subject, string message);

    [LoggerMessage(Level = LogLevel.Error, Message = "The host could not be read")]
    private static partial void LogScanFailed(ILogger logger, Exception error);

    [LoggerMessage(Level = LogLevel.Error, Message = "The end of guest {Guest} could not be recorded")]
    private static partial void LogSettleFailed(ILogger logger, Exception error, string guest);
}
