// The service on a synthetic host, in this process, behind a real socket and with a real database.

using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using AssignHub.Api;
using AssignHub.Engine.Pci;
using AssignHub.Synthetic;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;

namespace AssignHub.Tests.Api;

/// <summary>A host with a NIC, a mounted disk, a bridge with a shared group, and a bridge on shpchp; and the service that runs on it.</summary>
public sealed class Hub : IAsyncLifetime
{
    public const string Nic = "0000:01:00.0";
    public const string UsedDisk = "0000:02:00.0";
    public const string Bridge = "0000:03:00.0";
    public const string SharedA = "0000:04:01.0";
    public const string SharedB = "0000:04:02.0";
    public const string BehindShpc = "0000:06:01.0";
    public const int NicGroup = 10;
    public const int DiskGroup = 11;
    public const int SharedGroup = 12;
    public const int ShpcGroup = 13;

    private WebApplication? _app;

    public SyntheticHost Host { get; } = Build();

    public HttpClient Client { get; private set; } = null!;

    public string Data { get; } = Directory.CreateTempSubdirectory("assignhub-api-").FullName;

    public string Database => Path.Combine(Data, "assignhub.db");

    public IEnumerable<RouteEndpoint> Routes => _app!.Services.GetRequiredService<EndpointDataSource>().Endpoints.OfType<RouteEndpoint>();

    public Uri Url { get; private set; } = null!;

    public IServiceProvider Services => _app!.Services;

    /// <summary>What a test sets otherwise.</summary>
    public Func<Settings, Settings> Adjust { get; init; } = settings => settings;

    public Task InitializeAsync() => StartAsync();

    public async Task StartAsync()
    {
        _app = Service.Build(Adjust(new Settings { Listen = "http://127.0.0.1:0", Data = Data, Sysfs = Host.SysfsRoot, Proc = Host.ProcRoot }));
        await _app.StartAsync();
        Url = new Uri(_app.Urls.First());
        Client = new HttpClient(new ContractHandler()) { BaseAddress = Url };
        Client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", (await File.ReadAllTextAsync(Path.Combine(Data, "admin.token"))).Trim());
        Client.DefaultRequestHeaders.Add("Prefer", "wait=30");
    }

    public async Task StopAsync()
    {
        Client.Dispose();
        await _app!.StopAsync();
        await _app.DisposeAsync();
    }

    public async Task DisposeAsync()
    {
        await StopAsync();
        Host.Dispose();
        Directory.Delete(Data, recursive: true);
    }

    /// <summary>Sends a request; the body is JSON text as it stands, right or wrong.</summary>
    public async Task<(int Status, JsonNode? Body)> SendAsync(string method, string path, string? body = null)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        if (body is not null)
        {
            request.Content = new StringContent(body, Encoding.UTF8, "application/json");
        }

        using HttpResponseMessage answer = await Client.SendAsync(request);
        string text = await answer.Content.ReadAsStringAsync();
        return ((int)answer.StatusCode, text.Length > 0 && text[0] is '{' ? JsonNode.Parse(text) : null);
    }

    /// <summary>The driver of a device in the tree.</summary>
    public string? DriverOf(string address) => Path.GetFileName(new FileInfo(Path.Combine(Host.PathOf(PciAddress.Parse(address)), "driver")).LinkTarget);

    private static SyntheticHost Build()
    {
        var host = new SyntheticHost();
        Port(host, "0000:00:01.0", 1);
        host.Add(new SyntheticDevice(Nic) { Parent = PciAddress.Parse("0000:00:01.0"), Driver = "e1000e", Group = NicGroup });
        Port(host, "0000:00:02.0", 2);
        host.Add(new SyntheticDevice(UsedDisk) { Parent = PciAddress.Parse("0000:00:02.0"), Driver = "nvme", ClassCode = 0x010802, Group = DiskGroup });
        host.AddDisk(PciAddress.Parse(UsedDisk), "nvme0n1", partitions: 1).Mount("nvme0n1p1", "/srv");
        Port(host, "0000:00:03.0", 3, 4);
        Behind(host, Bridge, "0000:00:03.0", 4, null, SharedGroup, SharedA, SharedB);
        Port(host, "0000:00:04.0", 5, 6);
        Behind(host, "0000:05:00.0", "0000:00:04.0", 6, "shpchp", ShpcGroup, BehindShpc);
        return host.AddDriver("vfio-pci");
    }

    private static void Port(SyntheticHost host, string address, byte secondary, byte? subordinate = null) => host.Add(new SyntheticDevice(address)
    {
        VendorId = 0x1b36,
        DeviceId = 0x000c,
        ClassCode = 0x060400,
        Buses = (secondary, subordinate ?? secondary),
        PcieType = PcieType.RootPort,
        Driver = "pcieport",
        Group = secondary,
    });

    private static void Behind(SyntheticHost host, string bridge, string port, byte bus, string? driver, int group, params string[] below)
    {
        host.Add(new SyntheticDevice(bridge)
        {
            Parent = PciAddress.Parse(port),
            VendorId = 0x1b36,
            DeviceId = 0x000e,
            ClassCode = 0x060400,
            Buses = (bus, bus),
            Driver = driver,
            Group = group,
        });
        foreach (string address in below)
        {
            host.Add(new SyntheticDevice(address)
            {
                Parent = PciAddress.Parse(bridge),
                VendorId = 0x1234,
                DeviceId = 0x11e8,
                ClassCode = 0x00ff00,
                PcieType = PcieType.None,
                Group = group,
                ResetMethods = "",
            });
        }
    }
}
