// assignhub doctor: what keeps this host from assigning devices, and the fix, without the service.

using System.Text.Json;
using AssignHub.Api.Hosts;
using AssignHub.Api.Http;
using AssignHub.Engine;
using AssignHub.Engine.Guests;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;

namespace AssignHub.Api.Cli;

internal static class DoctorCommand
{
    private const int CanAssign = 0;
    private const int CannotAssign = 1;
    private const int NotExamined = 2;

    public static int Run(Func<Settings, Settings> options, bool json)
    {
        HostResource host;
        try
        {
            Settings settings = options(Settings.Read());
            if (settings.Problem() is { } problem)
            {
                return Fail(problem);
            }

            var qemu = new QemuCapabilities(settings.Qemu);
            VfioHost roots = Service.HostOf(settings, qemu);
            host = HostResource.From(Service.ScannerOf(settings, roots, TimeProvider.System).Scan(), Service.DoctorOf(settings, roots, qemu).Read());
        }
        catch (Exception error) when (error is HostFault or InvalidDataException)
        {
            return Fail(error.Message);
        }

        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(host, ApiJson.Wire.HostResource));
        }
        else
        {
            Write(host);
        }

        return host.CanAssign ? CanAssign : CannotAssign;
    }

    private static void Write(HostResource host)
    {
        int width = host.Checks.Max(check => check.Name.Length);
        foreach (Check check in host.Checks)
        {
            string status = check.Status switch { CheckStatus.Ok => "ok", CheckStatus.Warning => "warning", _ => "FAILED" };
            Console.WriteLine($"{status,-7}  {check.Name.PadRight(width)}  {check.Message}");
            if (check.Remedy is { } remedy)
            {
                Console.WriteLine($"{"",7}  {remedy}");
            }
        }

        int failed = host.Checks.Count(check => check.Status == CheckStatus.Failed);
        Console.WriteLine(host.CanAssign ? $"{host.Host} can assign devices." : $"{host.Host} cannot assign devices: {failed} {(failed == 1 ? "check" : "checks")} failed.");
    }

    private static int Fail(string message)
    {
        Console.Error.WriteLine($"assignhub: {message}");
        return NotExamined;
    }
}
