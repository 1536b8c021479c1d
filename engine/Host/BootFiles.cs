// Which distribution it is and what sets its kernel command line, by the files that they have.

using System.Collections.Immutable;

namespace AssignHub.Engine.Host;

/// <summary>Reads the distribution's own files.</summary>
internal static class BootFiles
{
    // Boot loaders with the Boot Loader Interface say what they are in this variable (systemd's BOOT_LOADER_INTERFACE; GRUB since 2.12).
    private const string LoaderInfo = "firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

    /// <summary>Reads <c>os-release</c>: <c>ID=ubuntu</c>, <c>ID_LIKE="debian"</c>.</summary>
    public static Distribution ReadDistribution(string root)
    {
        string text = SysDir.ReadText(Path.Combine(root, "etc/os-release")) ?? SysDir.ReadText(Path.Combine(root, "usr/lib/os-release")) ?? "";
        string id = "";
        ImmutableArray<string> like = [];
        foreach (string line in text.Split('\n'))
        {
            int equals = line.IndexOf('=', StringComparison.Ordinal);
            string value = line[(equals + 1)..].Trim().Trim('"', '\'');
            switch (line[..Math.Max(equals, 0)])
            {
                case "ID":
                    id = value;
                    break;
                case "ID_LIKE":
                    like = [.. value.Split(' ', StringSplitOptions.RemoveEmptyEntries)];
                    break;
            }
        }

        return new Distribution(id, like);
    }

    /// <summary>What sets the kernel command line: what wraps a boot loader comes before the boot loader.</summary>
    public static BootLoader FindBootLoader(string root, string sysfsRoot)
    {
        bool Has(params ReadOnlySpan<string> files)
        {
            foreach (string file in files)
            {
                if (File.Exists(Path.Combine(root, file)))
                {
                    return true;
                }
            }

            return false;
        }

        // The variable is UTF-16 behind four bytes of attributes (Documentation/filesystems/efivarfs.rst).
        string loader = (SysDir.ReadText(Path.Combine(sysfsRoot, LoaderInfo)) ?? "").Replace("\0", "", StringComparison.Ordinal);
        bool isGrub = loader.Contains("GRUB", StringComparison.Ordinal);
        bool isSystemdBoot = loader.Contains("systemd-boot", StringComparison.Ordinal);
        if (Has("run/ostree-booted") && Has("usr/bin/rpm-ostree"))
        {
            return BootLoader.RpmOstree;
        }

        if (!isGrub && Has("etc/kernel/proxmox-boot-uuids") && Has("etc/kernel/cmdline"))
        {
            return BootLoader.ProxmoxBootTool;
        }

        if (Has("usr/sbin/grubby", "usr/bin/grubby"))
        {
            return BootLoader.Grubby;
        }

        if (!isSystemdBoot && Has("etc/default/grub"))
        {
            return BootLoader.Grub;
        }

        if (isSystemdBoot || Has("boot/loader/loader.conf", "efi/loader/loader.conf", "boot/efi/loader/loader.conf"))
        {
            // Debian's hook runs kernel-install for each kernel, whether the file is there yet or not.
            return Has("etc/kernel/cmdline", "etc/kernel/postinst.d/zz-systemd-boot") ? BootLoader.KernelInstall : BootLoader.SystemdBoot;
        }

        return BootLoader.Unknown;
    }
}
