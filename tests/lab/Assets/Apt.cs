using System.Text.RegularExpressions;

namespace AssignHub.Lab;

/// <summary>
/// Fetches packages with apt-get from the machine's own mirror, its backports included, with package lists of the lab's
/// own: what the machine itself has set up is neither read for versions nor changed.
/// </summary>
internal sealed partial class Apt
{
    private readonly string _folder;
    private readonly string[] _options;
    private readonly IProgress<string>? _progress;

    private Apt(string folder, string? backports, IProgress<string>? progress)
    {
        _folder = folder;
        _progress = progress;
        Backports = backports;
        List<string> settings =
        [
            "Dir::Etc::SourceList=/dev/null",
            $"Dir::Etc::SourceParts={folder}/sources",
            $"Dir::State::Lists={folder}/lists",
            "Dir::Cache::pkgcache=",
            "Dir::Cache::srcpkgcache=",
            "DPkg::Lock::Timeout=300",
            "Acquire::Retries=3",
            "APT::Sandbox::User=root",
        ];
        if (backports is not null)
        {
            settings.Add($"APT::Default-Release={backports}");
        }

        _options = [.. settings.SelectMany(setting => new[] { "-o", setting })];
    }

    /// <summary>The suite that newer packages come from, or null if there is none to be had.</summary>
    public string? Backports { get; }

    public static async Task<Apt> OpenAsync(string cache, IProgress<string>? progress, CancellationToken cancel)
    {
        if (Tool.Find("apt-get") is null)
        {
            throw new LabException("the lab fetches its parts with apt-get, and this machine has none");
        }

        string folder = Path.Combine(cache, "apt");
        string codename = ReadCodename();
        List<AptSource> own = [.. AptSource.ReadAll().Where(s => s.Suites.Any(suite => suite.StartsWith(codename, StringComparison.Ordinal)))];
        if (own.Count == 0)
        {
            throw new LabException($"no package source for {codename} in /etc/apt");
        }

        // The mirror that carries updates carries backports too; a machine may have several sources for its suite.
        string suite = codename + "-backports";
        AptSource? mirror = own.FirstOrDefault(s => s.Suites.Contains(codename + "-updates")) ?? own.FirstOrDefault(s => s.Suites.Contains(codename));
        progress?.Report($"reading the package lists of {codename} and {suite}");
        if (mirror is not null && await UpdateAsync([.. own, mirror with { Suites = [suite] }], suite).ConfigureAwait(false) is { } apt)
        {
            return apt;
        }

        progress?.Report($"no {suite} to be had: taking the distribution's own versions");
        return await UpdateAsync(own, null).ConfigureAwait(false)
            ?? throw new LabException("apt-get update failed: is the package mirror in reach?");

        async Task<Apt?> UpdateAsync(IEnumerable<AptSource> sources, string? backports)
        {
            Directory.CreateDirectory(Path.Combine(folder, "sources"));
            Directory.CreateDirectory(Path.Combine(folder, "lists", "partial"));
            await File.WriteAllTextAsync(
                Path.Combine(folder, "sources", "lab.sources"),
                string.Concat(sources.Select(s => s.ToDeb822())),
                cancel).ConfigureAwait(false);
            var apt = new Apt(folder, backports, progress);
            (int status, string output, string error) =
                await Tool.TryRunAsync("apt-get", [.. apt._options, "-o", "APT::Update::Error-Mode=any", "update"], cancel).ConfigureAwait(false);
            return status == 0 ? apt : null;
        }
    }

    /// <summary>Installs packages on the machine, newest versions, nothing but what they need.</summary>
    public async Task InstallAsync(IEnumerable<string> packages, CancellationToken cancel)
    {
        _progress?.Report($"installing {string.Join(", ", packages)}");
        string[] command = ["apt-get", .. _options, "install", "--yes", "--no-install-recommends", .. packages];
        bool root = Environment.IsPrivilegedProcess;
        if (!root && Tool.Find("sudo") is null)
        {
            throw new LabException($"missing on this machine: {string.Join(", ", packages)}. Install them as root, or run this as root once");
        }

        await (root ? Tool.RunAsync(command[0], command[1..], cancel) : Tool.RunAsync("sudo", ["-n", .. command], cancel)).ConfigureAwait(false);
    }

    /// <summary>Downloads packages and unpacks them into a folder, leaving the machine as it is.</summary>
    public async Task UnpackAsync(IEnumerable<string> packages, string into, CancellationToken cancel)
    {
        _progress?.Report($"fetching {string.Join(", ", packages)}");
        string downloads = Path.Combine(_folder, "downloads-" + Guid.NewGuid().ToString("N"));
        Directory.CreateDirectory(downloads);
        Directory.CreateDirectory(into);
        try
        {
            // apt-get download writes into its working folder and has no option for another.
            string[] arguments = ["-C", downloads, "apt-get", .. _options, "download", .. packages];
            await Tool.RunAsync("env", arguments, cancel).ConfigureAwait(false);
            foreach (string file in Directory.GetFiles(downloads, "*.deb"))
            {
                await Tool.RunAsync("dpkg-deb", ["-x", file, into], cancel).ConfigureAwait(false);
            }
        }
        finally
        {
            Directory.Delete(downloads, recursive: true);
        }
    }

    /// <summary>What a package of the newest version depends on directly; empty if there is no such package.</summary>
    public async Task<string[]> DependenciesAsync(string package, CancellationToken cancel)
    {
        (int status, string output, _) = await Tool.TryRunAsync("apt-cache", [.. _options, "depends", package], cancel).ConfigureAwait(false);
        return status == 0 ? [.. DependsLine().Matches(output).Select(match => match.Groups[1].Value)] : [];
    }

    /// <summary>The names of all packages that begin so.</summary>
    public async Task<string[]> NamesAsync(string start, CancellationToken cancel) =>
        (await Tool.RunAsync("apt-cache", [.. _options, "pkgnames", start], cancel).ConfigureAwait(false)).Split('\n', StringSplitOptions.RemoveEmptyEntries);

    private static string ReadCodename()
    {
        string? line = File.ReadLines("/etc/os-release").FirstOrDefault(l => l.StartsWith("VERSION_CODENAME=", StringComparison.Ordinal));
        return line?.Split('=')[1].Trim('"') ?? throw new LabException("/etc/os-release names no VERSION_CODENAME");
    }

    [GeneratedRegex(@"^\s+Depends: (\S+)$", RegexOptions.Multiline)]
    private static partial Regex DependsLine();
}
