using System.Text.Json.Nodes;
using AssignHub.Lab;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

/// <summary>What the doctor says of a host that can assign, with a real kernel, QEMU and KVM to be asked.</summary>
[Collection("sample lab")]
public sealed class DoctorTests(SampleLab lab) : HubTests(lab)
{
    [Fact]
    public async Task Doctor_OnAHostThatCanAssign_SaysSoAndTheApiTheSame()
    {
        ExecResult told = await Host.ExecAsync($"'{Repository.Service}' doctor --json --data {HubInLab.Data}");
        using HubClient client = Hub.Client();
        HubAnswer host = await client.GetAsync("/v1/host");

        Assert.True(told.ExitCode == 0, told.Output + told.Error);
        JsonNode doctor = JsonNode.Parse(told.Output)!;
        Assert.True((bool)doctor["canAssign"]!);
        Assert.True((bool)host.Body!["canAssign"]!, host.Text);
        Assert.Equal(Names(doctor), Names(host.Body));
        // What a claim proves the other way round: without them the kernel refuses the container, or QEMU the guest.
        foreach (string name in (string[])["cpuVirtualization", "kvm", "qemu", "iommu", "interruptRemapping", "vfio", "permissions"])
        {
            Assert.Equal("ok", StatusOf(doctor, name));
        }
    }

    [Fact]
    public async Task Doctor_WithoutKvmAndQemu_SaysWhatIsMissingAndWhatToInstall()
    {
        // In a mount namespace of its own: the lab keeps both.
        ExecResult told = await Host.ExecAsync($"""
            unshare --mount bash -c '
              mount --bind /dev/null /dev/kvm
              mount -t tmpfs none /run/lock
              printf "#!/bin/sh\nexit 127\n" >/run/lock/qemu; chmod 755 /run/lock/qemu
              mount --bind /run/lock/qemu "$(readlink -f "$(command -v qemu-system-x86_64)")"
              exec "{Repository.Service}" doctor --data {HubInLab.Data}'
            """);

        Assert.Equal(1, told.ExitCode);
        Assert.Contains("FAILED", told.Output, StringComparison.Ordinal);
        Assert.Contains("QEMU", told.Output, StringComparison.Ordinal);
    }

    private static string[] Names(JsonNode host) => [.. host["checks"]!.AsArray().Select(check => (string)check!["name"]!)];

    private static string? StatusOf(JsonNode host, string name) =>
        (string?)Assert.Single(host["checks"]!.AsArray(), check => (string?)check!["name"] == name)!["status"];
}
