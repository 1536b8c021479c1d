using AssignHub.Lab;

namespace AssignHub.Tests.Lab;

/// <summary>What a topology file promises is what the lab's kernel shows.</summary>
public abstract class TopologyPromises(LabFixture lab)
{
    [Fact]
    public async Task Groups_AfterBoot_AreThosePromised()
    {
        string listing = await lab.Host.RunAsync("cd /sys/kernel/iommu_groups; for g in *; do echo $(ls $g/devices); done");
        string[] groups = listing.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.NotEmpty(lab.Topology.Promises.Groups);
        Assert.All(lab.Topology.Promises.Groups, promised => Assert.Contains(string.Join(' ', promised), groups));
    }

    [Fact]
    public async Task Drivers_AfterBoot_AreThosePromised()
    {
        string listing = await lab.Host.RunAsync("""
            for d in /sys/bus/pci/devices/*; do
                driver=$(readlink $d/driver) || driver=none
                echo ${d##*/} ${driver##*/}
            done
            """);
        string[] drivers = listing.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.NotEmpty(lab.Topology.Promises.Drivers);
        Assert.All(lab.Topology.Promises.Drivers, promised => Assert.Contains($"{promised.Key} {promised.Value}", drivers));
    }
}

[Collection("sample lab")]
public sealed class SamplePromises(SampleLab lab) : TopologyPromises(lab);

[Collection("shpc lab")]
public sealed class ShpcPromises(ShpcLab lab) : TopologyPromises(lab);

[Collection("switch lab")]
public sealed class SwitchPromises(SwitchLab lab) : TopologyPromises(lab);

[Collection("functions lab")]
public sealed class FunctionsPromises(FunctionsLab lab) : TopologyPromises(lab);

[Collection("hostuse lab")]
public sealed class HostUsePromises(HostUseLab lab) : TopologyPromises(lab);

[Collection("sriov lab")]
public sealed class SriovPromises(SriovLab lab) : TopologyPromises(lab)
{
    private readonly LabFixture _lab = lab;

    [Theory]
    [InlineData("0000:01:00.0", 2)]
    [InlineData("0000:02:00.0", 4)]
    public async Task VirtualFunctions_Enabled_HaveGroupsOfTheirOwn(string address, int count)
    {
        string listing = await _lab.Host.RunAsync($"""
            cd /sys/bus/pci/devices/{address}
            echo 0 >sriov_drivers_autoprobe
            echo {count} >sriov_numvfs
            for function in virtfn*; do echo $(ls $function/iommu_group/devices); done
            echo 0 >sriov_numvfs
            """);
        string[] groups = listing.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(count, groups.Length);
        Assert.All(groups, group => Assert.DoesNotContain(' ', group));
    }

    [Fact]
    public async Task NumaNode_OfTheFarDisk_IsTheSecond() =>
        Assert.Equal("1", (await _lab.Host.RunAsync("cat /sys/bus/pci/devices/0000:81:00.0/numa_node")).Trim());
}

/// <summary>Running commands in the lab, and what it has inside.</summary>
[Collection("sample lab")]
public sealed class LabHostTests(SampleLab lab)
{
    [Fact]
    public async Task Exec_Command_GivesStatusAndBothOutputs()
    {
        ExecResult result = await lab.Host.ExecAsync("echo out; echo err >&2; exit 7");
        Assert.Equal(new ExecResult(7, "out\n", "err\n"), result);
    }

    [Fact]
    public async Task Exec_KilledCommand_Gives128AndTheSignal() =>
        Assert.Equal(128 + 15, (await lab.Host.ExecAsync("kill -TERM $$")).ExitCode);

    [Fact]
    public async Task Exec_PastItsDeadline_EndsAllThatItStarted()
    {
        await Assert.ThrowsAsync<TimeoutException>(() => lab.Host.ExecAsync("sleep 4321 & sleep 4321", TimeSpan.FromSeconds(2)));
        await Task.Delay(500);
        ExecResult left = await lab.Host.ExecAsync("grep -l 'sleep.432[1]' /proc/[0-9]*/cmdline");
        Assert.Equal("", left.Output);
    }

    [Fact]
    public async Task Exec_ManyAtOnce_EachGetsItsOwnAnswer()
    {
        Task<string>[] all = [.. Enumerable.Range(0, 8).Select(n => lab.Host.RunAsync($"sleep 0.5; echo {n}"))];
        string[] answers = await Task.WhenAll(all);
        Assert.Equal(Enumerable.Range(0, 8).Select(n => $"{n}\n"), answers);
    }

    [Fact]
    public async Task Exec_LargeOutput_ArrivesWhole() =>
        Assert.Equal(1_000_000, (await lab.Host.RunAsync("head -c 1000000 /dev/zero | tr '\\0' x")).Length);

    [Fact]
    public async Task Exec_Daemon_LivesOnAfterTheCommand()
    {
        string pid = await lab.Host.RunAsync("setsid sleep 300 </dev/null >/dev/null 2>&1 & echo $!");
        await Task.Delay(300);
        await lab.Host.RunAsync($"kill -0 {pid.Trim()} && kill {pid.Trim()}");
    }

    [Fact]
    public async Task Run_FailingCommand_TellsAllOfIt()
    {
        LabException failure = await Assert.ThrowsAsync<LabException>(() => lab.Host.RunAsync("echo seen; echo why >&2; exit 3"));
        Assert.Contains("status 3", failure.Message, StringComparison.Ordinal);
        Assert.Contains("seen", failure.Message, StringComparison.Ordinal);
        Assert.Contains("why", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Machine_WritesInside_LeaveItUntouched()
    {
        string name = "/opt/assignhub-lab-test-" + Guid.NewGuid().ToString("N");
        await lab.Host.RunAsync($"mkdir -p /opt && echo changed >{name} && cat {name}");
        Assert.False(File.Exists(name));
    }

    [Fact]
    public async Task ApiUrl_ServerInside_Answers()
    {
        await lab.Host.RunAsync("""
            cd /run && mkdir -p web && echo hello >web/index.html
            setsid /run/lab/busybox httpd -f -p 8080 -h /run/web </dev/null >/dev/null 2>&1 &
            echo $! >web.pid
            """);
        using var client = new HttpClient { BaseAddress = lab.Host.ApiUrl };
        string answer = "";
        for (int attempt = 0; attempt < 50 && answer.Length == 0; attempt++)
        {
            try
            {
                answer = await client.GetStringAsync("index.html");
            }
            catch (HttpRequestException)
            {
                await Task.Delay(100);
            }
        }

        await lab.Host.RunAsync("kill $(cat /run/web.pid)");
        Assert.Equal("hello\n", answer);
    }

    [Fact]
    public async Task KernelLog_AfterBoot_HasTheIommu() =>
        Assert.Contains("DMAR: IOMMU enabled", await lab.Host.KernelLogAsync(), StringComparison.Ordinal);

    [Fact]
    public async Task Vfio_AfterBoot_IsThereButNotLoaded() =>
        await lab.Host.RunAsync("modinfo -F filename vfio-pci && test -c /dev/kvm && test -r " + LabAssets.GuestKernel + " && test -r " + LabAssets.GuestInitrd);

    [Fact]
    public async Task Disk_OfTheSample_StartsWithItsContent() =>
        Assert.Equal("assignhub-disk-0", await lab.Host.RunAsync("head -c 16 /dev/nvme0n1"));
}
