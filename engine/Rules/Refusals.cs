// Every refusal in one place, so that each says its cause and its remedy in the same voice.

using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>Makes the refusals of the rules.</summary>
public static class Refusals
{
    /// <summary>No such device on this host.</summary>
    public static Refusal DeviceNotFound(PciAddress device) => new(
        ProblemCode.DeviceNotFound, device.ToString(), $"There is no device {device} on this host.", "List the devices at /v1/devices; POST /v1/host/rescan after plugging hardware.");

    /// <summary>No such group on this host.</summary>
    public static Refusal GroupNotFound(int group) => new(
        ProblemCode.GroupNotFound, Names.Group(group), $"There is no IOMMU group {group} on this host.", "List the groups at /v1/groups; numbers change at boot.");

    /// <summary>No such bridge on this host.</summary>
    public static Refusal BridgeNotFound(PciAddress bridge) => new(
        ProblemCode.BridgeNotFound, bridge.ToString(), $"There is no PCI bridge {bridge} on this host.", "List the bridges at /v1/bridges.");

    /// <summary>No such container.</summary>
    public static Refusal ContainerNotFound(string id) => new(
        ProblemCode.ContainerNotFound, Names.Container(id), $"There is no container {id}.", "List the containers at /v1/containers.");

    /// <summary>No such guest.</summary>
    public static Refusal GuestNotFound(string name) => new(
        ProblemCode.GuestNotFound, Names.Guest(name), $"There is no guest {name}.", "List the guests at /v1/guests.");

    /// <summary>The guest does not have this device.</summary>
    public static Refusal NotInGuest(PciAddress device, string guest) => new(
        ProblemCode.DeviceNotFound, device.ToString(), $"Guest {guest} does not have {device}.", $"List its devices at /v1/guests/{guest}/devices.");

    /// <summary>A container has one group, and the request named two.</summary>
    public static Refusal ContainerSingleGroup(int group, PciAddress device, int? other) => new(
        ProblemCode.ContainerSingleGroup, device.ToString(),
        $"A container holds exactly one group: {device} is in {(other is { } number ? $"group {number}" : "no group")}, not in group {group}.",
        "Claim each group with a request of its own.");

    /// <summary>Another container holds the group.</summary>
    public static Refusal GroupOwned(Container owner) => new(
        ProblemCode.GroupOwned, owner.Group is { } group ? Names.Group(group) : Names.Container(owner.Id),
        $"{(owner.Group is { } number ? $"Group {number}" : "A group that is not there now")} is owned by container {owner.Id}{(owner.Guest is { } guest ? $" of guest {guest}" : "")}.",
        owner.Guest is { } name ? $"Remove its devices from guest {name}, or delete container {owner.Id}." : $"Delete container {owner.Id}, or use it.")
    {
        BlockedBy = owner.Guest is { } blocker ? [Names.Container(owner.Id), Names.Guest(blocker)] : [Names.Container(owner.Id)],
    };

    /// <summary>The group's container has other settings than asked for.</summary>
    public static Refusal ContainerExists(int group, Container owner) => new(
        ProblemCode.ContainerExists, Names.Group(group), $"Group {group} already has container {owner.Id}, with keep={(owner.Keep ? "true" : "false")}.",
        $"Use container {owner.Id}, or delete it first.") { BlockedBy = [Names.Container(owner.Id)] };

    /// <summary>The container is on its way back, or failed.</summary>
    public static Refusal ContainerNotReady(Container owner) => new(
        ProblemCode.Busy, Names.Container(owner.Id), $"Container {owner.Id} is {owner.State.ToString().ToLowerInvariant()}.",
        $"Delete container {owner.Id} and claim the group again.") { BlockedBy = [Names.Container(owner.Id)] };

    /// <summary>The group is not the one that was claimed.</summary>
    public static Refusal GroupChanged(Container owner, string difference) => new(
        ProblemCode.GroupChanged, Names.Container(owner.Id), $"The group of container {owner.Id} is not the one that was claimed: {difference}.",
        $"Put back what was claimed, which is taken up by itself; or take the group as it is now: POST /v1/containers/{owner.Id}/accept; or give it up: "
        + (owner.Guest is { } guest ? $"remove its devices from guest {guest}." : $"DELETE /v1/containers/{owner.Id}.")) { BlockedBy = [Names.Container(owner.Id)] };

    /// <summary>No member of the group that was claimed is there.</summary>
    public static Refusal NothingToAccept(Container owner, string difference) => new(
        ProblemCode.GroupChanged, Names.Container(owner.Id), $"There is nothing left of the group of container {owner.Id}: {difference}.",
        "Put back what was claimed, which is taken up by itself; or give the group up: "
        + (owner.Guest is { } guest ? $"remove its devices from guest {guest}." : $"DELETE /v1/containers/{owner.Id}.")) { BlockedBy = [Names.Container(owner.Id)] };

