// A file descriptor that this process owns, typed by what it is, so that a call on the wrong kind of descriptor does not compile.

using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace AssignHub.Engine;

/// <summary>An owned file descriptor and the name by which faults speak of it.</summary>
internal abstract class FileDescriptor() : SafeHandleMinusOneIsInvalid(ownsHandle: true)
{
    /// <summary>What it refers to: <c>group 7</c>, <c>0000:03:01.0</c>.</summary>
    public string Subject { get; private set; } = "";

    /// <summary>Takes over a descriptor that a call has just returned.</summary>
    public static T Own<T>(nint descriptor, string subject)
        where T : FileDescriptor, new()
    {
        var handle = new T { Subject = subject };
        Marshal.InitHandle(handle, descriptor);
        return handle;
    }

    /// <summary>An ioctl whose argument is a pointer to a buffer. A model of the kernel in a test answers in its own way.</summary>
    /// <returns>What the ioctl returned, or -errno.</returns>
    public virtual int Ioctl(uint request, Span<byte> argument) => Libc.Ioctl(this, request, argument);

    /// <summary>An ioctl whose argument is a number, not a pointer; 0 where it takes none.</summary>
    /// <returns>What the ioctl returned, or -errno.</returns>
    public virtual int IoctlValue(uint request, nuint argument = 0) => Libc.IoctlValue(this, request, argument);

    /// <summary>An ioctl whose argument is a pointer to a structure.</summary>
    /// <returns>What the ioctl returned, or -errno.</returns>
    public int Ioctl<T>(uint request, ref T argument)
        where T : unmanaged => Ioctl(request, MemoryMarshal.AsBytes(new Span<T>(ref argument)));

    /// <inheritdoc/>
    protected override bool ReleaseHandle() => Libc.Close(handle);
}

/// <summary>Raw descriptors lent to a structure that the kernel reads; none is closed, and its number reused, before this ends.</summary>
internal sealed class LentDescriptors : IDisposable
{
    private readonly SafeHandle[] handles;
    private readonly int[] values;
    private int lent;

    public LentDescriptors(params ReadOnlySpan<SafeHandle> handles)
    {
        this.handles = handles.ToArray();
        values = new int[handles.Length];
        try
        {
            foreach (SafeHandle handle in handles)
            {
                bool added = false;
                handle.DangerousAddRef(ref added);
                values[lent++] = (int)handle.DangerousGetHandle();
            }
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The descriptors, in the order given.</summary>
    public ReadOnlySpan<int> Values => values;

    /// <inheritdoc/>
    public void Dispose()
    {
        while (lent > 0)
        {
            handles[--lent].DangerousRelease();
        }
    }
}
