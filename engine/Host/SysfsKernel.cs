// The verbs of IKernel over sysfs. What one write does, and how a module is loaded, is left to the two kinds of host.

using System.Collections.Immutable;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Host;

/// <summary>The files of sysfs that AssignHub writes.</summary>
public enum SysfsFile
{
    /// <summary><c>devices/ADDRESS/driver_override</c>: the only driver that may bind; a newline clears it.</summary>
    DriverOverride,
    /// <summary><c>drivers/DRIVER/unbind</c>.</summary>
    Unbind,
    /// <summary><c>drivers/DRIVER/bind</c>: reports why a probe failed, which <c>drivers_probe</c> does not.</summary>
    Bind,
    /// <summary><c>drivers_probe</c>: lets the kernel look for a driver.</summary>
    Probe,
    /// <summary><c>devices/ADDRESS/reset</c>.</summary>
    Reset,
    /// <summary><c>devices/ADDRESS/reset_subordinate</c>.</summary>
    ResetSubordinate,
    /// <summary><c>devices/ADDRESS/sriov_numvfs</c>.</summary>
    NumVfs,
}

/// <summary>The verbs, as sequences of writes and readings.</summary>
public abstract class SysfsKernel : IKernel
{
    // reset_subordinate answers EAGAIN while something else holds a device below; it is tried anew for about a second.
    private const int ResetAttempts = 20;
    private static readonly TimeSpan ResetPause = TimeSpan.FromMilliseconds(50);

    // Each virtual function that is made is offered to a driver at once; hardware takes up to a second for one.
    private static readonly TimeSpan PerFunction = TimeSpan.FromSeconds(2);

    private readonly string _sysfsRoot;
    private readonly KernelCalls _calls;

    /// <summary>Makes the verbs for one host.</summary>
    /// <param name="sysfsRoot">Where its sysfs is.</param>
    /// <param name="deadline">How long one verb may take.</param>
    /// <param name="time">The clock of the deadline.</param>
    protected SysfsKernel(string sysfsRoot, TimeSpan deadline, TimeProvider time)
    {
        ArgumentException.ThrowIfNullOrEmpty(sysfsRoot);
        _sysfsRoot = sysfsRoot;
        Deadline = deadline;
        _calls = new KernelCalls(deadline, time);
    }

    /// <summary>Where sysfs is.</summary>
    protected string SysfsRoot => _sysfsRoot;

    /// <summary>How long one verb may take.</summary>
    protected TimeSpan Deadline { get; }

    /// <summary>Does one write. It may block for as long as the kernel does.</summary>
    /// <param name="file">Which file.</param>
    /// <param name="device">The device that it is about.</param>
    /// <param name="driver">The driver, for <see cref="SysfsFile.Bind"/> and <see cref="SysfsFile.Unbind"/>.</param>
    /// <param name="text">What is written.</param>
    /// <exception cref="HostFault">With the write's errno.</exception>
    protected abstract void Write(SysfsFile file, PciAddress device, string? driver, string text);

    /// <inheritdoc/>
    public abstract Task LoadModuleAsync(string module, CancellationToken cancellation);

    /// <summary>Takes the proof. It may block for as long as the kernel does.</summary>
    protected abstract ContainerProof Prove(int group, ImmutableArray<PciAddress> endpoints, bool openDevices);

    /// <inheritdoc/>
    public Task<ContainerProof> ProveAsync(int group, ImmutableArray<PciAddress> endpoints, bool openDevices, CancellationToken cancellation) =>
        _calls.RunAsync($"group {group}", call =>
        {
            call.Step("open container");
            return Prove(group, endpoints, openDevices);
        }, cancellation);

    /// <inheritdoc/>
    public Task BindAsync(PciAddress device, string driver, CancellationToken cancellation)
    {
        ArgumentException.ThrowIfNullOrEmpty(driver);
        return RunAsync(device, call =>
        {
            string? current = DriverOf(device);
            if (current == driver)
            {
                return;
            }

            if (!Directory.Exists(Path.Combine(_sysfsRoot, "bus/pci/drivers", driver)))
            {
                // Told before the device is taken off the driver that it has.
                throw new HostFault("bind", device.ToString(), Errno.ENOENT, $"the driver {driver} is not loaded");
            }

            if (OverrideOf(device) != driver)
            {
                Write(call, SysfsFile.DriverOverride, device, null, driver);
            }

            if (current is not null)
            {
                Write(call, SysfsFile.Unbind, device, current, device.ToString());
            }

            Write(call, SysfsFile.Probe, device, null, device.ToString());
            if (DriverOf(device) != driver)
            {
                // drivers_probe succeeds even if the driver's probe failed; bind tells with what error.
                Write(call, SysfsFile.Bind, device, driver, device.ToString());
            }

            Verify(device, driver, "bind");
        }, cancellation);
    }

