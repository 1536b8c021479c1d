// Sends an open file along with bytes over a Unix socket (SCM_RIGHTS, unix(7)): .NET's sockets cannot.

using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace AssignHub.Engine.Guests;

/// <summary>One <c>sendmsg</c> with one file descriptor.</summary>
internal static class QmpFile
{
    /// <summary>Sends the beginning of <paramref name="bytes"/>, at least one byte, with <paramref name="file"/>.</summary>
    /// <returns>How many bytes went out; the file went with the first of them.</returns>
    /// <exception cref="IOException">The socket did not take it.</exception>
    internal static unsafe int Send(SafeSocketHandle socket, ReadOnlySpan<byte> bytes, SafeHandle file)
    {
        bool held = false;
        try
        {
            file.DangerousAddRef(ref held);
            var control = new Libc.CMsgFile
            {
                cmsg_len = 20,
                cmsg_level = Libc.SOL_SOCKET,
                cmsg_type = Libc.SCM_RIGHTS,
                fd = (int)file.DangerousGetHandle(),
            };

            // SAFETY: all that the message points to lives on this stack frame or is pinned until sendmsg returns.
            fixed (byte* start = bytes)
            {
                var part = new Libc.IoVec { iov_base = start, iov_len = (nuint)bytes.Length };
                var message = new Libc.MsgHdr
                {
                    msg_iov = &part,
                    msg_iovlen = 1,
                    msg_control = &control,
                    msg_controllen = (nuint)sizeof(Libc.CMsgFile),
                };
                nint sent = Libc.sendmsg(socket, in message, Libc.MSG_NOSIGNAL);
                return sent >= 0
                    ? (int)sent
                    : throw new IOException($"sendmsg: {(Errno)Marshal.GetLastPInvokeError()}");
            }
        }
        finally
        {
            if (held)
            {
                file.DangerousRelease();
            }
        }
    }
}
