// All that decides how a guest's process is started.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;

namespace AssignHub.Engine.Guests;

/// <summary>A guest's start, decided.</summary>
public sealed record GuestLaunch
{
    /// <summary>What was asked for.</summary>
    public required GuestSpec Spec { get; init; }
    /// <summary>Its runtime files.</summary>
    public required GuestPaths Paths { get; init; }
    /// <summary>The user that it runs as, its own and nobody else's.</summary>
    public required uint Uid { get; init; }
    /// <summary>Its locked-memory limit in bytes (<see cref="MemoryLock"/>).</summary>
    public required long MemoryLockBytes { get; init; }
    /// <summary>Whether it gets an emulated IOMMU.</summary>
    public required bool GuestIommu { get; init; }
    /// <summary>What the host offers.</summary>
    public required QemuHost Host { get; init; }
}

/// <summary>A program and its arguments.</summary>
/// <param name="Program">Its file or name.</param>
/// <param name="Arguments">Its arguments, without the program.</param>
public sealed record CommandLine(string Program, ImmutableArray<string> Arguments);

/// <summary>The users that guests run as: one each, out of a range of their own.</summary>
public static class GuestUids
{
    /// <summary>
    /// The lowest uid if none is configured. Debian assigns 60000 to 64999 itself (libvirt-qemu is 64055), systemd uses those up to 65519, and
    /// subordinate ids begin at 100000; what is between belongs to nobody.
    /// </summary>
    public const uint DefaultBase = 70000;

    /// <summary>How many there are if nothing is configured.</summary>
    public const int DefaultCount = 1000;

    /// <summary>The lowest uid that no guest has, or null if all are taken.</summary>
    public static uint? Allocate(IEnumerable<uint> taken, uint lowest = DefaultBase, int count = DefaultCount)
    {
        var used = taken.ToHashSet();
        for (uint uid = lowest; uid < lowest + count; uid++)
        {
            if (!used.Contains(uid))
            {
                return uid;
            }
        }

        return null;
    }
}
