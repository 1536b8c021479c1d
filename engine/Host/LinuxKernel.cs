// The real kernel: writes into its sysfs, and modprobe.

using System.Collections.Immutable;
using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;

namespace AssignHub.Engine.Host;

/// <summary>Changes the real host.</summary>
public sealed class LinuxKernel : SysfsKernel
{
    private readonly string _modprobe;
    private readonly VfioHost _vfio;
    private readonly TimeProvider _time;

    /// <summary>Makes it.</summary>
    /// <param name="vfio">The host's roots, and what speaks against a backend.</param>
    /// <param name="deadline">How long one verb may take; 30 s is long for a healthy kernel.</param>
    /// <param name="time">The clock of the deadline.</param>
    /// <param name="modprobe">The program that loads modules, looked for in PATH if it is no path.</param>
    public LinuxKernel(VfioHost vfio, TimeSpan deadline, TimeProvider time, string modprobe = "modprobe")
        : base(vfio.SysfsRoot, deadline, time)
    {
        _vfio = vfio;
        _modprobe = modprobe;
        _time = time;
    }

    /// <inheritdoc/>
    protected override unsafe void Write(SysfsFile file, PciAddress device, string? driver, string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        byte[] path = Encoding.UTF8.GetBytes(PathOf(file, device, driver) + '\0');
        int fd;
        fixed (byte* name = path)
        {
            fd = Libc.openat(Libc.AT_FDCWD, name, Libc.O_WRONLY | Libc.O_CLOEXEC);
        }

        if (fd < 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            bool noDriver = errno == (int)Errno.ENOENT && file is SysfsFile.Bind or SysfsFile.Unbind;
            throw new HostFault(NameOf(file), device.ToString(), (Errno)errno, noDriver ? $"the driver {driver} is not loaded" : null);
        }

        try
        {
            Span<byte> bytes = stackalloc byte[256];
            bytes = bytes[..Encoding.UTF8.GetBytes(text, bytes)];
            fixed (byte* data = bytes)
            {
                // One write call: sysfs takes an attribute's value whole. EINTR: nothing was done yet.
                while (Libc.write(fd, data, (nuint)bytes.Length) < 0)
                {
                    int errno = Marshal.GetLastPInvokeError();
                    if (errno != (int)Errno.EINTR)
                    {
                        throw new HostFault(NameOf(file), device.ToString(), (Errno)errno, driver is null ? null : $"driver {driver}");
                    }
                }
            }
        }
        finally
        {
            _ = Libc.close(fd);
        }
    }

    /// <inheritdoc/>
    /// <exception cref="HostFault">modprobe is missing, failed (its words are in the message) or took too long.</exception>
    public override async Task LoadModuleAsync(string module, CancellationToken cancellation)
    {
        ArgumentException.ThrowIfNullOrEmpty(module);
        cancellation.ThrowIfCancellationRequested();
        if (Directory.Exists(Path.Combine(SysfsRoot, "module", module.Replace('-', '_'))))
        {
            return;
        }

        using CancellationTokenSource timer = new(Deadline, _time);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellation);
        using Process process = Start(module);
        try
        {
            Task<string> words = process.StandardError.ReadToEndAsync(either.Token);
            await process.WaitForExitAsync(either.Token).ConfigureAwait(false);
            if (process.ExitCode != 0)
            {
                throw new HostFault("modprobe", module, Errno.None, (await words.ConfigureAwait(false)).Trim());
            }
        }
        catch (OperationCanceledException late)
        {
            // SIGKILL; a modprobe that hangs inside the kernel stays, but nobody waits for it.
            process.Kill();
            throw new HostFault("modprobe", module, Errno.ETIMEDOUT, cancellation.IsCancellationRequested ? "cancelled" : null, late);
        }
    }

    /// <inheritdoc/>
    protected override ContainerProof Prove(int group, ImmutableArray<PciAddress> endpoints, bool openDevices) =>
        ContainerProof.Take(group, endpoints, openDevices, backend: null, _vfio, _time);

    private Process Start(string module)
    {
        ProcessStartInfo start = new(_modprobe) { RedirectStandardError = true, UseShellExecute = false };
        start.ArgumentList.Add("--");
        start.ArgumentList.Add(module);
        try
        {
            return Process.Start(start) ?? throw new HostFault("modprobe", module, Errno.None, "it did not start");
        }
        catch (Win32Exception missing)
        {
            // .NET puts errno into NativeErrorCode on Unix.
            throw new HostFault("modprobe", module, (Errno)missing.NativeErrorCode, missing.Message, missing);
        }
    }

    private string PathOf(SysfsFile file, PciAddress device, string? driver)
    {
        string bus = Path.Combine(SysfsRoot, "bus/pci");
        return file switch
        {
            SysfsFile.Probe => Path.Combine(bus, "drivers_probe"),
            SysfsFile.Bind or SysfsFile.Unbind => Path.Combine(bus, "drivers", driver!, NameOf(file)),
            _ => Path.Combine(bus, "devices", device.ToString(), NameOf(file)),
        };
    }
}
