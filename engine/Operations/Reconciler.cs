// At start: finds out what is and carries on from there. Then: watches guests and hardware, and brings the records in line.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using Microsoft.Extensions.Logging;

namespace AssignHub.Engine.Operations;

/// <summary>Keeps what is and what was asked for together, by the same road as everyone: it submits changes.</summary>
public sealed partial class Reconciler(
    Ledger ledger, Observer observer, Coordinator coordinator, GuestSupervisor guests, HardwareEvents hardware, TimeProvider clock, ILogger<Reconciler> logger)
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
        ledger.Adjust(inventory => Identity.Renumber(world with { Inventory = inventory }));
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

        await ReconcileAsync(guest => guest.IsActive, "its process ended while the service was away", cancellation).ConfigureAwait(false);
    }

    /// <summary>Watches until cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellation)
    {
        while (true)
        {
            if (await hardware.WaitAsync(Interval, cancellation).ConfigureAwait(false) is { } moved)
            {
                LogMoved(logger, moved);
            }

            Interlocked.Exchange(ref _lastRound, clock.GetUtcNow().UtcTicks);
            try
            {
                observer.Scan();
            }
            catch (HostFault fault)
            {
                LogScanFailed(logger, fault);
                continue;
            }

            foreach (Override over in ledger.Inventory.Overrides.Values.Where(over => over.Until <= clock.GetUtcNow()))
            {
                await SubmitAsync(new ClearOverride(over.Address), patience: null, cancellation).ConfigureAwait(false);
            }

            await ReconcileAsync(guest => guest.State is GuestState.Running or GuestState.Paused, "its process is gone", cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Compares each guest with its process and each container with its hardware, by planning the change that would bring them in line:
    /// where there is nothing to do, nothing is submitted. What another operation holds is left to it until the next round.
    /// </summary>
    private async Task ReconcileAsync(Func<Guest, bool> which, string lastWords, CancellationToken cancellation)
    {
        foreach (Guest guest in ledger.Inventory.Guests.Values.Where(which))
        {
            TrimLogs(guest.Name);
            try
            {
                World world = await observer.ObserveAsync(guest, cancellation).ConfigureAwait(false);
                await AlignAsync(world, new SettleGuest(guest.Name, lastWords), cancellation).ConfigureAwait(false);
            }
            catch (QemuException silent)
            {
                // It lives and does not answer: it is left alone, and asked again at the next round.
                LogSilent(logger, silent, guest.Name);
            }
        }

        foreach (Container container in ledger.Inventory.Containers.Values.Where(container => container.State is ContainerState.Ready or ContainerState.Attached))
        {
            await AlignAsync(observer.World, new AlignContainer(container.Id), cancellation).ConfigureAwait(false);
        }
    }

    private async Task AlignAsync(World world, Change change, CancellationToken cancellation)
    {
        Plan? plan = Planner.Decide(world, change).Plan;
        if (plan is null || (plan.Steps.IsEmpty && plan.Reserved == world.Inventory))
        {
            return;
        }

        try
        {
            await SubmitAsync(change, TimeSpan.Zero, cancellation).ConfigureAwait(false);
        }
        catch (Exception error) when (error is HostFault or QemuException)
        {
            LogAlignFailed(logger, error, change.Kind, change.Subject);
        }
    }

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
            await SubmitAsync(settle, patience: null, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception error)
        {
            LogSettleFailed(logger, error, settle.Guest);
        }
    }

    /// <summary>Connects to a guest that was running when the service ended.</summary>
    private async Task FindAsync(Guest guest, CancellationToken cancellation)
    {
        try
        {
            await guests.FindAsync(guest, cancellation).ConfigureAwait(false);
        }
        catch (QemuException silent)
        {
            LogSilent(logger, silent, guest.Name);
        }
    }

    private async Task SubmitAsync(Change change, TimeSpan? patience, CancellationToken cancellation)
    {
        Submission submission = await coordinator.SubmitAsync(change, new Request(Actor), cancellation, patience).ConfigureAwait(false);
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

    [LoggerMessage(Level = LogLevel.Information, Message = "PCI hardware came or went, {Device} first")]
    private static partial void LogMoved(ILogger logger, PciAddress device);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Kind} {Subject} could not be looked at; the next round tries again")]
    private static partial void LogAlignFailed(ILogger logger, Exception error, string kind, string subject);

    [LoggerMessage(Level = LogLevel.Error, Message = "The host could not be read")]
    private static partial void LogScanFailed(ILogger logger, Exception error);

    [LoggerMessage(Level = LogLevel.Error, Message = "The end of guest {Guest} could not be recorded")]
    private static partial void LogSettleFailed(ILogger logger, Exception error, string guest);
}
