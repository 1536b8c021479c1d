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
    public static async Task<LabAssets> PrepareAsync(LabBackend backend, IProgress<string>? progress, CancellationToken cancel)
    {
        string cache = DefaultCacheDirectory;
        Directory.CreateDirectory(cache);
        using FileStream turn = await TakeTurnAsync(Path.Combine(cache, "prepare.lock"), progress, cancel).ConfigureAwait(false);
        KernelBuild.Discard(cache);
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

        string kernel = backend == LabBackend.Iommufd
            ? KernelBuild.Find(cache) ?? await KernelBuild.MakeAsync(await AptAsync().ConfigureAwait(false), cache, progress, cancel).ConfigureAwait(false)
            : KernelPackage.Find(cache) ?? await KernelPackage.FetchAsync(await AptAsync().ConfigureAwait(false), cache, progress, cancel).ConfigureAwait(false);
        string host = await Initrd.HostAsync(cache, kernel, cancel).ConfigureAwait(false);
        string guest = await Initrd.GuestAsync(cache, kernel, cancel).ConfigureAwait(false);
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

    /// <summary>A file of this folder's sources, which the program brings with it.</summary>
    internal static byte[] ReadEmbedded(string name)
    {
        using Stream stream = typeof(LabAssets).Assembly.GetManifestResourceStream(name) ?? throw new LabException($"this build lacks {name}");
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
