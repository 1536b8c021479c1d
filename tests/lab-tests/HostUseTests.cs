using System.Text.Json.Nodes;
using AssignHub.Lab;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>The service in the hostuse lab, started once for all tests of a class.</summary>
public sealed class HostUseHub(HostUseLab lab) : IAsyncLifetime
{
    public HubInLab Hub { get; } = new(lab.Host, Repository.Service);

    public Task InitializeAsync() => Hub.StartAsync();

    public async Task DisposeAsync()
    {
        await Hub.StopAsync();
        await lab.Host.RunAsync($"rm -rf {HubInLab.Data}");
    }
}

/// <summary>
/// What the host uses is refused with the evidence, and nothing is touched. The remedies of the refusal, run as they stand, clear the way; then
/// the same device can be claimed. Each use is set up with the machine's own tools.
/// </summary>
[Collection("hostuse lab")]
public sealed class HostUseTests(HostUseLab lab, HostUseHub hub) : IClassFixture<HostUseHub>, IDisposable
{
    private const string Plain = "0000:01:00.0";
    private const string Vault = "0000:02:00.0";
    private const string MirrorA = "0000:03:00.0";
    private const string MirrorB = "0000:04:00.0";
    private const string NicA = "0000:05:00.0";
    private const string NicB = "0000:06:00.0";
    private const string Edu = "0000:07:00.0";
    private const string SharedEdu = "0000:09:01.0";
    private const string SharedNic = "0000:09:02.0";

    private readonly KernelView _kernel = new(lab.Host);
    private readonly HubClient _client = hub.Hub.Client();

    public void Dispose() => _client.Dispose();

    [Fact]
    public async Task Claim_OfAMountedDisk_IsRefusedUntilItIsUnmounted()
    {
        string disk = await DiskAsync(Plain);
        await lab.Host.RunAsync($"mke2fs -q -F -t ext4 /dev/{disk} && mkdir -p '/mnt/plain disk' && mount /dev/{disk} '/mnt/plain disk'");

        await RefusedUntilUndoneAsync(Plain, Plain, $"{disk} is mounted at /mnt/plain disk");
    }

    [Fact]
    public async Task Claim_OfADiskWithAVolumeOnACryptDevice_IsRefusedUntilTheStackIsTakenDown()
    {
        string disk = await DiskAsync(Vault);
        // Few iterations: the key derivation is of no interest here, and slow under emulation.
        await lab.Host.RunAsync($"""
            set -e
            printf secret | cryptsetup luksFormat -q --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/{disk} -
            printf secret | cryptsetup open --key-file - /dev/{disk} vault-crypt
            vgcreate -q vault-group /dev/mapper/vault-crypt
            # Without udev the new node is not waited for; it is made after.
            export DM_DISABLE_UDEV=1
            lvcreate -q -y -Wn -Zn -n data -l 100%FREE vault-group
            vgmknodes -q vault-group
            mke2fs -q -F -t ext4 /dev/vault-group/data
            mkdir -p /mnt/vault
            mount /dev/vault-group/data /mnt/vault
            """);

        await RefusedUntilUndoneAsync(
            Vault,
            Vault,
            $"the logical volume vault-group/data on the encrypted device vault-crypt on {disk} is mounted at /mnt/vault",
            $"the encrypted device vault-crypt on {disk} is part of the logical volume vault-group/data",
            $"{disk} is part of the encrypted device vault-crypt");
    }

    [Fact]
    public async Task Claim_OfAMirrorsDisk_IsRefusedForEitherUntilTheMirrorIsStopped()
    {
        string a = await DiskAsync(MirrorA);
        string b = await DiskAsync(MirrorB);
        await lab.Host.RunAsync($"""
            set -e
            mdadm --quiet --create /dev/md0 --run --level=1 --raid-devices=2 --metadata=1.2 --assume-clean /dev/{a} /dev/{b}
            mke2fs -q -F -t ext4 /dev/md0
            mkdir -p /mnt/mirror
            mount /dev/md0 /mnt/mirror
            """);

        await RefusedAsync(MirrorB, MirrorB, $"the RAID array md0 on {b} is mounted at /mnt/mirror", $"{b} is part of the RAID array md0");
        await RefusedUntilUndoneAsync(MirrorA, MirrorA, $"the RAID array md0 on {a} is mounted at /mnt/mirror", $"{a} is part of the RAID array md0");
        await _client.ClaimAndReleaseAsync(MirrorB);
    }

    [Fact]
    public async Task Claim_OfASwappedDisk_IsRefusedUntilSwapIsOff()
    {
        string disk = await DiskAsync(Plain);
        await lab.Host.RunAsync($"mkswap -f /dev/{disk} && swapon /dev/{disk}");

        await RefusedUntilUndoneAsync(Plain, Plain, $"{disk} is swapped on");
    }

    [Fact]
    public async Task Claim_OfANicWithTheDefaultRoute_IsRefusedUntilTheRouteIsGone()
    {
        string nic = await NicAsync(NicA);
        // Beside the lab's own default route, and behind it.
        await lab.Host.RunAsync($"ip link set {nic} up && ip route add default dev {nic} metric 500");

        await RefusedUntilUndoneAsync(NicA, NicA, $"{nic} carries a default route");
    }

    [Fact]
    public async Task Claim_OfANicUpWithAddresses_IsRefusedUntilItIsDown()
    {
        string nic = await NicAsync(NicA);
        await lab.Host.RunAsync($"ip addr add 192.0.2.2/24 dev {nic} && ip addr add 2001:db8::2/64 dev {nic} nodad && ip link set {nic} up");

        await RefusedUntilUndoneAsync(NicA, NicA, $"{nic} is up with 192.0.2.2, 2001:db8::2");
    }

