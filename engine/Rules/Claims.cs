// Taking a whole group, and giving it back.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;
using AssignHub.Engine.Host;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Rules;

/// <summary>The rules and plans of claim and release.</summary>
public static class Claims
{
    /// <summary>Everything that keeps a group from being claimed by someone new; empty if it is assignable.</summary>
    /// <param name="world">What is.</param>
    /// <param name="group">The group.</param>
    /// <param name="owner">The container that is to hold it, if that is there already.</param>
    public static ImmutableArray<Refusal> RefusalsFor(World world, IommuGroup group, Container? owner = null)
    {
        var refusals = ImmutableArray.CreateBuilder<Refusal>();
        bool withoutIommu = group.NoIommu && world.Host.Vfio.NoIommuAllowed;
        if (!world.Host.Vfio.IommuEnabled && !withoutIommu)
        {
            refusals.Add(Refusals.IommuDisabled());
        }

        if (!world.Host.Vfio.Available)
        {
            refusals.Add(Refusals.VfioUnavailable());
        }

        if (group.NoIommu && !withoutIommu)
        {
            refusals.Add(Refusals.NoIommu(group.Number));
        }

        Container[] others = [.. world.ContainersOf(group).Where(other => other.Id != owner?.Id)];
        refusals.AddRange(others.Select(Refusals.GroupOwned));
        if (others.Length == 0 && world.Host.Holders.TryGetValue(group.Number, out GroupHolder? holder))
        {
            refusals.Add(Refusals.GroupForeign(group.Number, holder));
        }

        ImmutableArray<PciDevice> members = [.. world.Members(group)];
        if (members.All(Ownership.Stays))
        {
            refusals.AddRange(members.Select(member => Refusals.IsBridge(member.Address)));
        }

        foreach (PciDevice member in members)
        {
            AddMember(world, group, member, refusals);
        }

        foreach (ReservedRegion region in group.ReservedRegions)
        {
            if (region.Type == "direct")
            {
                refusals.Add(Refusals.FirmwareRegion(group.Number, region));
            }
        }

        return refusals.ToImmutable();
    }

    /// <summary>Decides a claim that somebody asked for by itself.</summary>
    internal static void Plan(Draft draft, ClaimGroup claim)
    {
        if (FindGroup(draft, claim) is not { } group)
        {
            return;
        }

        if (claim.Guest is { } guest && !draft.World.Inventory.Guests.ContainsKey(guest))
        {
            draft.Refuse(Refusals.GuestNotFound(guest));
        }

        if (draft.World.ContainerOf(group) is { } owner && owner.CreatedAt != claim.At && owner.Guest == claim.Guest && owner.Keep != claim.Keep)
        {
            draft.Refuse(Refusals.ContainerExists(group.Number, owner));
            return;
        }

        Take(draft, group, claim.Guest, claim.Keep, openDevices: true);
    }

    /// <summary>
    /// Adds the steps that make the group its container's: none if it is this guest's already. Returns the container, or null if refused.
    /// </summary>
    internal static Container? Take(Draft draft, IommuGroup group, string? guest, bool keep, bool openDevices)
    {
        World world = draft.World with { Inventory = draft.Inventory };
        draft.Touch(Names.Group(group.Number));
        Container? had = world.ContainerOf(group);
        if (had is not null && RefusalFor(world, group, had, guest) is { } refusal)
        {
            draft.Refuse(refusal);
            return null;
        }

        bool isPrepared = had is { State: not ContainerState.Preparing, Fence: null } && ToMove(world, had).IsEmpty;
        ImmutableArray<Refusal> refusals = isPrepared ? [] : RefusalsFor(world, group, had);
        if (!refusals.IsEmpty)
        {
            draft.Refuse(refusals);
            return null;
        }

        foreach (string warning in Trust.WarningsFor(world.Host, group))
        {
            draft.Warn(warning);
        }

        Container container = had is null ? NewContainer(world, group, guest, keep, draft.Change.At) : had with { Guest = guest };
        draft.Touch(container);
        draft.Inventory = Identity.Number(draft.Inventory, container, group.Number);
        if (!isPrepared && draft.Prepares(container.Id))
        {
            Prepare(draft, group, container, openDevices);
        }

        return container;
    }

