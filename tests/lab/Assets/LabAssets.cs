using System.Security.Cryptography;
using System.Text;

namespace AssignHub.Lab;

/// <summary>
/// What the lab boots: QEMU on the machine, and in the cache a kernel with its modules and the first file systems of the
/// lab's host and of the small guest. Made once; later runs read the cache and ask no network.
/// </summary>
public sealed class LabAssets
{
    /// <summary>The small guest's kernel, as seen inside the lab by every user.</summary>
    public const string GuestKernel = "/usr/share/assignhub-lab/vmlinuz";

    /// <summary>The small guest's first file system, as seen inside the lab by every user.</summary>
    public const string GuestInitrd = "/usr/share/assignhub-lab/guest.cpio";

    /// <summary>A command line with which the small guest boots fast and reports on its first serial port.</summary>
    public const string GuestCommandLine =
        "console=ttyS0 quiet tsc=reliable hpet=disable no_timer_check mitigations=off init_on_alloc=0 nokaslr nowatchdog audit=0 apparmor=0 random.trust_cpu=on";

    private static readonly string[] HostModules = ["virtio_pci", "9pnet_virtio", "9p", "overlay", "virtio_console"];

    private static readonly string[] GuestModules =
        ["virtio_pci", "nvme", "e1000", "e1000e", "igb", "igbvf", "virtio_net", "virtio_blk", "button", "evdev"];

    // Not loaded by this code, but unpacked, so that loading them under emulation takes no time.
    private static readonly string[] OftenLoaded =
        ["vfio_pci", "vfio_iommu_type1", "kvm_amd", "kvm_intel", "ahci", "i2c_i801", "lpc_ich", "virtio_net", "ext4"];

    // What the lab's own code runs on the machine, and what its tests run inside, where the machine's programs are: disks and networks as
    // a host uses them. Each with the package that Debian and Ubuntu have it in.
    private static readonly (string Program, string Package)[] Programs =
    [
        ("qemu-system-x86_64", "qemu-system-x86"), ("depmod", "kmod"), ("xz", "xz-utils"),
        ("mke2fs", "e2fsprogs"), ("mount", "mount"), ("dmsetup", "dmsetup"), ("cryptsetup", "cryptsetup-bin"), ("lvm", "lvm2"), ("mdadm", "mdadm"), ("ip", "iproute2"),
    ];

    private LabAssets(string cache, string kernel, string hostInitrd, string guestInitrd)
    {
        CacheDirectory = cache;
        KernelDirectory = kernel;
        HostInitrd = hostInitrd;
        MachineGuestInitrd = guestInitrd;
    }

    public static string DefaultCacheDirectory { get; } = Path.Combine(
        Environment.GetEnvironmentVariable("XDG_CACHE_HOME") is { Length: > 0 } set
            ? set
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache"),
        "assignhub-lab");

    public string CacheDirectory { get; }

    /// <summary>Holds <c>vmlinuz</c> and <c>lib/modules/RELEASE</c>.</summary>
    public string KernelDirectory { get; }

    public string KernelImage => Path.Combine(KernelDirectory, "vmlinuz");

    public string KernelRelease => Path.GetFileName(KernelDirectory);

    public string HostInitrd { get; }

    /// <summary>The guest's first file system as the machine sees it, in the cache; its kernel is <see cref="KernelImage"/>.</summary>
    public string MachineGuestInitrd { get; }

    /// <summary>Makes what is missing and gives where all of it is.</summary>
    public static async Task<LabAssets> PrepareAsync(IProgress<string>? progress, CancellationToken cancel)
    {
        string cache = DefaultCacheDirectory;
        Directory.CreateDirectory(cache);
        using FileStream turn = await TakeTurnAsync(Path.Combine(cache, "prepare.lock"), progress, cancel).ConfigureAwait(false);
        Apt? apt = null;
        async Task<Apt> AptAsync() => apt ??= await Apt.OpenAsync(cache, progress, cancel).ConfigureAwait(false);

        string[] missing = [.. Missing()];
        if (missing.Length > 0)
        {
            await (await AptAsync().ConfigureAwait(false)).InstallAsync(missing, cancel).ConfigureAwait(false);
        }

        string tools = Path.Combine(cache, "tools");
        if (!File.Exists(Path.Combine(tools, "qemu-ga")) || !File.Exists(Path.Combine(tools, "busybox")))
        {
            await FetchToolsAsync(await AptAsync().ConfigureAwait(false), cache, tools, cancel).ConfigureAwait(false);
        }

        string kernels = Path.Combine(cache, "kernel");
        string? kernel = FindKernel(kernels);
        if (kernel is null)
        {
            await FetchKernelAsync(await AptAsync().ConfigureAwait(false), kernels, progress, cancel).ConfigureAwait(false);
            kernel = FindKernel(kernels) ?? throw new LabException($"the kernel's packages left no kernel in {kernels}");
        }

        string host = await BuildInitrdAsync("host", cache, kernel, HostModules, cancel).ConfigureAwait(false);
        string guest = await BuildInitrdAsync("guest", cache, kernel, GuestModules, cancel).ConfigureAwait(false);
        return new LabAssets(cache, kernel, host, guest);
    }

    private static IEnumerable<string> Missing()
    {
        foreach ((string program, string package) in Programs)
        {
            if (Tool.Find(program) is null)
            {
                yield return package;
            }
        }

        // Names for the devices; AssignHub reads the distribution's list.
        if (!File.Exists("/usr/share/misc/pci.ids"))
        {
            yield return "pci.ids";
        }
    }

