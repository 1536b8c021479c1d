// The INFO ioctls' common form: a structure that begins with argsz and flags, and may be followed by a chain of capabilities.

using System.Collections.Immutable;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using AssignHub.Engine.Vfio.Abi;

namespace AssignHub.Engine.Vfio;

/// <summary>Reads an INFO structure with everything behind it.</summary>
internal static class InfoBuffer
{
    /// <summary>No answer of a sane kernel is larger, in bytes.</summary>
    private const uint Limit = 1 << 20;

    /// <summary>Makes the call, and again with a larger buffer when the kernel wants one.</summary>
    /// <param name="fd">What to ask.</param>
    /// <param name="request">The ioctl.</param>
    /// <param name="operation">Its kernel name.</param>
    /// <param name="head">The structure with its inputs; argsz is set here.</param>
    /// <returns>The structure and what follows it.</returns>
    /// <exception cref="HostFault">The ioctl failed, or its size does not settle.</exception>
    public static byte[] Read<T>(FileDescriptor fd, uint request, string operation, T head)
        where T : unmanaged
    {
        uint size = (uint)Unsafe.SizeOf<T>();

        // The chain may grow between two calls; a few rounds are plenty.
        for (int round = 0; round < 4; round++)
        {
            byte[] buffer = new byte[size];
            MemoryMarshal.Write(buffer, head);
            MemoryMarshal.Write(buffer, size);
            VfioFault.Check(fd.Ioctl(request, buffer), operation, fd.Subject);
            uint wanted = MemoryMarshal.Read<uint>(buffer);
            if (wanted <= size)
            {
                return buffer;
            }

            if (wanted > Limit)
            {
                throw VfioFault.Malformed(operation, fd.Subject, $"it wants {wanted} bytes");
            }

            size = wanted;
        }

        throw VfioFault.Malformed(operation, fd.Subject, "its size changes with every call");
    }

    /// <summary>The capabilities behind a structure; none if its flag is clear.</summary>
    /// <exception cref="HostFault">The chain is broken.</exception>
    public static ImmutableArray<InfoCapability> Capabilities<T>(FileDescriptor fd, string operation, ReadOnlySpan<byte> buffer, bool present, uint first)
        where T : unmanaged
    {
        if (!present)
        {
            return [];
        }

        return InfoCapability.TryParseChain(buffer, first, Unsafe.SizeOf<T>(), out ImmutableArray<InfoCapability> chain, out string? problem)
            ? chain
            : throw VfioFault.Malformed(operation, fd.Subject, problem);
    }
}

/// <summary>One capability in an INFO buffer.</summary>
/// <param name="Id">Which; the numbers are the ioctl's own.</param>
/// <param name="Version">The version of its layout.</param>
/// <param name="Offset">Where its head begins in the buffer, in bytes.</param>
internal readonly record struct InfoCapability(ushort Id, ushort Version, int Offset)
{
    /// <summary>The size of a capability's head in bytes.</summary>
    private const int HeadBytes = 8;

    /// <summary>Walks a chain. Offsets are the kernel's, or a device driver's in it; nothing is taken on trust.</summary>
    /// <param name="buffer">The whole INFO buffer.</param>
    /// <param name="first">Offset of the first head; 0 means an empty chain.</param>
    /// <param name="fixedBytes">The size of the fixed structure, which no capability may overlap.</param>
    /// <param name="chain">The capabilities in order.</param>
    /// <param name="problem">What is wrong with the chain.</param>
    /// <returns>Whether the chain is sound: inside the buffer, clear of the structure, no two heads overlapping, no loop.</returns>
    public static bool TryParseChain(
        ReadOnlySpan<byte> buffer, uint first, int fixedBytes, out ImmutableArray<InfoCapability> chain, [NotNullWhen(false)] out string? problem)
    {
        ImmutableArray<InfoCapability>.Builder found = ImmutableArray.CreateBuilder<InfoCapability>();
        var taken = new SortedSet<int>();
        chain = [];
        problem = null;
        for (uint next = first; next != 0;)
        {
            if (next < fixedBytes || next > buffer.Length - HeadBytes)
            {
                problem = $"capability at {next}, outside {fixedBytes} to {buffer.Length}";
                return false;
            }

            int offset = (int)next;
            if (taken.GetViewBetween(offset - HeadBytes + 1, offset + HeadBytes - 1).Count > 0)
            {
                problem = $"capability at {next} loops or overlaps another";
                return false;
            }

            taken.Add(offset);
            vfio_info_cap_header head = MemoryMarshal.Read<vfio_info_cap_header>(buffer[offset..]);
            found.Add(new InfoCapability(head.id, head.version, offset));
            next = head.next;
        }

        chain = found.ToImmutable();
        return true;
    }

    /// <summary>Reads a capability's array: a head of <typeparamref name="THead"/>, then items.</summary>
    /// <param name="buffer">The whole INFO buffer.</param>
    /// <param name="count">How many items the head says.</param>
    /// <param name="items">The items.</param>
    /// <returns>Whether they all lie inside the buffer.</returns>
    public bool TryReadItems<THead, TItem>(ReadOnlySpan<byte> buffer, uint count, out ReadOnlySpan<TItem> items)
        where THead : unmanaged
        where TItem : unmanaged
    {
        items = default;
        int start = Offset + Unsafe.SizeOf<THead>();
        if (start > buffer.Length || count > (uint)(buffer.Length - start) / (uint)Unsafe.SizeOf<TItem>())
        {
            return false;
        }

        items = MemoryMarshal.Cast<byte, TItem>(buffer[start..])[..(int)count];
        return true;
    }

    /// <summary>Reads a capability's head.</summary>
    /// <returns>Whether it lies inside the buffer.</returns>
    public bool TryReadHead<THead>(ReadOnlySpan<byte> buffer, out THead head)
        where THead : unmanaged => MemoryMarshal.TryRead(buffer[Offset..], out head);
}