    [Fact]
    public async Task Claim_OfABridgesNicInAnotherNamespace_IsRefusedUntilItIsMovedBack()
    {
        string nic = await NicAsync(NicB);
        await lab.Host.RunAsync($"""
            set -e
            ip netns add elsewhere
            ip link set {nic} netns elsewhere
            ip -n elsewhere link add br0 type bridge
            ip -n elsewhere link set {nic} master br0 up
            """);

        await RefusedUntilUndoneAsync(NicB, NicB, $"its interface {nic} is in the network namespace elsewhere");

        await lab.Host.RunAsync("ip netns del elsewhere");
    }

    [Fact]
    public async Task Claim_OfANicInTheNamespaceOfAProcess_IsRefusedUntilItIsMovedBack()
    {
        string nic = await NicAsync(NicB);
        string pid = (await lab.Host.RunAsync("setsid unshare --net sleep 300 </dev/null >/dev/null 2>&1 & echo $!; sleep 1")).Trim();
        await lab.Host.RunAsync($"ip link set {nic} netns {pid}");

        await RefusedUntilUndoneAsync(NicB, NicB, $"its interface {nic} is in the network namespace of process {pid}");

        await lab.Host.RunAsync($"kill {pid}");
    }

    [Fact]
    public async Task Claim_OfABondsNic_IsRefusedUntilItLeavesTheBond()
    {
        string nic = await NicAsync(NicB);
        await lab.Host.RunAsync($"modprobe bonding max_bonds=0 && ip link add bond7 type bond && ip link set {nic} down && ip link set {nic} master bond7");

        await RefusedUntilUndoneAsync(NicB, NicB, $"{nic} is a member of the bond bond7");

        await lab.Host.RunAsync("ip link del bond7");
    }

    [Fact]
    public async Task Claim_OfADiskThatAProcessHasOpen_IsRefusedUntilItEnds() => await RefusedWhileHeldAsync(Plain, $"/dev/{await DiskAsync(Plain)}");

    [Fact]
    public Task Claim_OfADeviceWhoseBarAProcessHasOpen_IsRefusedUntilItEnds() =>
        RefusedWhileHeldAsync(Edu, $"/sys/devices/pci0000:00/0000:00:07.0/{Edu}/resource0");

    [Fact]
    public async Task Claim_OfAHarmlessDeviceBesideAUsedOne_IsRefusedNamingTheUsedOne()
    {
        string nic = await NicAsync(SharedNic);
        await lab.Host.RunAsync($"ip addr add 198.51.100.2/24 dev {nic} && ip link set {nic} up");

        await RefusedUntilUndoneAsync(SharedEdu, SharedNic, $"{nic} is up with 198.51.100.2");
    }

    /// <summary>A claim of a device is refused for the uses of another, or the same, of its group, until the remedies are followed to the letter.</summary>
    private async Task RefusedUntilUndoneAsync(string device, string used, params string[] evidence)
    {
        string driver = await _kernel.DriverAsync(used);
        JsonArray refusals = await RefusedAsync(device, used, evidence);
        HubAnswer shown = await _client.GetAsync($"/v1/devices/{used}");
        Assert.Equal(evidence, shown.Body!["hostUse"]!.AsArray().Select(use => (string?)use!["detail"]));
        foreach (JsonNode? refusal in refusals)
        {
            await lab.Host.RunAsync((string)refusal!["remedy"]!);
        }

        await _client.ClaimAndReleaseAsync(device);
        Assert.Equal(driver, await _kernel.DriverAsync(used));
    }

    /// <summary>A claim is refused, in the dry run as in the real one, with this evidence and nothing else; the kernel shows no trace of it.</summary>
    private async Task<JsonArray> RefusedAsync(string device, string used, params string[] evidence)
    {
        string before = await _kernel.BindingsAsync();
        var body = new JsonObject { ["device"] = device };
        HubAnswer dry = await _client.PostAsync("/v1/containers?dryRun=true", body);
        HubAnswer real = await _client.PostAsync("/v1/containers", body);
        string after = await _kernel.BindingsAsync();

        foreach (HubAnswer answer in (HubAnswer[])[dry, real])
        {
            Assert.Equal((409, "device_in_use_by_host"), ((int)answer.Status, answer.Code));
            JsonArray refusals = answer.Body!["refusals"]!.AsArray();
            Assert.Equal(evidence.Select(use => $"The host uses {used}: {use}."), refusals.Select(refusal => (string?)refusal!["message"]));
            Assert.All(refusals, refusal => Assert.Equal(used, (string?)refusal!["subject"]));
        }

        Assert.Equal(before, after);
        return real.Body!["refusals"]!.AsArray();
    }

    private async Task RefusedWhileHeldAsync(string device, string file)
    {
        string pid = await lab.Host.HoldAsync(file);

        JsonArray refusals = await RefusedAsync(device, device, $"sleep (process {pid}) has {file} open");
        await lab.Host.RunAsync((string)Assert.Single(refusals)!["remedy"]!);
        await lab.Host.EndedAsync(pid);
        await _client.ClaimAndReleaseAsync(device);
    }

    private async Task<string> DiskAsync(string controller) => (await lab.Host.RunAsync(KernelView.DiskOf(controller))).Trim();

    private async Task<string> NicAsync(string nic) => (await lab.Host.RunAsync($"ls /sys/bus/pci/devices/{nic}/net")).Trim();
}
