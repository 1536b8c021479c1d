using System.Diagnostics;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;

namespace AssignHub.Lab;

/// <summary>
/// A kernel with iommufd, which no kernel of Debian has: built from the distribution's source with the options of
/// <c>kernel/iommufd.config</c>, once, and kept in the cache as <c>kernel-iommufd/RELEASE</c>. The release names the source's version
/// and a hash of the options.
/// </summary>
internal static class KernelBuild
{
    private const string Options = "kernel/iommufd.config";

    // The first with a device node for each VFIO device.
    private static readonly Version Oldest = new(6, 6);

    /// <summary>The kernel's folder, or null if none was built with these options.</summary>
    public static string? Find(string cache) =>
        Directory.Exists(Folder(cache)) ? Directory.GetDirectories(Folder(cache), "*" + Suffix()).FirstOrDefault() : null;

    /// <summary>Builds the kernel and gives its folder; source and objects are deleted after it.</summary>
    public static async Task<string> MakeAsync(Apt apt, string cache, IProgress<string>? progress, CancellationToken cancel)
    {
        string package = await NewestSourceAsync(apt, cancel).ConfigureAwait(false);
        string[] missing = [.. Missing()];
        if (missing.Length > 0)
        {
            await apt.InstallAsync(missing, cancel).ConfigureAwait(false);
        }

        string work = WorkFolder(cache);
        try
        {
            await apt.UnpackAsync([package], work, cancel).ConfigureAwait(false);
            progress?.Report("building a kernel with iommufd: takes some minutes, once");
            string source = await UnpackSourceAsync(work, cancel).ConfigureAwait(false);
            string tree = Path.Combine(work, "tree");
            await ConfigureAsync(source, work, cancel).ConfigureAwait(false);
            await CompileAsync(source, tree, progress, cancel).ConfigureAwait(false);

            // Moved in one act: what is in the folder is whole.
            string release = Path.GetFileName(Directory.GetDirectories(Path.Combine(tree, "lib/modules")).Single());
            string kept = Path.Combine(Folder(cache), release);
            Directory.CreateDirectory(Folder(cache));
            Directory.Move(tree, kept);
            return kept;
        }
        finally
        {
            Discard(cache);
        }
    }

    /// <summary>Deletes what a build left behind that was cut off: gigabytes.</summary>
    public static void Discard(string cache)
    {
        if (Directory.Exists(WorkFolder(cache)))
        {
            Directory.Delete(WorkFolder(cache), recursive: true);
        }
    }

    private static string WorkFolder(string cache) => Path.Combine(cache, "kernel-build");

    private static string Folder(string cache) => Path.Combine(cache, "kernel-iommufd");

    private static string Suffix()
    {
        string options = string.Join('\n', Lines("CONFIG_").Concat(Lines("# CONFIG_")));
        return "-iommufd-" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(options)))[..8];
    }

    private static IEnumerable<string> Lines(string start) =>
        Encoding.UTF8.GetString(LabAssets.ReadEmbedded(Options)).Split('\n').Where(line => line.StartsWith(start, StringComparison.Ordinal));

    // Debian says linux-source-6.12, Ubuntu linux-source-6.8.0.
    private static async Task<string> NewestSourceAsync(Apt apt, CancellationToken cancel)
    {
        const string Start = "linux-source-";
        string[] names = await apt.NamesAsync(Start + "6.", cancel).ConfigureAwait(false);
        (string Name, Version? Version) newest = names
            .Select(name => (Name: name, Version: Version.TryParse(name[Start.Length..], out Version? version) ? version : null))
            .Where(source => source.Version >= Oldest)
            .MaxBy(source => source.Version);
        return newest.Name
            ?? throw new LabException($"the iommufd backend builds a kernel from a package linux-source-6.N, N at least {Oldest.Minor}, and this distribution has none: use --backend type1");
    }

    private static IEnumerable<string> Missing()
    {
        foreach (string program in (string[])["make", "gcc", "bc", "bison", "flex"])
        {
            if (Tool.Find(program) is null)
            {
                yield return program;
            }
        }

        // It brings the C library's headers with it.
        if (!File.Exists("/usr/include/libelf.h"))
        {
            yield return "libelf-dev";
        }
    }

    private static async Task<string> UnpackSourceAsync(string work, CancellationToken cancel)
    {
        string archive = Directory.GetFiles(Path.Combine(work, "usr/src"), "linux-source-*.tar.*", SearchOption.AllDirectories).FirstOrDefault()
            ?? throw new LabException("the kernel source's package holds no archive");
        string source = Path.Combine(work, "source");
        Directory.CreateDirectory(source);
        await Tool.RunAsync("tar", ["-xf", archive, "-C", source, "--strip-components=1"], cancel).ConfigureAwait(false);
        return source;
    }

    private static async Task ConfigureAsync(string source, string work, CancellationToken cancel)
    {
        string options = Path.Combine(work, "options");
        await File.WriteAllBytesAsync(options, LabAssets.ReadEmbedded(Options), cancel).ConfigureAwait(false);
        await Tool.RunAsync("make", ["-C", source, $"KCONFIG_ALLCONFIG={options}", "alldefconfig"], cancel).ConfigureAwait(false);

        // What has lost its needs, or its name, Kconfig drops without a word.
        HashSet<string> taken = [.. await File.ReadAllLinesAsync(Path.Combine(source, ".config"), cancel).ConfigureAwait(false)];
        string[] dropped = [.. Lines("CONFIG_").Where(line => !taken.Contains(line))];
        if (dropped.Length > 0)
        {
            throw new LabException($"the kernel source does not take these lines of {Options}: {string.Join(", ", dropped)}");
        }
    }

    private static async Task CompileAsync(string source, string tree, IProgress<string>? progress, CancellationToken cancel)
    {
        string[] make = ["-C", source, "LOCALVERSION=" + Suffix(), $"INSTALL_MOD_PATH={tree}", "INSTALL_MOD_STRIP=1"];
        string processors = Environment.ProcessorCount.ToString(CultureInfo.InvariantCulture);
        var clock = Stopwatch.StartNew();
        Task<string> compiling = Tool.RunAsync("make", [.. make, "-j", processors, "bzImage", "modules"], cancel);
        while (await Task.WhenAny(compiling, Task.Delay(TimeSpan.FromMinutes(1), CancellationToken.None)).ConfigureAwait(false) != compiling)
        {
            progress?.Report($"still building the kernel after {clock.Elapsed.TotalMinutes:0} min");
        }

        await compiling.ConfigureAwait(false);
        await Tool.RunAsync("make", [.. make, "modules_install"], cancel).ConfigureAwait(false);
        File.Copy(Path.Combine(source, "arch/x86/boot/bzImage"), Path.Combine(tree, "vmlinuz"));
        File.Delete(Path.Combine(Directory.GetDirectories(Path.Combine(tree, "lib/modules")).Single(), "build"));
    }
}