    /// <summary>A process of somebody else holds the group.</summary>
    public static Refusal GroupForeign(int group, GroupHolder holder) => new(
        ProblemCode.GroupForeign, Names.Group(group), $"Group {group} is held through VFIO by {holder.Command} (pid {holder.Pid}), which AssignHub did not start.",
        $"End {holder.Command} (pid {holder.Pid}).") { BlockedBy = [$"pid {holder.Pid}"] };

    /// <summary>A bridge of the group is on a driver that keeps the group from being claimed.</summary>
    public static Refusal BridgeDriver(int group, PciDevice bridge) => new(
        ProblemCode.GroupNotViable, Names.Group(group),
        $"Bridge {bridge.Address} of group {group} is on the driver {bridge.Driver}, which does DMA of its own; only pcieport or no driver leaves the group viable.",
        $"Unbind it: echo {bridge.Address} > /sys/bus/pci/drivers/{bridge.Driver}/unbind") { BlockedBy = [bridge.Address.ToString()] };

    /// <summary>The firmware reserved memory that the device must keep reaching.</summary>
    public static Refusal FirmwareRegion(int group, ReservedRegion region) => new(
        ProblemCode.GroupNotViable, Names.Group(group),
        $"Firmware demands a 1:1 mapping of 0x{region.StartAddress:x}-0x{region.EndAddress:x} for group {group}; the kernel does not give such a group to VFIO.",
        "Turn off the firmware's use of the device (USB legacy emulation, management agent), or use another device.");

    /// <summary>A physical function with virtual ones cannot move.</summary>
    public static Refusal HasVfs(PciDevice device) => new(
        ProblemCode.GroupNotViable, device.Address.ToString(), $"{device.Address} has {device.Sriov!.NumVfs} virtual functions, which its driver keeps.",
        $"Remove them: PUT /v1/devices/{device.Address}/sriov with {{ \"numVfs\": 0 }}.");

    /// <summary>Not a device that can have virtual functions. Its subject is the field of the request.</summary>
    public static Refusal NotPhysicalFunction(PciDevice device) => device.Sriov?.PhysicalFunction is { } physical
        ? new(ProblemCode.ValidationFailed, "address", $"{device.Address} is itself a virtual function, of {physical}.", $"Ask for PUT /v1/devices/{physical}/sriov.")
            { BlockedBy = [physical.ToString()] }
        : new(ProblemCode.ValidationFailed, "address", $"{device.Address} has no SR-IOV: it cannot have virtual functions.",
            "Choose a device whose sriov.totalVfs is above 0, or switch SR-IOV on in the firmware and in the device's own settings.");

    /// <summary>More virtual functions than the device can have. Its subject is the field of the request.</summary>
    public static Refusal TooManyVfs(PciDevice device, int count) => new(
        ProblemCode.ValidationFailed, "numVfs", $"{device.Address} can have {device.Sriov!.TotalVfs} virtual functions, not {count}.",
        $"Ask for a number from 0 to {device.Sriov.TotalVfs}.");

    /// <summary>Virtual functions are made by the physical one's own driver, and it is not on that.</summary>
    public static Refusal NoSriovDriver(PciDevice device) => new(
        ProblemCode.GroupNotViable, device.Address.ToString(),
        $"{device.Address} is on {device.Driver ?? "no driver"}; its virtual functions are made and removed by a host driver of its own.",
        device.Driver is null
            ? $"Load its driver, then: echo {device.Address} > /sys/bus/pci/drivers_probe"
            : $"Give it back: cd /sys/bus/pci/devices/{device.Address} && echo > driver_override && echo {device.Address} > driver/unbind && echo {device.Address} > /sys/bus/pci/drivers_probe");

    /// <summary>A virtual function that would go belongs to a container.</summary>
    public static Refusal VfOwned(PciDevice function, Container owner) => new(
        ProblemCode.GroupOwned, function.Address.ToString(),
        $"Virtual function {function.Address} belongs to container {owner.Id}{(owner.Guest is { } guest ? $" of guest {guest}" : "")}.",
        owner.Guest is { } name
            ? $"Take it back: DELETE /v1/guests/{name}/devices/{function.Address}, then DELETE /v1/containers/{owner.Id} if it is still there."
            : $"Give it back: DELETE /v1/containers/{owner.Id}.")
    {
        BlockedBy = owner.Guest is { } blocker
            ? [function.Address.ToString(), Names.Container(owner.Id), Names.Guest(blocker)]
            : [function.Address.ToString(), Names.Container(owner.Id)],
    };

