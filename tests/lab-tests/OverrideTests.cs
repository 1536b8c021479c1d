using System.Text.Json.Nodes;
using AssignHub.Lab;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>Overrides of host use: what they lift and what then becomes of the use, and what they never lift.</summary>
[Collection("hostuse lab")]
public sealed class OverrideTests(HostUseLab lab) : HubTests(lab)
{
    private const string Disk = "0000:01:00.0";
    private const string Override = $"/v1/devices/{Disk}/override";

    [Fact]
    public async Task Claim_OfAMountedDiskByOverride_BreaksTheMountAsTheWarningSaysAndKeepsWhatWasWritten()
    {
        await MountAsync("/mnt/taken");
        await Host.RunAsync("echo written >/mnt/taken/file && sync");
        using HubClient client = Hub.Client();
        var claim = new JsonObject { ["device"] = Disk };
        HubAnswer given = await GiveAsync(client);
        Assert.Equal((200, "it moves to a guest", true), ((int)given.Status, (string?)given.Body!["override"]!["reason"], (bool)given.Body["assignable"]!));

        // Ended before its time, it lifts nothing.
        Assert.Equal(204, (int)(await client.DeleteAsync(Override)).Status);
        Assert.Equal("device_in_use_by_host", (await client.PostAsync("/v1/containers", claim)).Code);
        await GiveAsync(client);
        HubAnswer plan = await client.PostAsync("/v1/containers?dryRun=true", claim);
        string warning = (string)Assert.Single(plan.Body!["warnings"]!.AsArray())!;
        Assert.Contains("is mounted at /mnt/taken", warning, StringComparison.Ordinal);
        Assert.Contains("umount /mnt/taken", warning, StringComparison.Ordinal);

        HubAnswer claimed = await client.PostAsync("/v1/containers", claim);
        Assert.Equal(201, (int)claimed.Status);
        Assert.Equal("vfio-pci", await Kernel.DriverAsync(Disk));
        Assert.Contains(" /mnt/taken ext4 ", await Host.RunAsync("cat /proc/mounts"), StringComparison.Ordinal);
        Assert.NotEqual(0, (await Host.ExecAsync("cat /mnt/taken/file")).ExitCode);
        Assert.NotEqual(0, (await Host.ExecAsync("echo more >/mnt/taken/other && sync /mnt/taken/other")).ExitCode);

        Assert.Equal(204, (int)(await client.DeleteAsync($"/v1/containers/{(string?)claimed.Body!["id"]}")).Status);
        Assert.NotEqual(0, (await Host.ExecAsync("cat /mnt/taken/file")).ExitCode);
        await Host.RunAsync("umount /mnt/taken");
        await MountAsync("/mnt/taken", make: false);
        Assert.Equal("written\n", await Host.RunAsync("cat /mnt/taken/file; umount /mnt/taken"));

        HubAnswer events = await client.GetAsync("/v1/events?limit=1000");
        JsonNode told = events.Body!["items"]!.AsArray().Last(happened => (string?)happened!["kind"] == "recordOverride")!;
        Assert.Equal((Disk, "admin"), ((string?)told["subject"], (string?)told["actor"]));
        Assert.StartsWith("it moves to a guest (until ", (string?)told["data"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Put_ForWhatTheRootFileSystemIsOn_IsRefusedAndSaysSo()
    {
        string share = (await Host.RunAsync("cd /sys/bus/pci/devices; grep -l machine */virtio*/mount_tag | cut -d/ -f1")).Trim();
        using HubClient client = Hub.Client();

        HubAnswer refused = await GiveAsync(client, $"/v1/devices/{share}/override");

        Assert.Equal((409, "device_in_use_by_host"), ((int)refused.Status, refused.Code));
        Assert.Contains("No override lifts that, for the root file system is there.", refused.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Put_ForTheDiskOfTheServicesOwnData_IsRefusedAndSaysSo()
    {
        await Hub.StopAsync();
        await MountAsync(HubInLab.Data);
        await Hub.StartAsync();
        using (HubClient client = Hub.Client())
        {
            HubAnswer refused = await GiveAsync(client);

            Assert.Equal((409, "device_in_use_by_host"), ((int)refused.Status, refused.Code));
            Assert.Contains("No override lifts that, for AssignHub's data directory is there.", refused.Text, StringComparison.Ordinal);
            HubAnswer shown = await client.GetAsync($"/v1/devices/{Disk}");
            Assert.False((bool)Assert.Single(shown.Body!["hostUse"]!.AsArray())!["overridable"]!);
        }

        await Hub.StopAsync();
        await Host.RunAsync($"umount {HubInLab.Data}");
        await Hub.StartAsync();
    }

    private static Task<HubAnswer> GiveAsync(HubClient client, string path = Override) => client.SendAsync(
        HttpMethod.Put, path, new JsonObject { ["reason"] = "it moves to a guest", ["expiresInSeconds"] = 600 });

    /// <summary>Mounts the disk, which has another name after each release, with a new file system or the one that it has.</summary>
    private Task<string> MountAsync(string point, bool make = true) => Host.RunAsync($"""
        set -e
        disk=/dev/$({KernelView.DiskOf(Disk)})
        {(make ? "mke2fs -q -F -t ext4 $disk" : "")}
        mkdir -p {point}
        mount $disk {point}
        """);
}
