// The kernel's word that PCI hardware came or went: its uevents, over netlink (lib/kobject_uevent.c, linux/netlink.h).

using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>Tells when PCI functions appear or disappear. It says that there is something to look at, not what is: that, the next scan sees.</summary>
public sealed class HardwareEvents : IDisposable
{
    /// <summary>The multicast group of the kernel itself; udev repeats events in group 2 when it is done with them.</summary>
    private const uint KernelGroup = 1;

    /// <summary>UEVENT_BUFFER_SIZE is 2 KiB, and the path comes before it.</summary>
    private const int LargestBytes = 8 << 10;

    /// <summary>Hardware comes in numbers: a card with its functions, a switch with all that is below it.</summary>
    private static readonly TimeSpan Settling = TimeSpan.FromMilliseconds(250);

    private readonly Socket? _socket;
    private readonly TimeProvider _time;

    private HardwareEvents(Socket? socket, TimeProvider time)
    {
        _socket = socket;
        _time = time;
    }

    /// <summary>A host without a kernel that would tell: only time passes.</summary>
    public static HardwareEvents None(TimeProvider time) => new(null, time);

    /// <summary>Listens to this host's kernel.</summary>
    /// <exception cref="HostFault">The kernel refused.</exception>
    public static unsafe HardwareEvents Listen(TimeProvider time)
    {
        int descriptor = Libc.socket(Libc.AF_NETLINK, Libc.SOCK_RAW | Libc.SOCK_CLOEXEC, Libc.NETLINK_KOBJECT_UEVENT);
        if (descriptor < 0)
        {
            throw new HostFault("socket", "NETLINK_KOBJECT_UEVENT", (Errno)Marshal.GetLastPInvokeError());
        }

        // .NET knows no netlink addresses, but waits on any socket.
        var handle = new SafeSocketHandle(descriptor, ownsHandle: true);
        var address = new Libc.sockaddr_nl { nl_family = Libc.AF_NETLINK, nl_groups = KernelGroup };
        if (Libc.bind(handle, &address, (uint)sizeof(Libc.sockaddr_nl)) != 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            handle.Dispose();
            throw new HostFault("bind", "NETLINK_KOBJECT_UEVENT", (Errno)errno);
        }

        return new HardwareEvents(new Socket(handle), time);
    }

    /// <summary>Waits until PCI hardware came or went, or until the time is up.</summary>
    /// <returns>The first function that came or went; null if none did.</returns>
    public async Task<PciAddress?> WaitAsync(TimeSpan atMost, CancellationToken cancellation)
    {
        using var timer = new CancellationTokenSource(atMost, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellation);
        try
        {
            return await NextAsync(either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellation.IsCancellationRequested)
        {
            return null;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _socket?.Dispose();

    /// <summary>
    /// The function that a uevent says came or went; null for all others. A uevent is <c>ACTION@DEVPATH</c> and lines of <c>KEY=value</c>, each
    /// ended by a zero.
    /// </summary>
    internal static PciAddress? Parse(ReadOnlySpan<byte> message)
    {
        string[] lines = Encoding.UTF8.GetString(message).Split('\0');
        bool moved = (lines[0].StartsWith("add@", StringComparison.Ordinal) || lines[0].StartsWith("remove@", StringComparison.Ordinal)) && lines.Contains("SUBSYSTEM=pci");
        return moved && PciAddress.TryParse(lines[0].AsSpan(lines[0].LastIndexOf('/') + 1), out PciAddress address) ? address : null;
    }

    private async Task<PciAddress?> NextAsync(CancellationToken cancellation)
    {
        if (_socket is null)
        {
            await Task.Delay(Timeout.InfiniteTimeSpan, _time, cancellation).ConfigureAwait(false);
            return null;
        }

        byte[] buffer = new byte[LargestBytes];
        PciAddress? first = null;
        try
        {
            while (first is null)
            {
                first = Parse(buffer.AsSpan(0, await _socket.ReceiveAsync(buffer, cancellation).ConfigureAwait(false)));
            }

            await Task.Delay(Settling, _time, cancellation).ConfigureAwait(false);
            while (_socket.Poll(0, SelectMode.SelectRead))
            {
                _ = await _socket.ReceiveAsync(buffer, cancellation).ConfigureAwait(false);
            }
        }
        catch (SocketException lost) when (lost.SocketErrorCode == SocketError.NoBufferSpaceAvailable)
        {
            // More came than the kernel kept for us: what it was, the scan sees.
        }

        return first;
    }
}
