// Devices of a running guest: plugging, the conversation that unplugging is, and what QEMU says it has.

using System.Collections.Immutable;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Guests;

/// <summary>An iommufd object of a QEMU.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Devices">The devices that use it; with none it holds no group, and may serve the next.</param>
public sealed record IommufdObject(string Id, ImmutableArray<PciAddress> Devices);

public sealed partial class RunningGuest
{
    /// <summary>How long the guest may take before it is asked again; QEMU itself refuses to repeat a PCIe request within 5 s.</summary>
    private static readonly TimeSpan UnplugRepeat = TimeSpan.FromSeconds(5);

    private const string IdPrefix = "dev-";

    /// <summary>QEMU's id for a device: its address with what QEMU's ids cannot hold replaced (<c>dev-0000-03-01-0</c>).</summary>
    public static string DeviceId(PciAddress address) => IdPrefix + address.ToString().Replace(':', '-').Replace('.', '-');

    /// <summary>The device that an id of <see cref="DeviceId"/> stands for.</summary>
    public static bool TryParseDeviceId(string id, out PciAddress address)
    {
        address = default;
        string[] parts = id.Split('-');
        return parts is ["dev", _, _, _, _] && PciAddress.TryParse($"{parts[1]}:{parts[2]}:{parts[3]}.{parts[4]}", out address);
    }

    /// <summary>Plugs a device through its group (the <c>type1</c> backends): QEMU opens the group's file, which the guest must own.</summary>
    /// <param name="address">The device.</param>
    /// <param name="slot">Where in the guest.</param>
    /// <param name="deadline">How long QEMU may take; the kernel resets the device and pins the guest's memory meanwhile.</param>
    /// <param name="cancellation">Gives up waiting; the device may come all the same.</param>
    public Task PlugAsync(PciAddress address, GuestSlot slot, TimeSpan deadline, CancellationToken cancellation = default) =>
        AddDeviceAsync(address, slot, new JsonObject { ["host"] = address.ToString() }, deadline, cancellation);

