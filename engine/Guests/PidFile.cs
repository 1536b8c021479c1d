// A pidfd (pidfd_open(2)): a process by a name that is never used again.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace AssignHub.Engine.Guests;

/// <summary>A process held by its pidfd.</summary>
internal sealed class PidFile : IDisposable
{
    private readonly SafeFileHandle _handle;

    private PidFile(SafeFileHandle handle) => _handle = handle;

    /// <summary>Opens a process, or returns null if there is none of that pid.</summary>
    internal static PidFile? Open(int pid)
    {
        nint file = Libc.syscall(Libc.SYS_pidfd_open, pid, 0);
        if (file >= 0)
        {
            return new PidFile(new SafeFileHandle(file, ownsHandle: true));
        }

        int error = Marshal.GetLastPInvokeError();
        return error == Libc.ESRCH ? null : throw new HostFault("pidfd_open", $"process {pid}", (Errno)error);
    }

    /// <summary>Sends SIGKILL; to a process that is gone meanwhile, nothing.</summary>
    internal void Kill()
    {
        if (Libc.syscall(Libc.SYS_pidfd_send_signal, _handle, Libc.SIGKILL, 0, 0) != 0
            && Marshal.GetLastPInvokeError() is var error and not Libc.ESRCH)
        {
            throw new HostFault("pidfd_send_signal", "guest process", (Errno)error);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _handle.Dispose();
}
