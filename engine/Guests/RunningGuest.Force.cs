// Takes a device from a guest that does not let go.

using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Guests;

public sealed partial class RunningGuest
{
    // QEMU's ACPI PCI hot-plug registers, from their base (docs/specs/acpi_pci_hotplug.rst; the selector is in hw/acpi/pcihp.c).
    private const int EjectRegister = 0x8;
    private const int SelectRegister = 0x10;

    private static readonly TimeSpan ForceCourtesy = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Pulls a device out whether the guest agrees or not: for the guest it is as if someone pulled the card, and its driver may not
    /// take that well. It is asked first, and has a second.
    /// </summary>
    /// <remarks>
    /// QEMU has no command for it: <c>device_del</c> only asks. But the answer that QEMU waits for is a write of the guest's firmware to
    /// its eject register, and the monitor can make that write in the guest's stead. The CPUs are held for the moment and the selector is
    /// put back, so that the firmware's own accesses are not disturbed. It works on all ports that hot-plug by ACPI, which is q35's default.
    /// </remarks>
    /// <param name="address">The device.</param>
    /// <param name="deadline">How long QEMU may take once it was pulled.</param>
    /// <param name="cancellation">Gives up waiting.</param>
    /// <exception cref="QemuException">The port does not hot-plug by ACPI, or QEMU kept the device.</exception>
    public async Task ForceUnplugAsync(PciAddress address, TimeSpan deadline, CancellationToken cancellation = default)
    {
        try
        {
            await UnplugAsync(address, ForceCourtesy, cancellation).ConfigureAwait(false);
            return;
        }
        catch (QemuException e) when (e.Fault.Class is QemuFault.UnplugTimeout)
        {
            // That is what force is for.
        }

        string id = DeviceId(address);
        using QmpSubscription events = SubscribeTo(id);
        try
        {
            await EjectAsync($"/machine/peripheral/{id}", cancellation).ConfigureAwait(false);
        }
        catch (QemuException e) when (e.Fault.Cause is QemuCause.DeviceNotInGuest)
        {
            return;
        }

        long start = _time.GetTimestamp();
        for (TimeSpan rest = deadline; rest > TimeSpan.Zero; rest = deadline - _time.GetElapsedTime(start))
        {
            if (await events.NextAsync(rest, _time, cancellation).ConfigureAwait(false) is { Name: "DEVICE_DELETED" })
            {
                return;
            }
        }

        throw new QemuException(new QemuFault("device_del", QemuFault.UnplugTimeout, $"{address} is still in the guest although it was pulled out"));
    }

    private async Task EjectAsync(string device, CancellationToken cancellation)
    {
        string bus = (await GetAsync(device, "parent_bus", cancellation).ConfigureAwait(false)).GetString() ?? "";
        int slot = (await GetAsync(device, "addr", cancellation).ConfigureAwait(false)).GetInt32() >> 3;
        if ((await ListAsync(bus, cancellation).ConfigureAwait(false)).All(property => property.Name != "acpi-pcihp-bsel"))
        {
            throw new QemuException(new QemuFault(
                "device_del", QemuFault.GenericError, $"{bus} does not hot-plug by ACPI: the device leaves only if the guest lets it go or is stopped"));
        }

        long selector = (await GetAsync(bus, "acpi-pcihp-bsel", cancellation).ConfigureAwait(false)).GetInt64();
        long registers = await HotplugRegistersAsync(cancellation).ConfigureAwait(false);
        bool running = (await StatusAsync(cancellation).ConfigureAwait(false)).Running;
        if (running)
        {
            await PauseAsync(cancellation).ConfigureAwait(false);
        }

        // From here to the end nothing is given up half-way: the guest's CPUs stand still.
        try
        {
            string before = await MonitorAsync(string.Create(CultureInfo.InvariantCulture, $"i/w {registers + SelectRegister}")).ConfigureAwait(false);
            await PokeAsync(registers + SelectRegister, selector).ConfigureAwait(false);
            await PokeAsync(registers + EjectRegister, 1L << slot).ConfigureAwait(false);
            await PokeAsync(registers + SelectRegister, ParseRead(before)).ConfigureAwait(false);
        }
        finally
        {
            if (running)
            {
                await ContinueAsync(CancellationToken.None).ConfigureAwait(false);
            }
        }
    }

    private async Task<long> HotplugRegistersAsync(CancellationToken cancellation)
    {
        foreach ((string name, string type) in await ListAsync("/machine/unattached", cancellation).ConfigureAwait(false))
        {
            if (type == "child<ICH9-LPC>")
            {
                return (await GetAsync($"/machine/unattached/{name}", "acpi-pcihp-io-base", cancellation).ConfigureAwait(false)).GetInt64();
            }
        }

        throw new QemuException(new QemuFault("qom-list", QemuFault.GenericError, "the machine has no ICH9: only q35 machines can be forced"));
    }

    private Task<string> PokeAsync(long port, long value) => MonitorAsync(string.Create(CultureInfo.InvariantCulture, $"o/w {port} {value}"));

    private async Task<string> MonitorAsync(string command)
    {
        JsonElement answer = await Qmp.ExecuteAsync(
            "human-monitor-command", new JsonObject { ["command-line"] = command }, cancellation: CancellationToken.None).ConfigureAwait(false);
        return answer.GetString() ?? "";
    }

    /// <summary>The value in the monitor's answer to a read: <c>portl[0x0cd0] = 0x00000001</c>.</summary>
    private static long ParseRead(string answer)
    {
        int prefix = answer.LastIndexOf("0x", StringComparison.Ordinal);
        return prefix >= 0 && long.TryParse(answer.AsSpan(prefix + 2).Trim(), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out long value)
            ? value
            : 0;
    }
}