    /// <summary>A virtual function that would go is held by a process of somebody else.</summary>
    public static Refusal VfForeign(PciDevice function, GroupHolder holder) => new(
        ProblemCode.GroupForeign, function.Address.ToString(),
        $"Virtual function {function.Address} is held through VFIO by {holder.Command} (pid {holder.Pid}), which AssignHub did not start.",
        $"End {holder.Command} (pid {holder.Pid}).") { BlockedBy = [function.Address.ToString(), $"pid {holder.Pid}"] };

    /// <summary>The host needs the device.</summary>
    public static Refusal InUseByHost(PciDevice device, HostUse use) => new(
        ProblemCode.DeviceInUseByHost, device.Address.ToString(),
        $"The host uses {device.Address}: {use.Detail}.{(use.Essential is { } part ? $" No override lifts that, for {part} is there." : "")}",
        use.Remedy) { BlockedBy = [use.Detail] };

    /// <summary>The device did not answer after a reset.</summary>
    public static Refusal Quarantined(Quarantine quarantine) => new(
        ProblemCode.DeviceQuarantined, quarantine.Address.ToString(), $"{quarantine.Address} is quarantined: {quarantine.Reason}.",
        $"Check the device, then POST /v1/devices/{quarantine.Address}/clear.");

    /// <summary>A bridge was asked for, or a group that has nothing else.</summary>
    public static Refusal IsBridge(PciAddress device) => new(
        ProblemCode.DeviceIsBridge, device.ToString(), $"{device} is a bridge; bridges stay with the host.", "Claim a device below it.");

    /// <summary>
    /// What the kernel tells of a device through VFIO is known from its opening, and it was not opened: nobody claimed it, or QEMU opened it
    /// and AssignHub did not.
    /// </summary>
    public static Refusal NeverOpened(PciAddress device, Container? container) => container is null
        ? new(ProblemCode.ContainerNotFound, device.ToString(),
            $"No container holds {device}. What the kernel tells of a device through VFIO is known while its group is claimed, from the claim that opened it.",
            $"Claim it: POST /v1/containers with {{ \"device\": \"{device}\" }}.")
        : new(ProblemCode.VfioUnavailable, device.ToString(),
            $"Container {container.Id} holds {device}, but AssignHub did not open it: a bridge is not opened, and a device that goes straight into a running guest is opened by QEMU alone.",
            $"For a device: give its group back (DELETE /v1/containers/{container.Id}), then claim it by itself: POST /v1/containers with {{ \"device\": \"{device}\" }}.")
            { BlockedBy = [Names.Container(container.Id)] };

    /// <summary>No IOMMU.</summary>
    public static Refusal IommuDisabled() => new(
        ProblemCode.IommuDisabled, "host", "The IOMMU is off: the kernel shows no IOMMU group.",
        "Switch on VT-d or AMD-Vi in the firmware and boot with intel_iommu=on (Intel); AMD's is on by default.");

    /// <summary>No VFIO.</summary>
    public static Refusal VfioUnavailable() => new(
        ProblemCode.VfioUnavailable, "host", "The kernel offers no vfio-pci driver.", "Load it: modprobe vfio-pci; it needs CONFIG_VFIO_PCI.");

    /// <summary>The reset would hit a device in a guest.</summary>
    public static Refusal ResetHitsGuest(string subject, PciAddress device, int? group, Guest guest) => new(
        ProblemCode.ResetBlocked, subject,
        $"The reset would hit {device}{(group is { } number ? $" of group {number}" : "")} in the running guest {guest.Name}.",
        guest.State == GuestState.Running
            ? $"Detach {device} from guest {guest.Name}, or stop guest {guest.Name}, or reset the bridge with evict=true: the device is unplugged before and plugged back after."
            : $"Detach {device} from guest {guest.Name}, or stop guest {guest.Name}.") { BlockedBy = [device.ToString(), Names.Guest(guest.Name)] };

    /// <summary>The reset would hit a device that the host uses or drives.</summary>
    public static Refusal ResetHitsHost(string subject, PciDevice device) => new(
        ProblemCode.ResetBlocked, subject,
        device.HostUses.IsEmpty
            ? $"The reset would hit {device.Address}, which the host drives with {device.Driver}."
            : $"The reset would hit {device.Address}, which the host uses: {device.HostUses[0].Detail}.",
        device.HostUses.IsEmpty
            ? device.Group is { } group ? $"Claim group {group} first." : $"Unbind {device.Address} from {device.Driver}."
            : device.HostUses[0].Remedy) { BlockedBy = [device.Address.ToString()] };

