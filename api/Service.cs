// Puts the service together: the engine's parts, the store, the endpoints.

using System.Text.Json.Serialization;
using AssignHub.Api.Bridges;
using AssignHub.Api.Containers;
using AssignHub.Api.Devices;
using AssignHub.Api.Events;
using AssignHub.Api.Groups;
using AssignHub.Api.Guests;
using AssignHub.Api.Health;
using AssignHub.Api.Hosts;
using AssignHub.Api.Http;
using AssignHub.Api.Metrics;
using AssignHub.Api.Operations;
using AssignHub.Api.Tokens;
using AssignHub.Db;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Host;
using AssignHub.Engine.Operations;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;
using Microsoft.AspNetCore.Authentication;

namespace AssignHub.Api;

/// <summary>Builds the web application.</summary>
public static class Service
{
    /// <summary>The database, in the data directory.</summary>
    public const string DatabaseFile = "assignhub.db";

    /// <summary>The longest body that is read.</summary>
    public const int LargestBodyBytes = 1 << 20;
    private static readonly TimeSpan KernelDeadline = TimeSpan.FromSeconds(20);

    /// <summary>Builds it. Nothing of the host is touched before it starts.</summary>
    public static WebApplication Build(Settings settings)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        builder.Logging.ClearProviders().AddSimpleConsole(console => console.SingleLine = true).SetMinimumLevel(LogLevel.Information)
            .AddFilter("Microsoft.AspNetCore", LogLevel.Warning)
            // Bad requests come as exceptions too; what is worth logging, Problems logs.
            .AddFilter("Microsoft.AspNetCore.Diagnostics.ExceptionHandlerMiddleware", LogLevel.None);
        builder.WebHost.UseUrls(settings.Listen).ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.Limits.MaxRequestBodySize = LargestBodyBytes;
        });
        AddEngine(builder.Services, settings);
        AddHttp(builder.Services, settings);
        WebApplication app = builder.Build();
        // Listens from the first request on.
        app.Services.GetRequiredService<Prometheus>();
        app.UseExceptionHandler(handler => handler.Run(Problems.OnExceptionAsync));
        app.UseStatusCodePages(context => Problems.OnStatusAsync(context.HttpContext));
        app.UseSwaggerUI(page =>
        {
            page.SwaggerEndpoint("/openapi.yaml", "AssignHub");
            page.DocumentTitle = "AssignHub";
            page.EnablePersistAuthorization();
            page.EnableTryItOutByDefault();
            page.DisplayRequestDuration();
        });
        app.UseRouting();
        app.UseAuthentication();
        app.UseAuthorization();
        app.UseMiddleware<Idempotency>();
        MapEndpoints(app);
        // Said aloud, so that the endpoints are known, and the document can be written, before the service starts.
        app.UseEndpoints(_ => { });
        return app;
    }

    /// <summary>The host that the settings name, and what speaks against the backends of its kernel.</summary>
    internal static VfioHost HostOf(Settings settings, QemuCapabilities qemu) =>
        new(settings.IsSynthetic ? Path.Combine(settings.Sysfs!, "dev") : "/dev", settings.Sysfs ?? "/sys", settings.Proc ?? "/proc")
        {
            ObjectionTo = backend => backend switch
            {
                Container.Iommufd => qemu.Report().ObjectionToIommufd,
                Container.NoIommu when !settings.AllowNoIommu => "the service was not started with --allow-noiommu",
                _ => null,
            },
        };

    /// <summary>What reads the host's devices.</summary>
    internal static HostScanner ScannerOf(Settings settings, VfioHost host, TimeProvider time) =>
        new(host, time, settings.IsSynthetic ? null : "/lib/modules", settings.Data);

    /// <summary>What reads all else of it that assigning devices needs.</summary>
    internal static DoctorReader DoctorOf(Settings settings, VfioHost host, QemuCapabilities qemu) => new(host, qemu, settings.Data, settings.IsSynthetic ? null : "/");

    private static void AddEngine(IServiceCollection services, Settings settings)
    {
        var qemu = new QemuCapabilities(settings.Qemu);
        VfioHost host = HostOf(settings, qemu);
        services.AddSingleton(TimeProvider.System).AddSingleton(new HostPaths(host, settings.Qemu)).AddSingleton(PciIds.OfDistribution());
        services.AddSingleton(provider => ScannerOf(settings, host, provider.GetRequiredService<TimeProvider>())).AddSingleton(DoctorOf(settings, host, qemu));
        services.AddSingleton(new GroupHolders(host.ProcRoot, host.DevRoot)).AddSingleton(new OpenDeviceFiles(host.SysfsRoot, host.ProcRoot, host.DevRoot));
        services.AddSingleton(provider => settings.IsSynthetic
            ? HardwareEvents.None(provider.GetRequiredService<TimeProvider>())
            : HardwareEvents.Listen(provider.GetRequiredService<TimeProvider>()));
        services.AddSingleton<IKernel>(provider => settings.IsSynthetic
            ? new ModelledKernel(host.SysfsRoot, host.DevRoot, KernelDeadline, provider.GetRequiredService<TimeProvider>())
            : new LinuxKernel(host, KernelDeadline, provider.GetRequiredService<TimeProvider>()));
        services.AddSingleton(provider => new GuestProcesses(
            Path.Combine(settings.Data, "guests"), host.ProcRoot, provider.GetRequiredService<TimeProvider>(), provider.GetRequiredService<ILogger<GuestProcesses>>()));
        string database = Path.Combine(settings.Data, DatabaseFile);
        services.AddSingleton<IStore>(_ => new Store(database, HostName(host.ProcRoot)));
        services.AddSingleton(provider => new Answers(database, HostName(host.ProcRoot), provider.GetRequiredService<TimeProvider>()));
        services.AddSingleton(provider => new Db.Tokens(database, HostName(host.ProcRoot), provider.GetRequiredService<TimeProvider>()));
        services.AddSingleton<GuestSupervisor>().AddSingleton<Measures>().AddSingleton<Ledger>().AddSingleton<Observer>().AddSingleton<StepRunner>()
            .AddSingleton<Coordinator>().AddSingleton<Reconciler>();
        services.AddHostedService<Recovery>();
    }

    /// <summary>The host's name, as every row and resource carries it.</summary>
    public static string HostName(string proc) => File.ReadAllText(Path.Combine(proc, "sys/kernel/hostname")).Trim();

    private static void AddHttp(IServiceCollection services, Settings settings)
    {
        services.AddSingleton<ChangeEndpoints>().AddSingleton<EventStreams>().AddSingleton<TokenBook>().AddSingleton<Denials>().AddSingleton<Prometheus>().AddSingleton<Readiness>().AddSingleton(_ => AdminToken.ReadOrCreate(settings.Data));
        services.ConfigureHttpJsonOptions(json =>
        {
            json.SerializerOptions.TypeInfoResolverChain.Insert(0, ApiJson.Wire);
            foreach (JsonConverter converter in ApiJson.Default.Options.Converters)
            {
                json.SerializerOptions.Converters.Add(converter);
            }
        });
        services.AddEndpointsApiExplorer().AddSwaggerGen(OpenApi.Configure);
        services.AddAuthentication(BearerHandler.SchemeName).AddScheme<AuthenticationSchemeOptions, BearerHandler>(BearerHandler.SchemeName, null);
        services.AddRoles();
    }

    private static void MapEndpoints(WebApplication app)
    {
        RouteGroupBuilder v1 = app.MapGroup("/v1");
        v1.RequireAuthorization();
        HostEndpoints.Map(v1);
        DeviceEndpoints.Map(v1);
        GroupEndpoints.Map(v1);
        BridgeEndpoints.Map(v1);
        ContainerEndpoints.Map(v1);
        GuestEndpoints.Map(v1);
        OperationEndpoints.Map(v1);
        EventEndpoints.Map(v1);
        TokenEndpoints.Map(v1);
        HealthEndpoints.Map(app);
        MetricsEndpoint.Map(app);
        var document = new Lazy<Task<string>>(() => OpenApi.WriteAsync(app.Services));
        app.MapGet("/openapi.yaml", async () => TypedResults.Text(await document.Value.ConfigureAwait(false), "application/yaml")).AllowAnonymous().ExcludeFromDescription();
        app.MapGet("/", () => TypedResults.Redirect("/swagger")).AllowAnonymous().ExcludeFromDescription();
    }
}
