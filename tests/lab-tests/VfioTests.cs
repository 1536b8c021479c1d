using System.Globalization;
using AssignHub.Lab;
using Xunit.Abstractions;

namespace AssignHub.Tests.Lab;

/// <summary>A lab whose endpoints are bound to vfio-pci, and the program that drives them there (tests/vfio-probe).</summary>
public abstract class VfioLab(LabBackend backend, IMessageSink messages) : LabFixture("vfio", messages, backend)
{
    public const string Disk = "0000:01:00.0";
    public const string Edu = "0000:03:01.0";
    public const string Nic = "0000:03:02.0";

    public override async Task InitializeAsync()
    {
        await base.InitializeAsync();
        await Host.RunAsync("modprobe vfio-pci");
        foreach (string address in new[] { Disk, Edu, Nic })
        {
            await BindAsync(address, "vfio-pci");
        }
    }

    public async Task<string> GroupAsync(string address) =>
        (await Host.RunAsync($"basename $(readlink /sys/bus/pci/devices/{address}/iommu_group)")).Trim();

    /// <summary>Runs the probe and gives what it said, by name.</summary>
    public async Task<Dictionary<string, string>> ProbeAsync(params string[] arguments)
    {
        string program = Path.Combine(AppContext.BaseDirectory, "vfio-probe.dll");
        ExecResult result = await Host.ExecAsync(["dotnet", program, .. arguments], TimeSpan.FromMinutes(8));
        Assert.True(result.ExitCode is 0 or 1, $"status {result.ExitCode}\n{result.Output}\n{result.Error}");
        return result.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(line => line.Split(": ", 2)).ToDictionary(parts => parts[0], parts => parts[1], StringComparer.Ordinal);
    }
}

public sealed class Type1VfioLab(IMessageSink messages) : VfioLab(LabBackend.Type1, messages);

public sealed class IommufdVfioLab(IMessageSink messages) : VfioLab(LabBackend.Iommufd, messages);

[CollectionDefinition("type1 vfio lab")]
public sealed class Type1VfioLabs : ICollectionFixture<Type1VfioLab>;

[CollectionDefinition("iommufd vfio lab")]
public sealed class IommufdVfioLabs : ICollectionFixture<IommufdVfioLab>;

/// <summary>The engine's VFIO driver on a real kernel, with devices that do real DMA and raise real interrupts: what is the same with every backend.</summary>
public abstract class VfioTests(VfioLab lab, string backend)
{
    [Fact]
    public async Task Groups_OfTheTopology_AreThosePromised()
    {
        string listing = await lab.Host.RunAsync("cd /sys/kernel/iommu_groups; for g in *; do echo $(ls $g/devices); done");
        Assert.All(lab.Topology.Promises.Groups, promised => Assert.Contains(string.Join(' ', promised), listing.Split('\n')));
    }