    /// <summary>The reset would hit a device that a foreign process holds.</summary>
    public static Refusal ResetHitsForeign(string subject, PciAddress device, GroupHolder holder) => new(
        ProblemCode.ResetBlocked, subject, $"The reset would hit {device}, which {holder.Command} (pid {holder.Pid}) holds through VFIO.",
        $"End {holder.Command} (pid {holder.Pid}).") { BlockedBy = [device.ToString(), $"pid {holder.Pid}"] };

    /// <summary>The kernel has no reset.</summary>
    public static Refusal ResetUnsupported(string subject, string why) => new(
        ProblemCode.ResetUnsupported, subject, why, "There is none on this hardware; power the host off and on.");

    /// <summary>The guest runs.</summary>
    public static Refusal GuestRunning(Guest guest, string remedy) => new(
        ProblemCode.GuestRunning, Names.Guest(guest.Name), $"Guest {guest.Name} is {guest.State.ToString().ToLowerInvariant()}.", remedy)
    {
        BlockedBy = [Names.Guest(guest.Name)],
    };

    /// <summary>The guest does not run.</summary>
    public static Refusal GuestNotRunning(Guest guest) => new(
        ProblemCode.GuestNotRunning, Names.Guest(guest.Name), $"Guest {guest.Name} is {guest.State.ToString().ToLowerInvariant()}.",
        $"Start it: POST /v1/guests/{guest.Name}/start.");

    /// <summary>A second group in a guest without an IOMMU would share the first one's container.</summary>
    public static Refusal GuestIommuRequired(string guest) => new(
        ProblemCode.GuestIommuRequired, Names.Guest(guest),
        $"Guest {guest} has guestIommu off; on this backend QEMU would put a second group into the first one's container.",
        $"Give guest {guest} guestIommu auto or on, or devices of one group only.");

    /// <summary>No place to plug the device.</summary>
    public static Refusal NoFreeSlot(string guest, PciAddress device) => new(
        ProblemCode.NoFreeSlot, Names.Guest(guest), $"Guest {guest} has no free slot for {device}.",
        $"Remove a device from guest {guest}, or give it more hotplugSlots and restart it.");

    /// <summary>A guest by this name is there, with another spec.</summary>
    public static Refusal GuestExists(Guest guest) => new(
        ProblemCode.GroupOwned, Names.Guest(guest.Name), $"There is a guest {guest.Name} with another spec.",
        $"Change it with PUT /v1/guests/{guest.Name}, or choose another name.") { BlockedBy = [Names.Guest(guest.Name)] };

    /// <summary>Every user of the range belongs to a guest.</summary>
    public static Refusal NoUserLeft(string guest) => new(
        ProblemCode.Busy, Names.Guest(guest), "Every user of the range for guests' processes belongs to a guest.", "Delete a guest.");

    /// <summary>The guest's system did not give the device back.</summary>
    public static Refusal UnplugTimeout(string guest, PciAddress device) => new(
        ProblemCode.UnplugTimeout, device.ToString(), $"Guest {guest} was asked to let go of {device}, and has not done so in time.",
        $"End its use inside the guest, or take it without asking: DELETE /v1/guests/{guest}/devices/{device}?force=true.") { BlockedBy = [Names.Guest(guest)] };

    /// <summary>QEMU refused or failed; the code says what its words mean, as far as that is known.</summary>
    public static Refusal QemuFailed(ProblemCode code, string subject, string message) => new(code, subject, message, code == ProblemCode.MemoryLockExceeded
        ? "The host could not pin the guest's memory: free memory there, or give the guest less."
        : "QEMU's own words are in qemu; what had been done was undone, so the same request may be sent again when their cause is gone.");

    /// <summary>The kernel refused or failed.</summary>
    public static Refusal HostFailed(string subject, string message) => new(
        ProblemCode.HostFault, subject, message, "The kernel's log says more (dmesg); what had been done was undone, so the same request may be sent again when the cause is gone.");

    /// <summary>A bug of AssignHub.</summary>
    public static Refusal Bug(string subject, string message) => new(
        ProblemCode.InternalError, subject, message, "Report it, with the service's log of that time.");

    /// <summary>There is no IOMMU behind the group: its devices could reach all memory.</summary>
    public static Refusal NoIommu(int group) => new(
        ProblemCode.NoiommuRefused, Names.Group(group), $"Group {group} is one of vfio's no-IOMMU mode: nothing keeps its devices from the host's memory.",
        "Switch on VT-d or AMD-Vi in the firmware, boot with intel_iommu=on (Intel), and leave vfio.enable_unsafe_noiommu_mode off. "
            + "Started with --allow-noiommu, the service claims such a group for a program of the host's own, never for a guest.");
}