    /// <inheritdoc/>
    public Task UnbindAsync(PciAddress device, CancellationToken cancellation) => RunAsync(device, call => Unbind(call, device), cancellation);

    /// <inheritdoc/>
    public Task RestoreAsync(PciAddress device, string? driver, CancellationToken cancellation) => RunAsync(device, call =>
    {
        string? held = OverrideOf(device);
        if (DriverOf(device) != driver)
        {
            Unbind(call, device);
        }

        // A driver of VFIO that the device was on before the claim keeps the override that holds it there.
        if (held is not null && (held != driver || !VfioDrivers.IsVfio(driver)))
        {
            Write(call, SysfsFile.DriverOverride, device, null, "\n");
        }

        if (driver is null || DriverOf(device) == driver)
        {
            return;
        }

        Write(call, SysfsFile.Probe, device, null, device.ToString());
        if (DriverOf(device) == driver)
        {
            return;
        }

        // Another driver of the same device came first, or it was bound by hand.
        Unbind(call, device);
        try
        {
            Write(call, SysfsFile.Bind, device, driver, device.ToString());
        }
        catch (HostFault refused) when (refused.Errno == Errno.ENODEV)
        {
            // The driver does not know the device's ids: an override had put it there, and has to again.
            Write(call, SysfsFile.DriverOverride, device, null, driver);
            Write(call, SysfsFile.Bind, device, driver, device.ToString());
        }

        Verify(device, driver, "bind");
    }, cancellation);

    /// <inheritdoc/>
    public Task ResetSubordinateAsync(PciAddress bridge, CancellationToken cancellation) => RunAsync(bridge, call =>
    {
        for (int attempt = 1; ; attempt++)
        {
            try
            {
                Write(call, SysfsFile.ResetSubordinate, bridge, null, "1");
                return;
            }
            catch (HostFault missing) when (missing.Errno == Errno.ENOENT && IsPresent(bridge))
            {
                throw new HostFault("reset_subordinate", bridge.ToString(), Errno.ENOTTY, "the kernel offers no such reset here", missing);
            }
            catch (HostFault untold) when (untold.Errno == Errno.ENOTTY)
            {
                // pci_bridge_secondary_bus_reset: also when the link was not seen up again in time, after all below was reset.
                throw new HostFault("reset_subordinate", bridge.ToString(), Errno.ENOTTY,
                    "the kernel cannot reset what is below, or did and was not told in time that the link is up again", untold);
            }
            catch (HostFault busy) when (busy.Errno == Errno.EAGAIN && attempt < ResetAttempts)
            {
                Thread.Sleep(ResetPause);
            }
        }
    }, cancellation);

    /// <inheritdoc/>
    public Task ResetAsync(PciAddress device, CancellationToken cancellation) => RunAsync(device, call =>
    {
        try
        {
            Write(call, SysfsFile.Reset, device, null, "1");
        }
        catch (HostFault missing) when (missing.Errno == Errno.ENOENT && IsPresent(device))
        {
            // The file is there only where the kernel found a method.
            throw new HostFault("reset", device.ToString(), Errno.ENOTTY, "the kernel has no way to reset it", missing);
        }
    }, cancellation);