    private static async Task FetchToolsAsync(Apt apt, string cache, string tools, CancellationToken cancel)
    {
        string unpacked = Path.Combine(cache, "unpacked-tools");
        await apt.UnpackAsync(["busybox-static", "qemu-guest-agent"], unpacked, cancel).ConfigureAwait(false);
        Directory.CreateDirectory(tools);
        foreach (string name in (string[])["busybox", "qemu-ga"])
        {
            string[] found = Directory.GetFiles(unpacked, name, SearchOption.AllDirectories);
            string program = found.FirstOrDefault(f => f.Contains("bin/", StringComparison.Ordinal))
                ?? throw new LabException($"the distribution's packages hold no {name}");
            File.Copy(program, Path.Combine(tools, name), overwrite: true);
        }

        Directory.Delete(unpacked, recursive: true);
    }

    private static async Task FetchKernelAsync(Apt apt, string kernels, IProgress<string>? progress, CancellationToken cancel)
    {
        // Debian's and Ubuntu's names of the package that depends on the current kernel.
        foreach (string meta in (string[])["linux-image-amd64", "linux-image-generic"])
        {
            string[] needs = await apt.DependenciesAsync(meta, cancel).ConfigureAwait(false);
            string? image = needs.FirstOrDefault(need => need.StartsWith("linux-image-", StringComparison.Ordinal));
            if (image is null)
            {
                continue;
            }

            string[] below = await apt.DependenciesAsync(image, cancel).ConfigureAwait(false);
            string[] modules = [.. needs.Concat(below).Where(need => need.StartsWith("linux-modules-", StringComparison.Ordinal)).Distinct()];
            string unpacked = Path.Combine(kernels, "unpacked");
            await apt.UnpackAsync([image, .. modules], unpacked, cancel).ConfigureAwait(false);
            progress?.Report("indexing the kernel's modules");
            await InstallKernelAsync(unpacked, kernels, cancel).ConfigureAwait(false);
            return;
        }

        throw new LabException("the distribution has neither linux-image-amd64 nor linux-image-generic");
    }

    private static async Task InstallKernelAsync(string unpacked, string kernels, CancellationToken cancel)
    {
        string modules = Directory.GetDirectories(Path.Combine(unpacked, "lib/modules")).Single();
        string release = Path.GetFileName(modules);
        string tree = Path.Combine(unpacked, "tree");
        string into = Path.Combine(tree, "lib/modules", release);
        Directory.CreateDirectory(Path.GetDirectoryName(into)!);
        Directory.Move(modules, into);
        File.Move(Path.Combine(unpacked, "boot", "vmlinuz-" + release), Path.Combine(tree, "vmlinuz"));
        File.SetUnixFileMode(
            Path.Combine(tree, "vmlinuz"),
            UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead);

        await Tool.RunAsync("depmod", ["-b", tree, release], cancel).ConfigureAwait(false);
        var kernel = new KernelTree(into);
        foreach (string file in kernel.LoadOrder([.. HostModules, .. GuestModules, .. OftenLoaded]))
        {
            string path = Path.Combine(into, file);
            await (Path.GetExtension(path) switch
            {
                ".xz" => Tool.RunAsync("xz", ["-d", path], cancel),
                ".zst" => Tool.RunAsync("zstd", ["-q", "-d", "--rm", path], cancel),
                ".gz" => Tool.RunAsync("gzip", ["-d", path], cancel),
                _ => Task.FromResult(""),
            }).ConfigureAwait(false);
        }

        await Tool.RunAsync("depmod", ["-b", tree, release], cancel).ConfigureAwait(false);
        Directory.Move(tree, Path.Combine(kernels, release));
        Directory.Delete(unpacked, recursive: true);
    }

    private static string? FindKernel(string kernels) =>
        Directory.Exists(kernels)
            ? Directory.GetDirectories(kernels).Where(d => File.Exists(Path.Combine(d, "vmlinuz"))).OrderBy(Directory.GetCreationTimeUtc).LastOrDefault()
            : null;

    // The file's name holds a hash of all that goes into it, so labs of different builds share the cache.
    private static async Task<string> BuildInitrdAsync(string name, string cache, string kernel, string[] modules, CancellationToken cancel)
    {
        string[] scripts = name == "host" ? ["host-init", "host-setup", "inittab"] : ["guest-init"];
        (string Name, byte[] Content)[] contents = [.. scripts.Select(script => (script, ReadScript(script)))];
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

    private static byte[] ReadScript(string name)
    {
        using Stream stream = typeof(LabAssets).Assembly.GetManifestResourceStream("init/" + name)
            ?? throw new LabException($"this build lacks init/{name}");
        using var copy = new MemoryStream();
        stream.CopyTo(copy);
        return copy.ToArray();
    }

    private static async Task<FileStream> TakeTurnAsync(string path, IProgress<string>? progress, CancellationToken cancel)
    {
        bool told = false;
        while (true)
        {
            try
            {
                return new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException) when (File.Exists(path))
            {
                if (!told)
                {
                    progress?.Report("another lab prepares the same cache: waiting for it");
                    told = true;
                }

                await Task.Delay(200, cancel).ConfigureAwait(false);
            }
        }
    }
}
