namespace AssignHub.Lab;

/// <summary>The distribution's own kernel, fetched once and kept in the cache: <c>kernel/RELEASE</c>.</summary>
internal static class KernelPackage
{
    // Not loaded by the lab's own code, but unpacked, so that loading them under emulation takes no time.
    private static readonly string[] OftenLoaded =
        ["vfio_pci", "vfio_iommu_type1", "kvm_amd", "kvm_intel", "ahci", "i2c_i801", "lpc_ich", "virtio_net", "ext4"];

    /// <summary>The kernel's folder, or null if none was fetched.</summary>
    public static string? Find(string cache)
    {
        string kernels = Folder(cache);
        return Directory.Exists(kernels)
            ? Directory.GetDirectories(kernels).Where(d => File.Exists(Path.Combine(d, "vmlinuz"))).OrderBy(Directory.GetCreationTimeUtc).LastOrDefault()
            : null;
    }

    /// <summary>Fetches the current kernel and gives its folder.</summary>
    public static async Task<string> FetchAsync(Apt apt, string cache, IProgress<string>? progress, CancellationToken cancel)
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
            string unpacked = Path.Combine(Folder(cache), "unpacked");
            await apt.UnpackAsync([image, .. modules], unpacked, cancel).ConfigureAwait(false);
            progress?.Report("indexing the kernel's modules");
            return await InstallAsync(unpacked, Folder(cache), cancel).ConfigureAwait(false);
        }

        throw new LabException("the distribution has neither linux-image-amd64 nor linux-image-generic");
    }

    private static string Folder(string cache) => Path.Combine(cache, "kernel");

    private static async Task<string> InstallAsync(string unpacked, string kernels, CancellationToken cancel)
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
        foreach (string file in kernel.LoadOrder([.. Initrd.HostModules, .. Initrd.GuestModules, .. OftenLoaded]))
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
        string kept = Path.Combine(kernels, release);
        Directory.Move(tree, kept);
        Directory.Delete(unpacked, recursive: true);
        return kept;
    }
}
