// assignhub scan: the host's groups, without the service.

using System.Text.Json;
using AssignHub.Api.Groups;
using AssignHub.Api.Http;
using AssignHub.Engine;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Rules;
using AssignHub.Engine.Vfio;

namespace AssignHub.Api.Cli;

internal static class ScanCommand
{
    public static int Run(string? sysfs, string? proc, bool json)
    {
        World world;
        try
        {
            string dev = sysfs is null ? "/dev" : Path.Combine(sysfs, "dev");
            var scanner = new HostScanner(new VfioHost(dev, sysfs ?? "/sys", proc ?? "/proc"), TimeProvider.System, sysfs is null ? "/lib/modules" : null);
            HostState host = scanner.Scan();
            world = new World(host with { Holders = new GroupHolders(proc ?? "/proc", dev).Find(host, CancellationToken.None) }, Inventory.Empty);
        }
        catch (HostFault fault)
        {
            Console.Error.WriteLine($"assignhub: {fault.Message}");
            return 1;
        }

        if (json)
        {
            var page = new Page<GroupResource>([.. world.Host.Groups.Values.Select(group => GroupResource.From(world, group))], null);
            Console.WriteLine(JsonSerializer.Serialize(page, ApiJson.Wire.PageGroupResource));
            return 0;
        }

        Write(world);
        return 0;
    }

    private static void Write(World world)
    {
        var names = PciIds.OfDistribution();
        foreach (string warning in Trust.WarningsFor(world.Host))
        {
            Console.WriteLine($"warning: {warning}");
        }

        if (world.Host.Groups.IsEmpty)
        {
            Refusal off = Refusals.IommuDisabled();
            Console.WriteLine($"{off.Message} {off.Remedy}");
        }

        foreach (IommuGroup group in world.Host.Groups.Values)
        {
            IReadOnlyList<Refusal> refusals = Claims.RefusalsFor(world, group);
            Console.WriteLine($"group {group.Number}  {Ownership.OwnerOf(world, group).ToString().ToLowerInvariant()}  {(refusals.Count == 0 ? "assignable" : "not assignable")}");
            foreach (PciDevice device in world.Members(group))
            {
                PciNames name = names.Lookup(device, world.Host);
                Console.WriteLine($"  {device.Address}  {device.VendorId:x4}:{device.DeviceId:x4}  {device.Driver ?? "-",-12}  {name.Vendor} {name.Device}");
            }

            foreach (Refusal refusal in refusals)
            {
                Console.WriteLine($"    {refusal.Message} {refusal.Remedy}");
            }
        }
    }
}
