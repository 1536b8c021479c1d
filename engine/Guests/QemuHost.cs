// What the host offers to a QEMU process: the program, and KVM.

using System.Runtime.InteropServices;

namespace AssignHub.Engine.Guests;

/// <summary>What the command line needs to know of the host.</summary>
/// <param name="Program">QEMU.</param>
/// <param name="HasKvm">Whether the host has KVM; without it guests run under TCG, slowly.</param>
/// <param name="KvmGroup">The group that a process must be in to use KVM; null if none is needed.</param>
public sealed record QemuHost(string Program, bool HasKvm, uint? KvmGroup)
{
    private const ushort GroupReadWrite = 0x30;
    private const ushort OthersReadWrite = 0x6;

    /// <summary>Looks at the host.</summary>
    /// <param name="program">QEMU's file or name.</param>
    /// <param name="kvm">KVM's device node.</param>
    /// <exception cref="HostFault">KVM is there, but only root may use it.</exception>
    public static QemuHost Probe(string program = "qemu-system-x86_64", string kvm = "/dev/kvm")
    {
        if (Libc.statx(Libc.AT_FDCWD, kvm, 0, Libc.STATX_BASIC_STATS, out Libc.statx_t node) != 0)
        {
            var error = (Errno)Marshal.GetLastPInvokeError();
            return error is Errno.ENOENT ? new QemuHost(program, HasKvm: false, KvmGroup: null) : throw new HostFault("statx", kvm, error);
        }

        return new QemuHost(program, HasKvm: true, KvmGroupOf(node.stx_mode, node.stx_gid, kvm));
    }

    private static uint? KvmGroupOf(ushort mode, uint gid, string kvm) =>
        (mode & OthersReadWrite) == OthersReadWrite ? null
        : (mode & GroupReadWrite) == GroupReadWrite && gid != 0 ? gid
        : throw new HostFault("open", kvm, Errno.EACCES, "only root may use it, and guests do not run as root: give it a group (chgrp kvm, chmod 0660)");
}
