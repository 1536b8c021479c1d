using System.Security.Cryptography;
using System.Text;

namespace AssignHub.Lab;

/// <summary>The first file systems that the lab's host and the small guest boot from: busybox, their scripts, and the modules they need at once.</summary>
internal static class Initrd
{
    public static readonly string[] HostModules = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"];

    public static readonly string[] GuestModules =
        ["virtio_pci", "nvme", "e1000", "e1000e", "igb", "igbvf", "virtio_net", "virtio_blk", "button", "evdev"];

    public static Task<string> HostAsync(string cache, string kernel, CancellationToken cancel) =>
        BuildAsync("host", cache, kernel, HostModules, cancel);

    public static Task<string> GuestAsync(string cache, string kernel, CancellationToken cancel) =>
        BuildAsync("guest", cache, kernel, GuestModules, cancel);

    // The file's name holds a hash of all that goes into it, so labs of different builds share the cache.
    private static async Task<string> BuildAsync(string name, string cache, string kernel, string[] modules, CancellationToken cancel)
    {
        string[] scripts = name == "host" ? ["host-init", "host-setup", "inittab"] : ["guest-init"];
        (string Name, byte[] Content)[] contents = [.. scripts.Select(script => (script, LabAssets.ReadEmbedded("init/" + script)))];
        string text = string.Join(' ', ["1", Path.GetFileName(kernel), .. modules, .. contents.Select(c => Convert.ToHexString(SHA256.HashData(c.Content)))]);
        string hash = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)))[..12];
        string path = Path.Combine(cache, $"{name}-{hash}.cpio");
        if (File.Exists(path))
        {
            return path;
        }

        var tree = new KernelTree(Path.Combine(kernel, "lib/modules", Path.GetFileName(kernel)));
        List<string> order = tree.LoadOrder(modules);
        await using (FileStream file = File.Create(path + ".new"))
        {
            var archive = new CpioArchive(file);
            archive.AddCharacterDevice("dev/console", 5, 1);
            archive.AddFile("bin/busybox", await File.ReadAllBytesAsync(Path.Combine(cache, "tools/busybox"), cancel).ConfigureAwait(false));
            foreach ((string script, byte[] content) in contents)
            {
                archive.AddFile(script == name + "-init" ? "init" : script, content);
            }

            foreach (string module in order)
            {
                archive.AddFile("lib/" + Path.GetFileName(module), await File.ReadAllBytesAsync(Path.Combine(tree.Modules, module), cancel).ConfigureAwait(false));
            }

            string list = string.Concat(order.Select(module => $"/lib/{Path.GetFileName(module)}\n"));
            archive.AddFile("modules", Encoding.UTF8.GetBytes(list), 0x1a4);
            if (name == "guest")
            {
                archive.AddFile("acpi/PWRF/00000080", "#!/bin/sh\nexec /bin/poweroff -f\n"u8);
            }

            archive.Finish();
        }

        File.Move(path + ".new", path, overwrite: true);
        return path;
    }
}