    /// <summary>What keeps a group's container from being this guest's.</summary>
    private static Refusal? RefusalFor(World world, IommuGroup group, Container container, string? guest) =>
        container.State is ContainerState.Releasing or ContainerState.Failed ? Refusals.ContainerNotReady(container)
        : Identity.DifferenceFrom(world, container) is { } difference ? Refusals.GroupChanged(container, difference)
        // One that no guest has yet may be given to one; every other combination is somebody else's.
        : container.Guest != guest && (container.Guest is not null || guest is null) ? Refusals.GroupOwned(container)
        : null;

    /// <summary>The devices of a container that are not on VFIO.</summary>
    internal static ImmutableArray<PciDevice> ToMove(World world, Container container) =>
    [
        .. container.Endpoints.Where(member => world.Host.Devices.ContainsKey(member.Address))
            .Select(member => world.Host.Devices[member.Address]).Where(device => !VfioDrivers.IsVfio(device.Driver)),
    ];

    /// <summary>The steps between what is and a container whose devices are all on VFIO.</summary>
    internal static void Prepare(Draft draft, IommuGroup group, Container container, bool openDevices)
    {
        ImmutableArray<PciDevice> toMove = ToMove(draft.World, container);
        foreach (string warning in toMove.SelectMany(device => Overrides.WarningsFor(draft.World, device)))
        {
            draft.Warn(warning);
        }

        if (!toMove.IsEmpty)
        {
            draft.Do(new LoadDriver("vfio-pci", $"group {group.Number} is handed out through VFIO"));
        }

        foreach (PciDevice device in toMove)
        {
            draft.Do(new BindVfio(device.Address, device.Driver, device.Driver is null
                ? $"group {group.Number} moves as one"
                : $"group {group.Number} moves as one; {device.Driver} gets it back at release"));
        }

        // A group that a guest has open proves itself, and nobody else can open it.
        if (container.State != ContainerState.Attached)
        {
            ImmutableArray<PciAddress> endpoints = [.. container.Endpoints.Select(member => member.Address)];
            draft.Do(new ProveContainer(container.Id, group.Number, endpoints, openDevices, openDevices
                ? "the kernel has to agree: open the container, attach the group, set the IOMMU, open each device"
                : "the kernel has to agree: open the container, attach the group, set the IOMMU (QEMU opens the devices)"));
        }

        if (container.Fence is { } fence)
        {
            draft.Do(new UnfenceContainer(container.Id, $"no longer so: {fence}"));
        }
    }

    /// <summary>Decides the way back to the host's drivers.</summary>
    internal static void Plan(Draft draft, ReleaseContainer release)
    {
        if (!draft.World.Inventory.Containers.TryGetValue(release.Container, out Container? container))
        {
            draft.Refuse(Refusals.ContainerNotFound(release.Container));
            return;
        }

        if (container.Guest is { } name && draft.World.Inventory.Guests.TryGetValue(name, out Guest? guest)
            && guest.Devices.Values.Any(device => device.Container == container.Id))
        {
            draft.Refuse(guest.IsActive
                ? Refusals.GuestRunning(guest, $"Detach {string.Join(", ", DevicesIn(guest, container))} from guest {name}, or stop and delete it.")
                : Refusals.GroupOwned(container));
            return;
        }

        Release(draft, container);
    }

    /// <summary>Adds the steps that give a container's devices back and forget it.</summary>
    internal static void Release(Draft draft, Container container)
    {
        draft.Touch(container);
        draft.Inventory = draft.Inventory.With(container with { State = ContainerState.Releasing });
        foreach (ContainerMember member in container.Endpoints)
        {
            if (!draft.World.Host.Devices.TryGetValue(member.Address, out PciDevice? device))
            {
                continue;
            }

            // Also where the driver is right already: driver_override has to go.
            if (Identity.IsSame(member, device))
            {
                bool used = !VfioDrivers.IsVfio(device.Driver) && !device.HostUses.IsEmpty;
                draft.Do(used
                    ? new RestoreDriver(member.Address, device.Driver, "the host has it back already, and uses it")
                    : new RestoreDriver(member.Address, member.OriginalDriver, member.OriginalDriver is null
                        ? "it had no driver before the claim"
                        : "it was on this driver before the claim"));
            }
            else if (VfioDrivers.IsVfio(device.DriverOverride))
            {
                // Exchanged in the moment in which it was bound. Another device has nothing to restore, but is not left held to VFIO.
                draft.Do(new RestoreDriver(member.Address, null, "it is another device than the one that was claimed"));
            }
        }

        draft.Do(new DropContainer(container.Id, "its devices are back"));
    }

