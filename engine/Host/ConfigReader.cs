// Fetches configuration space from sysfs. Each dword is a read from the device, microseconds on hardware and more under emulation, so
// only the first 256 bytes and the heads of the extended capabilities are fetched, not all 4,096.

using System.Buffers.Binary;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>Reads and parses <c>config</c> of a device's sysfs directory.</summary>
internal static unsafe class ConfigReader
{
    private const int Size = 4096;
    private const int LegacySize = 256;

    // What a head takes along: serial numbers end at 12 bytes, ACS at 8, TotalVFs of SR-IOV at 16.
    private const int HeadSize = 16;

    /// <summary>Reads it; null if the device is gone.</summary>
    /// <exception cref="HostFault">The file is there and cannot be read.</exception>
    public static ConfigSpace? Read(SysDir device)
    {
        int fd = device.OpenFile("config"u8);
        if (fd < 0)
        {
            return null;
        }

        try
        {
            Span<byte> space = stackalloc byte[Size];
            space.Clear();
            int length = ReadAt(fd, space[..LegacySize], 0, device);
            if (length < LegacySize)
            {
                return ConfigSpace.Parse(space[..length]);
            }

            return ConfigSpace.Parse(ReadHeads(fd, space, device) ? space : space[..LegacySize]);
        }
        finally
        {
            _ = Libc.close(fd);
        }
    }

    private static bool ReadHeads(int fd, Span<byte> space, SysDir device)
    {
        int at = LegacySize;
        for (int count = 0; at >= LegacySize && at <= Size - 4 && count < (Size - LegacySize) / 8; count++)
        {
            Span<byte> head = space.Slice(at, Math.Min(HeadSize, Size - at));
            if (ReadAt(fd, head, at, device) < head.Length)
            {
                // No extended space: a conventional device, or no access to it.
                return count > 0;
            }

            uint header = BinaryPrimitives.ReadUInt32LittleEndian(head);
            if (header is 0 or uint.MaxValue)
            {
                break;
            }

            at = ConfigSpace.NextExtended(header);
        }

        return true;
    }

    private static int ReadAt(int fd, Span<byte> buffer, int offset, SysDir device)
    {
        fixed (byte* data = buffer)
        {
            nint length = Libc.pread(fd, data, (nuint)buffer.Length, offset);
            if (length >= 0)
            {
                return (int)length;
            }

            int errno = System.Runtime.InteropServices.Marshal.GetLastPInvokeError();
            return SysDir.IsGone(errno) ? 0 : throw new HostFault("read", $"{device.Path}/config", (Errno)errno);
        }
    }
}