    /// <inheritdoc/>
    public Task SetVirtualFunctionsAsync(PciAddress physicalFunction, int count, CancellationToken cancellation)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        return RunAsync(physicalFunction, call =>
        {
            int current = VirtualFunctionsOf(physicalFunction);
            if (current == count)
            {
                return;
            }

            if (current != 0 && count != 0)
            {
                Write(call, SysfsFile.NumVfs, physicalFunction, null, "0");
            }

            try
            {
                Write(call, SysfsFile.NumVfs, physicalFunction, null, count.ToString(System.Globalization.CultureInfo.InvariantCulture));
            }
            catch (HostFault none) when (none.Errno == Errno.ENOENT && DriverOf(physicalFunction) is { } driver)
            {
                // sriov_numvfs_store, where the driver has no sriov_configure.
                throw new HostFault("sriov_numvfs", physicalFunction.ToString(), Errno.ENOENT, $"its driver {driver} makes no virtual functions", none);
            }

            int made = VirtualFunctionsOf(physicalFunction);
            if (made != count)
            {
                throw new HostFault("sriov_numvfs", physicalFunction.ToString(), Errno.None, $"{count} virtual functions were asked for and {made} are there");
            }
        }, cancellation, PerFunction * count);
    }

    /// <inheritdoc/>
    public Task<DeviceAnswer> ReadAnswerAsync(PciAddress device, CancellationToken cancellation) => _calls.RunAsync(device.ToString(), call =>
    {
        call.Step("read config");
        using SysDir dir = Open(device);
        ConfigSpace config = ConfigReader.Read(dir) ?? throw Missing(device);
        return new DeviceAnswer(config.Answers, config.VendorId, config.Fingerprint);
    }, cancellation);

    /// <summary>The driver that has the device now, or null.</summary>
    protected string? DriverOf(PciAddress device)
    {
        using SysDir dir = Open(device);
        Span<byte> buffer = stackalloc byte[256];
        return dir.TryReadLink("driver"u8, buffer, out ReadOnlySpan<byte> link) ? System.Text.Encoding.UTF8.GetString(DeviceReader.LastPart(link)) : null;
    }

    /// <summary>What its <c>driver_override</c> says, or null.</summary>
    protected string? OverrideOf(PciAddress device) => ReadAttribute(device, "driver_override"u8) is { Length: > 0 } text && text != "(null)" ? text : null;

    private int VirtualFunctionsOf(PciAddress device) =>
        int.TryParse(ReadAttribute(device, "sriov_numvfs"u8), out int count)
            ? count
            : throw new HostFault("sriov_numvfs", device.ToString(), Errno.ENOTTY, "it is no physical function of SR-IOV");

    private string? ReadAttribute(PciAddress device, ReadOnlySpan<byte> name)
    {
        using SysDir dir = Open(device);
        Span<byte> buffer = stackalloc byte[256];
        return dir.TryRead(name, buffer, out ReadOnlySpan<byte> text) ? System.Text.Encoding.UTF8.GetString(text) : null;
    }

    private bool IsPresent(PciAddress device)
    {
        if (!SysDir.TryOpen(PathOf(device), out SysDir dir))
        {
            return false;
        }

        dir.Dispose();
        return true;
    }

    private SysDir Open(PciAddress device) => SysDir.TryOpen(PathOf(device), out SysDir dir) ? dir : throw Missing(device);

    private string PathOf(PciAddress device) => Path.Combine(_sysfsRoot, "bus/pci/devices", device.ToString());

    private static HostFault Missing(PciAddress device) => new("open", device.ToString(), Errno.ENODEV, "the device is gone");

    private void Unbind(KernelCall call, PciAddress device)
    {
        if (DriverOf(device) is not { } current)
        {
            return;
        }

        try
        {
            Write(call, SysfsFile.Unbind, device, current, device.ToString());
        }
        catch (HostFault gone) when (gone.Errno == Errno.ENODEV && IsPresent(device) && DriverOf(device) is null)
        {
            // Someone else took it off between the reading and the write: it is what was wanted.
            return;
        }

        if (DriverOf(device) is { } still)
        {
            throw new HostFault("unbind", device.ToString(), Errno.EBUSY, $"it is still bound to {still}");
        }
    }

    private void Verify(PciAddress device, string driver, string operation)
    {
        string? now = DriverOf(device);
        if (now != driver)
        {
            throw new HostFault(operation, device.ToString(), Errno.None, $"{driver} did not take it: it is on {now ?? "no driver"}");
        }
    }

    private void Write(KernelCall call, SysfsFile file, PciAddress device, string? driver, string text)
    {
        call.Step(NameOf(file));
        Write(file, device, driver, text);
    }

    /// <summary>What a write is called in errors and steps.</summary>
    protected static string NameOf(SysfsFile file) => file switch
    {
        SysfsFile.DriverOverride => "driver_override",
        SysfsFile.Unbind => "unbind",
        SysfsFile.Bind => "bind",
        SysfsFile.Probe => "drivers_probe",
        SysfsFile.Reset => "reset",
        SysfsFile.ResetSubordinate => "reset_subordinate",
        SysfsFile.NumVfs => "sriov_numvfs",
        _ => throw new ArgumentOutOfRangeException(nameof(file), file, null),
    };

    private Task<bool> RunAsync(PciAddress device, Action<KernelCall> body, CancellationToken cancellation, TimeSpan more = default) =>
        _calls.RunAsync(device.ToString(), call =>
        {
            body(call);
            return true;
        }, cancellation, more);
}
