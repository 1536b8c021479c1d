// Does a step: the one place where plans become kernel calls and QMP commands.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Operations;

/// <summary>Where things are on this host.</summary>
/// <param name="Vfio">Its roots.</param>
/// <param name="QemuProgram">QEMU's file or name.</param>
public sealed record HostPaths(VfioHost Vfio, string QemuProgram);

/// <summary>Runs single steps, each idempotent and under a deadline.</summary>
public sealed class StepRunner(IKernel kernel, GuestProcesses processes, GuestSupervisor guests, Ledger ledger, HostPaths paths, TimeProvider clock)
{
    /// <summary>How long a guest has to shut down by itself.</summary>
    private static readonly TimeSpan GracefulStop = TimeSpan.FromSeconds(20);

    /// <summary>How long QEMU may take to come up, or to take a device: the kernel resets it and pins the guest's memory meanwhile.</summary>
    private static readonly TimeSpan QemuDeadline = TimeSpan.FromSeconds(25);

    /// <summary>Does a step.</summary>
    /// <exception cref="HostFault">The kernel failed, or did not answer by the step's deadline.</exception>
    /// <exception cref="QemuException">QEMU failed.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellation"/> asked for it.</exception>
    public async Task<StepOutcome> RunAsync(Step step, CancellationToken cancellation)
    {
        using var deadline = new CancellationTokenSource(step.Deadline, clock);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellation);
        try
        {
            return await RunAsync(step, either).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (deadline.IsCancellationRequested && !cancellation.IsCancellationRequested)
        {
            throw new HostFault(step.Action, step.Subject, Errno.ETIMEDOUT, $"not done after {step.Deadline.TotalSeconds:0} s");
        }
    }

    private async Task<StepOutcome> RunAsync(Step step, CancellationTokenSource either)
    {
        CancellationToken cancel = either.Token;
        switch (step)
        {
            case LoadDriver load:
                await kernel.LoadModuleAsync(load.Module, cancel).ConfigureAwait(false);
                break;
            case BindVfio bind:
                await kernel.BindAsync(bind.Device, VfioDrivers.Generic, cancel).ConfigureAwait(false);
                break;
            case ProveContainer prove:
                ContainerProof proof = await kernel.ProveAsync(prove.Group, prove.Devices, prove.OpenDevices, cancel).ConfigureAwait(false);
                return new StepOutcome { Iommu = proof.Iommu, Reports = proof.Devices };
            case RestoreDriver restore:
                await kernel.RestoreAsync(restore.Device, restore.Driver, cancel).ConfigureAwait(false);
                break;
            case GrantGroup grant:
                // A guest that gets open files has no right on any.
                if (!ledger.Inventory.Containers[grant.Container].IsIommufd)
                {
                    VfioNode.Give(paths.Vfio.DevRoot, grant.Group, Guest(grant.Guest).Uid);
                }

                break;
            case RevokeGroup revoke:
                await RevokeAsync(revoke, cancel).ConfigureAwait(false);
                break;
            case LaunchGuest launch:
                return await LaunchAsync(launch, cancel).ConfigureAwait(false);
            case PlugDevice plug:
                await PlugAsync(plug, cancel).ConfigureAwait(false);
                break;
            case UnplugDevice unplug:
                RunningGuest holder = await RunningAsync(unplug.Guest, cancel).ConfigureAwait(false);
                await (unplug.Force
                    ? holder.ForceUnplugAsync(unplug.Device, QemuDeadline, cancel)
                    : holder.UnplugAsync(unplug.Device, unplug.Deadline - TimeSpan.FromSeconds(5), cancel)).ConfigureAwait(false);
                break;
            case RunGuest run:
                await (await RunningAsync(run.Guest, cancel).ConfigureAwait(false)).ContinueAsync(cancel).ConfigureAwait(false);
                break;
            case HoldGuest hold:
                await (await RunningAsync(hold.Guest, cancel).ConfigureAwait(false)).PauseAsync(cancel).ConfigureAwait(false);
                break;
            case EndGuest end:
                await EndAsync(end, cancel).ConfigureAwait(false);
                break;
            case DropGuest drop:
                processes.Remove(drop.Guest);
                break;
            case ResetBelow reset:
                await kernel.ResetSubordinateAsync(reset.Bridge, cancel).ConfigureAwait(false);
                break;
            case ResetFunction reset:
                await kernel.ResetAsync(reset.Device, cancel).ConfigureAwait(false);
                break;
            case SetNumVfs set:
                await kernel.SetVirtualFunctionsAsync(set.Device, set.Count, cancel).ConfigureAwait(false);
                break;
            case CheckDevices check:
                return new StepOutcome { Quarantined = await CheckAsync(check, cancel).ConfigureAwait(false) };
        }

        return StepOutcome.Done;
    }

    private async Task<StepOutcome> LaunchAsync(LaunchGuest launch, CancellationToken cancel)
    {
        Guest guest = Guest(launch.Guest);
        if (await guests.FindAsync(guest, cancel).ConfigureAwait(false) is not { } running)
        {
            running = await processes.StartAsync(
                new GuestLaunch
                {
                    Spec = guest.Spec,
                    Paths = processes.PathsOf(guest.Name),
                    Uid = guest.Uid,
                    GuestIommu = launch.WithIommu,
                    MemoryLockBytes = MemoryLockOf(guest),
                    Host = QemuHost.Probe(paths.QemuProgram, Path.Combine(paths.Vfio.DevRoot, "kvm")),
                },
                QemuDeadline, cancel).ConfigureAwait(false);
            guests.Adopt(running);
        }

        return new StepOutcome { Process = running.Process };
    }

