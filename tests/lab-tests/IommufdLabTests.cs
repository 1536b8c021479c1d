// The lab whose kernel has iommufd: a kernel of the lab's own, and all that a distribution's has which the lab promises.

using System.Globalization;
using AssignHub.Lab;
using AssignHub.Story;

namespace AssignHub.Tests.Lab;

[Collection("iommufd lab")]
public sealed class IommufdPromises(IommufdLab lab) : TopologyPromises(lab);

/// <summary>The lab's own kernel, without AssignHub.</summary>
[Collection("iommufd lab")]
public sealed class IommufdLabTests(IommufdLab lab)
{
    private const string Nic = "0000:01:00.0";

    [Theory]
    [InlineData("iommufd")]
    [InlineData("vfio-pci")]
    [InlineData("vfio_iommu_type1")]
    [InlineData("kvm_amd")]
    public async Task Module_OfTheKernel_IsAFile(string name) =>
        await lab.Host.RunAsync($"test -f $(modinfo -F filename {name})");

    [Fact]
    public async Task Iommufd_Loaded_HasItsNode() => await lab.Host.RunAsync("modprobe iommufd && test -c /dev/iommu");

    [Fact]
    public async Task Device_OnVfioPci_HasANodeOfItsOwnBesideItsGroups()
    {
        await OnVfioAsync(async () =>
        {
            string node = await NodeAsync();
            int group = await new KernelView(lab.Host).GroupAsync(Nic);
            await lab.Host.RunAsync($"test -c /dev/vfio/devices/{node} && test -c /dev/vfio/{group} && test -c /dev/vfio/vfio");
        });

        Assert.Equal("", await lab.Host.RunAsync("ls /dev/vfio/devices 2>/dev/null || true"));
    }

    [Theory]
    [InlineData(LabBackend.Type1)]
    [InlineData(LabBackend.Iommufd)]
    public async Task SmallGuest_WithTheNicByEitherBackend_DrivesIt(LabBackend backend)
    {
        await OnVfioAsync(async () =>
        {
            var kernel = new KernelView(lab.Host);
            string[] nodes = backend == LabBackend.Iommufd
                ? ["/dev/iommu", "/dev/vfio/devices/" + await NodeAsync()]
                : [$"/dev/vfio/{await kernel.GroupAsync(Nic)}", "/dev/vfio/vfio"];
            string options = backend == LabBackend.Iommufd ? "-object iommufd,id=context -device vfio-pci,iommufd=context" : "-device vfio-pci";

            int pid = int.Parse(await lab.Host.RunAsync($"""
                setsid qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot -accel kvm -cpu host -machine q35 -m 256M \
                  -kernel {LabAssets.GuestKernel} -initrd {LabAssets.GuestInitrd} -append '{LabAssets.GuestCommandLine}' -serial file:/run/small.console \
                  -device pcie-root-port,id=below,chassis=1,slot=1 {options},host={Nic},bus=below </dev/null >/run/small.log 2>&1 &
                echo $!
                """), CultureInfo.InvariantCulture);
            try
            {
                await lab.Host.RunAsync($"""
                    for i in $(seq 240); do
                      kill -0 {pid} 2>/dev/null || break
                      grep -q 'guest: pci 0000:01:00.0 8086:10d3 driver e1000e' /run/small.console 2>/dev/null && exit 0
                      sleep 0.25
                    done
                    cat /run/small.log /run/small.console; exit 1
                    """);

                Assert.Contains("guest: ready", await lab.Host.RunAsync("cat /run/small.console"), StringComparison.Ordinal);
                Assert.Equal(nodes, (await kernel.VfioFilesAsync(pid)).Order(StringComparer.Ordinal));
            }
            finally
            {
                await lab.Host.RunAsync($"kill -KILL {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.05; done; rm -f /run/small.*");
            }
        });
    }

    private async Task OnVfioAsync(Func<Task> act)
    {
        await lab.Host.RunAsync("modprobe vfio-pci");
        await lab.BindAsync(Nic, "vfio-pci");
        try
        {
            await act();
        }
        finally
        {
            await lab.BindAsync(Nic, "e1000e");
            await lab.Host.RunAsync($"echo >/sys/bus/pci/devices/{Nic}/driver_override");
        }
    }

    private async Task<string> NodeAsync() => (await lab.Host.RunAsync($"ls /sys/bus/pci/devices/{Nic}/vfio-dev")).Trim();
}
