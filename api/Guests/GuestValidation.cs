// Checks what a guest is to be, and reports every field that is wrong at once.

using System.Collections.Immutable;
using System.Text.RegularExpressions;
using AssignHub.Api.Http;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Pci;

namespace AssignHub.Api.Guests;

internal static partial class GuestValidation
{
    private const long LeastMemory = 16L << 20;
    private const long MostMemory = 16L << 40;
    private const int MostSlots = 16;

    /// <summary>The spec that a request asks for.</summary>
    /// <exception cref="BadRequestException">With every field that is wrong.</exception>
    public static GuestSpec ToSpec(GuestRequest request)
    {
        var errors = new SortedDictionary<string, List<string>>(StringComparer.Ordinal);
        NoNulls(errors, "disks", request.Disks);
        NoNulls(errors, "networks", request.Networks);
        NoNulls(errors, "devices", request.Devices);
        ThrowIfAny(errors);
        GuestSpec spec = Spec(request);
        Check(errors, "name", NamePattern().IsMatch(spec.Name), "has to be letters, digits, '-', '_' and '.', at most 63, a letter or digit first");
        Check(errors, "vcpus", spec.Vcpus is >= 1 and <= 1024, "has to be from 1 to 1024");
        Check(errors, "memoryBytes", spec.MemoryBytes is >= LeastMemory and <= MostMemory && spec.MemoryBytes % (1 << 20) == 0, "has to be a multiple of 1 MiB, from 16 MiB to 16 TiB");
        Check(errors, "machine", MachinePattern().IsMatch(spec.Machine), "has to be q35 or a version of it, such as pc-q35-10.0");
        Check(errors, "cpu", WordPattern().IsMatch(spec.Cpu), "has to be the name of a QEMU CPU model, with features");
        Check(errors, "hotplugSlots", spec.HotplugSlots is >= 0 and <= MostSlots, $"has to be from 0 to {MostSlots}");
        if (spec.Kernel is { } kernel)
        {
            Check(errors, "kernel.path", IsPath(kernel.Path), "has to be an absolute path");
            Check(errors, "kernel.initrd", kernel.Initrd is null || IsPath(kernel.Initrd), "has to be an absolute path");
            Check(errors, "kernel.commandLine", kernel.CommandLine is { Length: <= 2047 } line && !line.Any(char.IsControl), "has to be one line of at most 2047 characters");
        }

        Check(errors, "disks", spec.Disks.Length <= Engine.Guests.QemuCommandLine.MaxDisks, $"at most {Engine.Guests.QemuCommandLine.MaxDisks}");
        for (int i = 0; i < spec.Disks.Length; i++)
        {
            Check(errors, $"disks[{i}].path", IsPath(spec.Disks[i].Path), "has to be an absolute path");
            Check(errors, $"disks[{i}].format", spec.Disks[i].Format is "qcow2" or "raw", "has to be qcow2 or raw");
        }

        Check(errors, "networks", spec.Networks.Length <= 8, "at most 8");
        for (int i = 0; i < spec.Networks.Length; i++)
        {
            Check(errors, $"networks[{i}].mac", spec.Networks[i].Mac is not { } mac || MacPattern().IsMatch(mac), "has to be a unicast MAC address such as 52:54:00:12:34:56");
        }

        foreach (PciAddress twice in spec.Devices.GroupBy(device => device).Where(group => group.Count() > 1).Select(group => group.Key))
        {
            Check(errors, "devices", false, $"{twice} is there more than once");
        }

        Check(errors, "labels", spec.Labels.Count <= 64 && spec.Labels.All(label => label.Key.Length is > 0 and <= 63 && label.Value is { Length: <= 255 }),
            "at most 64, with keys of 1 to 63 and values of at most 255 characters");
        ThrowIfAny(errors);
        return spec;
    }

    // A list's items may be null in JSON, whatever their type says.
    private static void NoNulls<T>(SortedDictionary<string, List<string>> errors, string field, ImmutableArray<T>? items) =>
        Check(errors, field, items is null || !items.Value.Any(item => item is null), "has a null among its items");

    private static void ThrowIfAny(SortedDictionary<string, List<string>> errors)
    {
        if (errors.Count > 0)
        {
            throw new BadRequestException(errors.ToImmutableSortedDictionary(error => error.Key, error => error.Value.ToArray(), StringComparer.Ordinal));
        }
    }

    private static GuestSpec Spec(GuestRequest request)
    {
        var defaults = new GuestSpec { Name = request.Name ?? "" };
        return defaults with
        {
            Vcpus = request.Vcpus ?? defaults.Vcpus,
            MemoryBytes = request.MemoryBytes ?? defaults.MemoryBytes,
            Machine = request.Machine ?? defaults.Machine,
            Cpu = request.Cpu ?? defaults.Cpu,
            Kernel = request.Kernel,
            Disks = request.Disks ?? defaults.Disks,
            Networks = request.Networks ?? defaults.Networks,
            HotplugSlots = request.HotplugSlots ?? defaults.HotplugSlots,
            GuestIommu = request.GuestIommu ?? defaults.GuestIommu,
            Devices = [.. (request.Devices ?? []).Select(device => device.Address)],
            Labels = request.Labels ?? defaults.Labels,
        };
    }

    private static void Check(SortedDictionary<string, List<string>> errors, string field, bool good, string rule)
    {
        if (!good)
        {
            (errors.TryGetValue(field, out List<string>? list) ? list : errors[field] = []).Add(rule);
        }
    }

    private static bool IsPath(string? path) => path is { Length: > 1 and <= 1024 } && path[0] == '/' && !path.Any(char.IsControl);

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\z")]
    private static partial Regex NamePattern();

    [GeneratedRegex(@"\A(q35|pc-q35-[0-9]{1,2}\.[0-9])\z")]
    private static partial Regex MachinePattern();

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._+=,-]{0,255}\z")]
    private static partial Regex WordPattern();

    [GeneratedRegex(@"\A[0-9a-fA-F][02468aceACE](:[0-9a-fA-F]{2}){5}\z")]
    private static partial Regex MacPattern();
}