    private async Task PlugAsync(PlugDevice plug, CancellationToken cancel)
    {
        Guest guest = Guest(plug.Guest);
        RunningGuest running = await RunningAsync(plug.Guest, cancel).ConfigureAwait(false);
        processes.LimitMemoryLock(running.Process, MemoryLockOf(guest));
        if ((await running.DevicesAsync(cancel).ConfigureAwait(false)).Contains(plug.Device))
        {
            return;
        }

        var slot = new GuestSlot(plug.Bus, plug.Slot);
        Container container = ledger.Inventory.Containers[guest.Devices[plug.Device].Container];
        if (!container.IsIommufd)
        {
            await running.PlugAsync(plug.Device, slot, QemuDeadline, cancel).ConfigureAwait(false);
            return;
        }

        string iommufd = await running.IommufdForAsync(
            container.Members.Select(member => member.Address).ToHashSet(),
            () => VfioFiles.OpenIommufd(paths.Vfio.DevRoot, $"the context of {container.Id}"), cancel).ConfigureAwait(false);
        using DeviceHandle device = VfioFiles.OpenDevice(paths.Vfio, plug.Device);
        await running.PlugAsync(plug.Device, slot, iommufd, device, QemuDeadline, cancel).ConfigureAwait(false);
    }

    private async Task RevokeAsync(RevokeGroup revoke, CancellationToken cancel)
    {
        // A group that is gone has no file.
        if (revoke.Group is not { } group)
        {
            return;
        }

        // Rule 8: what QEMU says is not enough, the kernel has to show the group's file closed.
        if (ledger.Inventory.Containers.GetValueOrDefault(revoke.Container)?.Guest is { } name
            && ledger.Inventory.Guests.TryGetValue(name, out Guest? guest)
            && await guests.FindAsync(guest, cancel).ConfigureAwait(false) is { } running)
        {
            HashSet<string> nodes =
                [.. ledger.Inventory.Containers[revoke.Container].Endpoints.Select(member => VfioFiles.DeviceName(paths.Vfio, member.Address)).OfType<string>()];
            await running.WaitClosedAsync(files => !files.Groups.Contains(group) && !files.DeviceNodes.Any(nodes.Contains), QemuDeadline, cancel)
                .ConfigureAwait(false);
        }

        VfioNode.TakeBack(paths.Vfio.DevRoot, group);
    }

    private async Task EndAsync(EndGuest end, CancellationToken cancel)
    {
        Guest guest = Guest(end.Guest);
        RunningGuest? running;
        try
        {
            running = await guests.FindAsync(guest, cancel).ConfigureAwait(false);
        }
        catch (QemuException) when (guest.Process is not null)
        {
            // It lives and does not answer: asked to end it, the kernel does.
            running = null;
        }

        if (running is not null)
        {
            await running.StopAsync(end.Force ? TimeSpan.Zero : GracefulStop, cancel).ConfigureAwait(false);
        }
        else if (guest.Process is { } process)
        {
            await processes.KillAsync(process, QemuDeadline, cancel).ConfigureAwait(false);
        }

        await guests.ForgetAsync(end.Guest).ConfigureAwait(false);
    }

    private async Task<ImmutableArray<Quarantine>> CheckAsync(CheckDevices check, CancellationToken cancel)
    {
        var failed = ImmutableArray.CreateBuilder<Quarantine>();
        foreach (CheckedDevice device in check.Devices)
        {
            DeviceAnswer answer;
            try
            {
                answer = await kernel.ReadAnswerAsync(device.Address, cancel).ConfigureAwait(false);
            }
            catch (HostFault gone) when (gone.Errno == Errno.ENODEV)
            {
                // It left the host meanwhile: missing is another thing than silent, and seen by itself.
                continue;
            }

            if (answer.DifferenceFrom(device.VendorId, device.CapabilityFingerprint) is { } difference)
            {
                failed.Add(new Quarantine(device.Address, difference, clock.GetUtcNow()));
            }
        }

        return failed.ToImmutable();
    }

    private long MemoryLockOf(Guest guest) => MemoryLock.Limit(
        guest.Spec.MemoryBytes, guest.Devices.Values.Select(device => device.Container).Distinct().Count(), guest.Spec.GuestIommu != GuestIommu.Off
            || guest.Devices.Values.Any(device => ledger.Inventory.Containers.GetValueOrDefault(device.Container)?.IsIommufd == true));

    private Guest Guest(string name) => ledger.Inventory.Guests.TryGetValue(name, out Guest? guest)
        ? guest
        : throw new InvalidOperationException($"a step names guest {name}, which is not in the inventory");

    private async Task<RunningGuest> RunningAsync(string name, CancellationToken cancel) =>
        await guests.FindAsync(Guest(name), cancel).ConfigureAwait(false)
        ?? throw new QemuException(new QemuFault("connect", QemuFault.Closed, $"guest {name} has ended"));
}
