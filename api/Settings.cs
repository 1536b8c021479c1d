// What can be set: on the command line, as ASSIGNHUB__SECTION__KEY in the environment, in /etc/assignhub/assignhub.json, in this order.

using Microsoft.Extensions.Configuration;

namespace AssignHub.Api;

/// <summary>The service's settings.</summary>
public sealed record Settings
{
    private const string File = "/etc/assignhub/assignhub.json";

    /// <summary>Where to listen (<c>service:listen</c>).</summary>
    public string Listen { get; init; } = "http://127.0.0.1:8080";
    /// <summary>The database, guest runtime files and the first token (<c>service:data</c>).</summary>
    public string Data { get; init; } = "/var/lib/assignhub";
    /// <summary>Whether to listen beyond loopback without TLS (<c>service:allowPlaintext</c>).</summary>
    public bool AllowPlaintext { get; init; }
    /// <summary>Whether groups without an IOMMU may be claimed (<c>host:allowNoIommu</c>).</summary>
    public bool AllowNoIommu { get; init; }
    /// <summary>The sysfs of a synthetic host; null is this machine's (<c>host:sysfs</c>).</summary>
    public string? Sysfs { get; init; }
    /// <summary>The /proc of a synthetic host; null is this machine's (<c>host:proc</c>).</summary>
    public string? Proc { get; init; }
    /// <summary>QEMU's file or name (<c>guests:qemu</c>).</summary>
    public string Qemu { get; init; } = "qemu-system-x86_64";

    /// <summary>Whether the host is a tree of files and not this machine.</summary>
    public bool IsSynthetic => Sysfs is not null;

    /// <summary>Reads the file and the environment.</summary>
    /// <exception cref="InvalidDataException">A setting is not what it has to be.</exception>
    public static Settings Read()
    {
        IConfiguration configuration = new ConfigurationBuilder()
            .AddJsonFile(File, optional: true).AddEnvironmentVariables("ASSIGNHUB__").Build();
        var defaults = new Settings();
        return defaults with
        {
            Listen = configuration["service:listen"] ?? defaults.Listen,
            Data = configuration["service:data"] ?? defaults.Data,
            AllowPlaintext = Flag(configuration, "service:allowPlaintext"),
            AllowNoIommu = Flag(configuration, "host:allowNoIommu"),
            Sysfs = configuration["host:sysfs"],
            Proc = configuration["host:proc"],
            Qemu = configuration["guests:qemu"] ?? defaults.Qemu,
        };
    }

    private static bool Flag(IConfiguration configuration, string key) => configuration[key] is { } text
        && (bool.TryParse(text, out bool value) ? value : throw new InvalidDataException($"{key} has to be true or false"));

    /// <summary>What is wrong with the settings; null if nothing.</summary>
    public string? Problem()
    {
        if (!Uri.TryCreate(Listen, UriKind.Absolute, out Uri? uri) || uri.Scheme != Uri.UriSchemeHttp)
        {
            return $"--listen {Listen}: has to be a URL such as http://127.0.0.1:8080";
        }

        if (!uri.IsLoopback && !AllowPlaintext)
        {
            return $"--listen {Listen}: tokens would cross the network in plain text; listen on loopback behind a proxy with TLS, or add --allow-plaintext";
        }

        return Sysfs is null != Proc is null ? "--sysfs and --proc go together" : null;
    }
}
