using AssignHub.Lab;
using Xunit.Abstractions;

// One lab at a time: two would only slow each other down on a small machine.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace AssignHub.Tests.Lab;

/// <summary>
/// A lab of one topology, booted once for all tests of a collection. A test class takes it with
/// <c>[Collection("sample lab")]</c> and a constructor parameter of type <see cref="SampleLab"/>.
/// </summary>
public abstract class LabFixture(string topology, IMessageSink messages, LabBackend backend = LabBackend.Type1) : IAsyncLifetime, IProgress<string>
{
    private LabHost? _host;

    public LabHost Host => _host ?? throw new InvalidOperationException("the lab is not up");

    public Topology Topology { get; } = AssignHub.Lab.Topology.Load(topology);

    public virtual async Task InitializeAsync() => _host = await LabHost.BootAsync(new LabOptions { Topology = topology, Backend = backend }, this);

    public async Task DisposeAsync()
    {
        if (_host is not null)
        {
            await _host.DisposeAsync();
        }
    }

    public void Report(string value) => messages.OnMessage(new Xunit.Sdk.DiagnosticMessage(value));

    /// <summary>Moves a device to a driver, and sees it there.</summary>
    public Task BindAsync(string address, string driver) => Host.RunAsync($"""
        cd /sys/bus/pci/devices/{address}
        echo {driver} >driver_override
        [ ! -e driver ] || echo {address} >driver/unbind
        echo {address} >/sys/bus/pci/drivers_probe
        [ "$(basename $(readlink driver))" = {driver} ]
        """);
}

public sealed class SampleLab(IMessageSink messages) : LabFixture("sample", messages);

public sealed class IommufdLab(IMessageSink messages) : LabFixture("sample", messages, LabBackend.Iommufd);

public sealed class ShpcLab(IMessageSink messages) : LabFixture("shpc", messages);

public sealed class SwitchLab(IMessageSink messages) : LabFixture("switch", messages);

public sealed class FunctionsLab(IMessageSink messages) : LabFixture("functions", messages);

public sealed class SriovLab(IMessageSink messages) : LabFixture("sriov", messages);

public sealed class NoIommuLab(IMessageSink messages) : LabFixture("noiommu", messages, LabBackend.Iommufd);

public sealed class HostUseLab(IMessageSink messages) : LabFixture("hostuse", messages);

[CollectionDefinition("sample lab")]
public sealed class SampleLabs : ICollectionFixture<SampleLab>;

[CollectionDefinition("iommufd lab")]
public sealed class IommufdLabs : ICollectionFixture<IommufdLab>;

[CollectionDefinition("shpc lab")]
public sealed class ShpcLabs : ICollectionFixture<ShpcLab>;

[CollectionDefinition("switch lab")]
public sealed class SwitchLabs : ICollectionFixture<SwitchLab>;

[CollectionDefinition("functions lab")]
public sealed class FunctionsLabs : ICollectionFixture<FunctionsLab>;

[CollectionDefinition("sriov lab")]
public sealed class SriovLabs : ICollectionFixture<SriovLab>;

[CollectionDefinition("hostuse lab")]
public sealed class HostUseLabs : ICollectionFixture<HostUseLab>;

[CollectionDefinition("noiommu lab")]
public sealed class NoIommuLabs : ICollectionFixture<NoIommuLab>;
