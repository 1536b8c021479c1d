// What the lab's kernel shows, asked past the service: driver links, VFIO's files, what a process holds, the guest's console.

using System.Globalization;
using AssignHub.Lab;

namespace AssignHub.Story;

/// <summary>The kernel's own view of the lab.</summary>
/// <param name="lab">The lab.</param>
public sealed class KernelView(LabHost lab)
{
    /// <summary>The driver that a device is on; empty if none.</summary>
    public async Task<string> DriverAsync(string address) =>
        (await lab.RunAsync($"basename \"$(readlink /sys/bus/pci/devices/{address}/driver)\"").ConfigureAwait(false)).Trim();

    /// <summary>Every device's driver and override, VFIO's files and the modules that are loaded, a line each: what must be the same after a refusal as before.</summary>
    public Task<string> BindingsAsync() => lab.RunAsync("""
        cd /sys/bus/pci/devices
        find */driver -maxdepth 0 -printf '%p %l\n'; grep . */driver_override; ls -l /dev/vfio 2>/dev/null; cut -d' ' -f1 /proc/modules
        """);

    /// <summary>A shell command that prints the disk of an NVMe controller: its path to it (<c>nvme0c0n1</c>) has the disk's name and the controller's number.</summary>
    public static string DiskOf(string controller) => $"ls /sys/bus/pci/devices/{controller}/nvme/nvme* | grep -E '^nvme[0-9]+(c[0-9]+)?n[0-9]+$' | sed 's/c[0-9]*n/n/'";

    /// <summary>The groups that have a file, as VFIO shows them.</summary>
    public async Task<int[]> VfioGroupsAsync() =>
    [
        .. (await lab.RunAsync("ls /dev/vfio 2>/dev/null | grep -E '^[0-9]+$' || true").ConfigureAwait(false))
            .Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => int.Parse(line, CultureInfo.InvariantCulture)),
    ];

    /// <summary>The group of a device.</summary>
    public async Task<int> GroupAsync(string address) =>
        int.Parse(await lab.RunAsync($"basename $(readlink /sys/bus/pci/devices/{address}/iommu_group)").ConfigureAwait(false), CultureInfo.InvariantCulture);

    /// <summary>The VFIO files that a process holds, as their link targets.</summary>
    public async Task<string[]> VfioFilesAsync(int pid) =>
        (await lab.RunAsync($"readlink /proc/{pid}/fd/* | grep -E '^/dev/(vfio|iommu)' || true").ConfigureAwait(false)).Split('\n', StringSplitOptions.RemoveEmptyEntries);

    /// <summary>The containers with a group in them that a process holds: container files, or groups whose devices it has in iommufd contexts.</summary>
    public async Task<int> ContainersAsync(int pid) => int.Parse(await lab.RunAsync($$"""
        files=$(readlink /proc/{{pid}}/fd/*)
        containers=$(grep -c '^/dev/vfio/vfio$' <<<"$files" || true)
        groups=$(for node in $(sed -n 's,^/dev/vfio/devices/,,p' <<<"$files"); do readlink /sys/class/vfio-dev/$node/device/iommu_group; done | sort -u | wc -l)
        [ "$(grep -c '^/dev/iommu$' <<<"$files")" -ge "$groups" ] || exit 1
        echo $((containers + groups))
        """).ConfigureAwait(false), CultureInfo.InvariantCulture);

    /// <summary>The files of VFIO and iommufd that a user may open, but for the container file: it is everybody's, being harmless without a group.</summary>
    public Task<string> NodesOfAsync(string uid) => lab.RunAsync($$"""find /dev/vfio /dev/iommu -type c "(" -user {{uid}} -o -perm /o=rw ")" ! -path /dev/vfio/vfio 2>/dev/null || true""");

    /// <summary>A process's start time, which with its pid names it for good.</summary>
    public Task<string> StartTimeAsync(int pid) => lab.RunAsync($"sed 's/.*) //' /proc/{pid}/stat | cut -d' ' -f20");

    /// <summary>The first two bytes of a device's configuration space: its vendor id, or ffff if it does not answer.</summary>
    public async Task<string> VendorAsync(string address) =>
        (await lab.RunAsync($"od -An -N2 -tx2 /sys/bus/pci/devices/{address}/config").ConfigureAwait(false)).Trim();

    /// <summary>Waits until a guest's console has a line that matches an extended regular expression, after a number of lines seen before.</summary>
    /// <returns>The line.</returns>
    public async Task<string> ConsoleAsync(string guest, string pattern, int afterLine = 0, int seconds = 300)
    {
        string file = $"{HubInLab.Data}/guests/{guest}/console.log";
        return (await lab.RunAsync($$"""
            end=$((SECONDS + {{seconds}}))
            while [ $SECONDS -lt $end ]; do
              line=$(tail -n +{{afterLine + 1}} {{file}} 2>/dev/null | tr -d '\r' | grep -a -m1 -E '{{pattern}}') && { echo "$line"; exit 0; }
              sleep 0.5
            done
            echo "the console of {{guest}} has no line like '{{pattern}}'; its last:" >&2; tail -n 15 {{file}} >&2; exit 1
            """, TimeSpan.FromSeconds(seconds + 30)).ConfigureAwait(false)).Trim();
    }

    /// <summary>How many lines a guest's console has.</summary>
    public async Task<int> ConsoleLinesAsync(string guest) =>
        int.Parse(await lab.RunAsync($"wc -l <{HubInLab.Data}/guests/{guest}/console.log").ConfigureAwait(false), CultureInfo.InvariantCulture);
}