    [Fact]
    public async Task Edu_InterruptAndDma_WorkAndStayInsideTheContainer()
    {
        Dictionary<string, string> seen = await lab.ProbeAsync("edu", await lab.GroupAsync(VfioLab.Edu), VfioLab.Edu);

        Assert.Equal("010000ed", seen["id"]);
        Assert.Equal("12345", seen["interrupt"]);
        Assert.Equal("equal", seen["dma"]);
        Assert.Equal("unchanged", seen["unmapped"]);
        Assert.Equal("unchanged", seen["read-only"]);
        string log = await lab.Host.KernelLogAsync();
        Assert.Contains(log.Split('\n'), line => line.Contains("DMAR: [DMA Write", StringComparison.Ordinal) && line.Contains("fault addr 0x100000", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Nvme_RegistersMapped_AreThoseReadThroughTheDescriptorAndZeroAfterAReset()
    {
        Dictionary<string, string> seen = await lab.ProbeAsync("registers", await lab.GroupAsync(VfioLab.Disk), VfioLab.Disk);

        Assert.Equal(seen["read"], seen["mapped"]);
        Assert.NotEqual("00000000", seen["mapped"].Split(' ')[0]);
        Assert.NotEqual("ffffffff", seen["mapped"].Split(' ')[0]);

        // CC and CSTS: enabled and ready before the function reset, zero after.
        Assert.Equal("00460001 00000001", seen["enabled"]);
        Assert.Equal("00000000 00000000", seen["reset"]);
    }

    [Fact]
    public async Task Nvme_ResetByItselfAndByItsBus_Answers()
    {
        string group = await lab.GroupAsync(VfioLab.Disk);

        Dictionary<string, string> seen = await lab.ProbeAsync("reset", group, VfioLab.Disk);

        Assert.StartsWith("done", seen["own"], StringComparison.Ordinal);
        Assert.Equal(VfioLab.Disk, seen["dependent"]);
        Assert.StartsWith("done", seen["bus"], StringComparison.Ordinal);
        Assert.Equal("same", seen["id"]);
    }

    [Fact]
    public async Task Edu_WithoutResetOfItsOwn_IsResetWithItsBusOnly()
    {
        string group = await lab.GroupAsync(VfioLab.Edu);

        Dictionary<string, string> seen = await lab.ProbeAsync("reset", group, VfioLab.Edu);

        Assert.Contains("no reset of its own", seen["own"], StringComparison.Ordinal);
        Assert.Equal($"{VfioLab.Edu} {VfioLab.Nic}", seen["dependent"]);
        Assert.StartsWith("done", seen["bus"], StringComparison.Ordinal);
        Assert.Equal("same", seen["id"]);
    }

    [Fact]
    public async Task Proof_WholeGroup_ReportsItsIommuAndDevices()
    {
        Dictionary<string, string> seen = await lab.ProbeAsync("proof", await lab.GroupAsync(VfioLab.Edu), VfioLab.Edu, VfioLab.Nic);

        using var proof = System.Text.Json.JsonDocument.Parse(seen["proof"]);
        System.Text.Json.JsonElement iommu = proof.RootElement.GetProperty("iommu");
        Assert.Equal(backend, iommu.GetProperty("backend").GetString());
        Assert.Contains(4096UL, iommu.GetProperty("pageSizesBytes").EnumerateArray().Select(size => size.GetUInt64()));

        // The interrupt window 0xfee00000 to 0xfeefffff of x86 is in no usable range.
        Assert.DoesNotContain(iommu.GetProperty("iovaRanges").EnumerateArray(), range =>
            range.GetProperty("start").GetUInt64() <= 0xfee00000 && range.GetProperty("end").GetUInt64() >= 0xfee00000);
        Assert.Equal([VfioLab.Edu, VfioLab.Nic], proof.RootElement.GetProperty("devices").EnumerateArray().Select(device => device.GetProperty("address").GetString()));
    }

    [Fact]
    public async Task Container_OpenedManyTimes_LeavesNothingOpen()
    {
        int cycles = Environment.GetEnvironmentVariable("ASSIGNHUB_TESTS_LONG") is null ? 50 : 500;

        Dictionary<string, string> seen = await lab.ProbeAsync(
            "cycles", await lab.GroupAsync(VfioLab.Edu), VfioLab.Edu, VfioLab.Nic, cycles.ToString(CultureInfo.InvariantCulture));

        Assert.Equal(cycles.ToString(CultureInfo.InvariantCulture), seen["cycles"]);
        Assert.Equal(seen["first"], seen["last"]);
        Assert.Contains("vfio 0, eventfd 0,", seen["last"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Proof_SiblingOnItsHostDriver_IsRefusedAsNotViable()
    {
        string group = await lab.GroupAsync(VfioLab.Edu);
        await lab.BindAsync(VfioLab.Nic, "e1000");
        try
        {
            Dictionary<string, string> seen = await lab.ProbeAsync("proof", group, VfioLab.Edu);

            Assert.Equal($"{(backend == "iommufd" ? "VFIO_DEVICE_BIND_IOMMUFD" : "VFIO_GROUP_SET_CONTAINER")} EPERM", seen["fault"]);
            Assert.Contains("not viable", seen["words"], StringComparison.Ordinal);
        }
        finally
        {
            await lab.BindAsync(VfioLab.Nic, "vfio-pci");
        }
    }
}

/// <summary>The same through the group's file, and what is refused there.</summary>
[Collection("type1 vfio lab")]
public sealed class Type1VfioTests(Type1VfioLab lab) : VfioTests(lab, "type1v2")
{
    [Fact]
    public async Task Proof_GroupThatIsNotThere_SaysThatNothingIsBound()
    {
        Dictionary<string, string> seen = await lab.ProbeAsync("proof", "999");

        Assert.Equal("open ENOENT", seen["fault"]);
        Assert.Contains("no device of this group is bound to vfio-pci", seen["words"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Container_WhatTheKernelRefuses_IsToldInWords()
    {
        Dictionary<string, string> seen = await lab.ProbeAsync("refusals", await lab.GroupAsync(VfioLab.Disk));

        Assert.Equal(("Free", "Held", "Free"), (seen["before"], seen["open"], seen["after"]));
        Assert.Contains("another process holds the group", seen["second"], StringComparison.Ordinal);
        Assert.Contains("EEXIST", seen["overlap"], StringComparison.Ordinal);
        Assert.Contains("not inside", seen["hole"], StringComparison.Ordinal);
        Assert.Contains("multiples", seen["unaligned"], StringComparison.Ordinal);
    }
}

/// <summary>The same through device files and an iommufd.</summary>
[Collection("iommufd vfio lab")]
public sealed class IommufdVfioTests(IommufdVfioLab lab) : VfioTests(lab, "iommufd")
{
    [Fact]
    public async Task Support_OfTheKernel_NamesEveryBackendAndTakesIommufd()
    {
        Dictionary<string, string> seen = await lab.ProbeAsync("support");

        Assert.Contains("\"preferred\":\"iommufd\"", seen["support"], StringComparison.Ordinal);
        Assert.Contains("\"offered\":[\"iommufd\",\"type1v2\",\"type1\"]", seen["support"], StringComparison.Ordinal);
    }
}