    internal static IEnumerable<PciAddress> DevicesIn(Guest guest, Container container) =>
        guest.Devices.Values.Where(device => device.Container == container.Id).Select(device => device.Address);

    /// <summary>A group's members as they are now, each with the driver that it goes back to.</summary>
    internal static ImmutableArray<ContainerMember> MembersOf(World world, IommuGroup group) =>
    [
        .. world.Members(group).Select(device => new ContainerMember(
            device.Address, device.VendorId, device.DeviceId, device.Serial, Ownership.Stays(device), device.Driver)),
    ];

    private static Container NewContainer(World world, IommuGroup group, string? guest, bool keep, DateTimeOffset now)
    {
        ImmutableArray<ContainerMember> members = MembersOf(world, group);
        PciAddress first = members.First(member => !member.IsBridge).Address;
        string id = $"c-{first.ToString().Replace(':', '-').Replace('.', '-')}";
        return new Container
        {
            // Derived from the group's first device, it is the same for every claim of this group: two cannot exist. But a device may have
            // left the group of a container that bears its name.
            Id = Enumerable.Range(1, int.MaxValue).Select(n => n == 1 ? id : $"{id}-{n}").First(free => !world.Inventory.Containers.ContainsKey(free)),
            Group = group.Number,
            Members = members,
            Guest = guest,
            Keep = keep,
            State = ContainerState.Preparing,
            CreatedAt = now,
        };
    }

    private static void AddMember(World world, IommuGroup group, PciDevice member, ImmutableArray<Refusal>.Builder refusals)
    {
        if (Ownership.Stays(member))
        {
            if (Ownership.Blocks(member.Driver))
            {
                refusals.Add(Refusals.BridgeDriver(group.Number, member));
            }

            return;
        }

        refusals.AddRange(Overrides.RefusalsFor(world, member));
        if (member.Sriov is { NumVfs: > 0 })
        {
            refusals.Add(Refusals.HasVfs(member));
        }

        if (world.Inventory.Quarantined.TryGetValue(member.Address, out Quarantine? quarantine))
        {
            refusals.Add(Refusals.Quarantined(quarantine));
        }
    }

    private static IommuGroup? FindGroup(Draft draft, ClaimGroup claim)
    {
        if (claim.Device is { } device)
        {
            if (FindDevice(draft, device) is not { } found)
            {
                return null;
            }

            if (claim.Group is { } asked && found.Group != asked)
            {
                draft.Refuse(Refusals.ContainerSingleGroup(asked, device, found.Group));
                return null;
            }

            return GroupOf(draft, found);
        }

        if (draft.World.Host.Groups.TryGetValue(claim.Group!.Value, out IommuGroup? group))
        {
            return group;
        }

        draft.Refuse(Refusals.GroupNotFound(claim.Group.Value));
        return null;
    }

    /// <summary>A device of the host; refuses one that is not there, or not any more.</summary>
    internal static PciDevice? FindDevice(Draft draft, PciAddress address)
    {
        if (draft.World.Host.Devices.TryGetValue(address, out PciDevice? device))
        {
            return device;
        }

        draft.Refuse(WhyMissing(draft.World, address));
        return null;
    }

    /// <summary>Why a device cannot be had that is not on the host: it never was, or it is claimed and gone.</summary>
    public static Refusal WhyMissing(World world, PciAddress address) =>
        world.Inventory.ContainerOf(address) is { } owner && Identity.DifferenceFrom(world, owner) is { } difference
            ? Refusals.GroupChanged(owner, difference)
            : Refusals.DeviceNotFound(address);

    /// <summary>The group to take a device with; refuses bridges and devices without a group.</summary>
    internal static IommuGroup? GroupOf(Draft draft, PciDevice device)
    {
        if (Ownership.Stays(device))
        {
            draft.Refuse(Refusals.IsBridge(device.Address));
            return null;
        }

        if (draft.World.GroupOf(device.Address) is { } group)
        {
            return group;
        }

        draft.Refuse(Refusals.IommuDisabled());
        return null;
    }
}