    /// <summary>Plugs a device that AssignHub opened (<c>/dev/vfio/devices/vfioN</c>) into an iommufd object; QEMU needs no right of its own.</summary>
    /// <param name="address">The device.</param>
    /// <param name="slot">Where in the guest.</param>
    /// <param name="iommufd">The object of its group, from <see cref="IommufdForAsync"/>.</param>
    /// <param name="device">The device's file; QEMU gets a copy.</param>
    /// <param name="deadline">How long QEMU may take.</param>
    /// <param name="cancellation">Gives up waiting; the device may come all the same.</param>
    public async Task PlugAsync(
        PciAddress address, GuestSlot slot, string iommufd, SafeHandle device, TimeSpan deadline, CancellationToken cancellation = default)
    {
        string file = DeviceId(address);
        await Qmp.SendFileAsync(file, device, cancellation).ConfigureAwait(false);
        try
        {
            await AddDeviceAsync(address, slot, new JsonObject { ["iommufd"] = iommufd, ["fd"] = file }, deadline, cancellation).ConfigureAwait(false);
        }
        catch (QemuException refused) when (refused.Fault.Class is not QemuFault.Closed)
        {
            await DropFileAsync(file).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>The iommufd object for the devices of one group: the one that some of them use, an empty one, or a new one of an open <c>/dev/iommu</c>.</summary>
    /// <remarks>QEMU does not close the file when such an object is deleted, so objects are kept and used again.</remarks>
    /// <param name="group">The devices of the group.</param>
    /// <param name="open">Opens <c>/dev/iommu</c>; QEMU gets a copy.</param>
    /// <param name="cancellation">Gives up waiting.</param>
    /// <returns>The object's id.</returns>
    public async Task<string> IommufdForAsync(IReadOnlySet<PciAddress> group, Func<SafeHandle> open, CancellationToken cancellation = default)
    {
        ArgumentNullException.ThrowIfNull(open);
        ImmutableArray<IommufdObject> objects = await IommufdsAsync(cancellation).ConfigureAwait(false);
        IommufdObject? fit = objects.FirstOrDefault(one => one.Devices.Any(group.Contains)) ?? objects.FirstOrDefault(one => one.Devices.IsEmpty);
        if (fit is not null)
        {
            return fit.Id;
        }

        string id = string.Create(CultureInfo.InvariantCulture, $"iommufd{objects.Length}");
        using SafeHandle iommu = open();
        await Qmp.SendFileAsync(id, iommu, cancellation).ConfigureAwait(false);
        var arguments = new JsonObject { ["qom-type"] = "iommufd", ["id"] = id, ["fd"] = id };
        await Qmp.ExecuteAsync("object-add", arguments, cancellation: cancellation).ConfigureAwait(false);
        return id;
    }

    /// <summary>The iommufd objects of the guest, each with the devices that use it.</summary>
    public async Task<ImmutableArray<IommufdObject>> IommufdsAsync(CancellationToken cancellation = default)
    {
        var users = new List<(PciAddress Device, string Path)>();
        foreach (PciAddress device in await DevicesAsync(cancellation).ConfigureAwait(false))
        {
            JsonElement path = await GetAsync($"/machine/peripheral/{DeviceId(device)}", "iommufd", cancellation).ConfigureAwait(false);
            users.Add((device, path.GetString() ?? ""));
        }

        return
        [
            .. (await ListAsync("/objects", cancellation).ConfigureAwait(false))
                .Where(child => child.Type == "child<iommufd>")
                .Select(child => new IommufdObject(child.Name, [.. users.Where(user => user.Path == $"/objects/{child.Name}").Select(user => user.Device)])),
        ];
    }

    /// <summary>The assigned devices that QEMU has, in bus order: what is, whatever the store says.</summary>
    public async Task<ImmutableSortedSet<PciAddress>> DevicesAsync(CancellationToken cancellation = default) =>
        (await PeripheralsAsync(cancellation).ConfigureAwait(false)).Devices;

    /// <summary>The same, and whether the guest has an emulated IOMMU.</summary>
    public async Task<(ImmutableSortedSet<PciAddress> Devices, bool HasIommu)> PeripheralsAsync(CancellationToken cancellation = default)
    {
        var devices = ImmutableSortedSet.CreateBuilder<PciAddress>();
        bool hasIommu = false;
        foreach ((string name, string _) in await ListAsync("/machine/peripheral", cancellation).ConfigureAwait(false))
        {
            hasIommu |= name == QemuCommandLine.IommuId;
            if (TryParseDeviceId(name, out PciAddress address))
            {
                devices.Add(address);
            }
        }

        return (devices.ToImmutable(), hasIommu);
    }

    /// <summary>
    /// Takes a device out: asks the guest, waits, asks again, until QEMU says that it is gone. A device that QEMU does not have is gone.
    /// </summary>
    /// <remarks>On x86 a guest that refuses says nothing; all that is seen is that it does not let go.</remarks>
    /// <param name="address">The device.</param>
    /// <param name="deadline">How long all of it may take.</param>
    /// <param name="cancellation">Gives up waiting; the request stays with the guest.</param>
    /// <exception cref="QemuException">With <see cref="QemuFault.UnplugTimeout"/>: the guest did not let go. It still may, later.</exception>
    public async Task UnplugAsync(PciAddress address, TimeSpan deadline, CancellationToken cancellation = default)
    {
        string id = DeviceId(address);
        using QmpSubscription events = SubscribeTo(id);
        long start = _time.GetTimestamp();
        string lastAnswer = "the guest did not answer";
        for (TimeSpan rest = deadline; rest > TimeSpan.Zero; rest = deadline - _time.GetElapsedTime(start))
        {
            TimeSpan wait = rest < UnplugRepeat ? rest : UnplugRepeat;
            try
            {
                await Qmp.ExecuteAsync("device_del", new JsonObject { ["id"] = id }, cancellation: cancellation).ConfigureAwait(false);
            }
            catch (QemuException e) when (e.Fault.Cause is QemuCause.DeviceNotInGuest)
            {
                return;
            }
            catch (QemuException e) when (e.Fault.Cause is QemuCause.GuestBusy)
            {
                lastAnswer = e.Fault.Description;
                wait = TimeSpan.FromMilliseconds(Math.Min(250, wait.TotalMilliseconds));
            }
            catch (QemuException e) when (e.Fault.Cause is QemuCause.UnplugUnderWay)
            {
                // Asked before, by us or by QEMU itself at the kernel's request: its event is as good as ours.
            }

            QmpEvent? answer = await events.NextAsync(wait, _time, cancellation).ConfigureAwait(false);
            if (answer?.Name == "DEVICE_DELETED")
            {
                return;
            }

            if (answer is not null)
            {
                lastAnswer = "the guest refused to let it go";
                await Task.Delay(TimeSpan.FromMilliseconds(250), _time, cancellation).ConfigureAwait(false);
            }
        }

        throw new QemuException(new QemuFault("device_del", QemuFault.UnplugTimeout, $"{address} is still in the guest: {lastAnswer}"));
    }

    /// <summary>
    /// Waits until the kernel shows that QEMU closed what it held of a device: only then is a device removed. QEMU frees it a moment after
    /// it says that it is deleted.
    /// </summary>
    /// <param name="closed">Whether the files that are left are those that may be left.</param>
    /// <param name="deadline">How long to wait.</param>
    /// <param name="cancellation">Gives up waiting.</param>
    /// <returns>The files that the process holds then.</returns>
    /// <exception cref="HostFault">They are still open.</exception>
    public async Task<HeldVfioFiles> WaitClosedAsync(Func<HeldVfioFiles, bool> closed, TimeSpan deadline, CancellationToken cancellation = default)
    {
        long start = _time.GetTimestamp();
        while (true)
        {
            HeldVfioFiles files = _processes.FilesOf(Process);
            if (closed(files))
            {
                return files;
            }

            if (_time.GetElapsedTime(start) >= deadline)
            {
                throw new HostFault("close", $"VFIO files of process {Process.Pid}", Errno.EBUSY, "QEMU still holds them");
            }

            await Task.Delay(TimeSpan.FromMilliseconds(5), _time, cancellation).ConfigureAwait(false);
        }
    }

    /// <summary>Has QEMU close a file that no device took; one that it has already is no error.</summary>
    private async Task DropFileAsync(string file)
    {
        try
        {
            await Qmp.ExecuteAsync("closefd", new JsonObject { ["fdname"] = file }).ConfigureAwait(false);
        }
        catch (QemuException taken) when (taken.Fault.Class is QemuFault.GenericError or QemuFault.Closed)
        {
            // The device took it before it failed, and closed it then; or QEMU is gone, and the file with it.
        }
    }

    private QmpSubscription SubscribeTo(string id) =>
        Qmp.Subscribe(message => message.Name is "DEVICE_DELETED" or "DEVICE_UNPLUG_GUEST_ERROR" && message.Text("device") == id);

    private async Task AddDeviceAsync(PciAddress address, GuestSlot slot, JsonObject arguments, TimeSpan deadline, CancellationToken cancellation)
    {
        arguments["driver"] = "vfio-pci";
        arguments["id"] = DeviceId(address);
        arguments["bus"] = slot.Bus;
        if (slot.Slot is { } number)
        {
            arguments["addr"] = number.ToString("x", CultureInfo.InvariantCulture);
        }

        await Qmp.ExecuteAsync("device_add", arguments, deadline, cancellation).ConfigureAwait(false);
    }

    private async Task<JsonElement> GetAsync(string path, string property, CancellationToken cancellation) =>
        await Qmp.ExecuteAsync("qom-get", new JsonObject { ["path"] = path, ["property"] = property }, cancellation: cancellation).ConfigureAwait(false);

    private async Task<IReadOnlyList<(string Name, string Type)>> ListAsync(string path, CancellationToken cancellation)
    {
        JsonElement list = await Qmp.ExecuteAsync("qom-list", new JsonObject { ["path"] = path }, cancellation: cancellation).ConfigureAwait(false);
        return [.. list.EnumerateArray().Select(item => (item.GetProperty("name").GetString() ?? "", item.GetProperty("type").GetString() ?? ""))];
    }
}
