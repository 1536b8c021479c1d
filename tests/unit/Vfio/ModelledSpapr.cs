// A POWER kernel's VFIO, as drivers/vfio/vfio_iommu_spapr_tce.c keeps its rules: one window, accounting before mapping.

using System.Runtime.InteropServices;
using AssignHub.Engine;
using AssignHub.Engine.Vfio;
using AssignHub.Engine.Vfio.Abi;
using static AssignHub.Engine.Vfio.Abi.Uapi;

namespace AssignHub.Tests.Unit.Vfio;

/// <summary>The container's side of it.</summary>
/// <param name="extension">The sPAPR type that the kernel has.</param>
internal sealed class ModelledSpapr(uint extension) : ContainerHandle
{
    public const uint WindowStart = 0x10000;
    public const uint WindowBytes = 0x4000_0000;

    private readonly Dictionary<ulong, vfio_iommu_spapr_register_memory> _registered = [];
    private readonly Dictionary<ulong, vfio_iommu_type1_dma_map> _mapped = [];
    private uint _type;

    /// <summary>What may be locked, in bytes (RLIMIT_MEMLOCK).</summary>
    public ulong LockableBytes { get; init; } = ulong.MaxValue;

    public bool IsEnabled { get; private set; }

    public bool HasGroup { get; set; }

    public int Registered => _registered.Count;

    public int Mapped => _mapped.Count;

    public override bool IsInvalid => false;

    public override int IoctlValue(uint request, nuint argument = 0) => request switch
    {
        VFIO_GET_API_VERSION => 0,
        VFIO_CHECK_EXTENSION => argument == extension ? 1 : 0,
        VFIO_SET_IOMMU => !HasGroup || _type != 0 ? -(int)Errno.EINVAL : argument == extension ? Answer(() => _type = extension) : -(int)Errno.ENODEV,
        VFIO_IOMMU_ENABLE => Enable(),
        _ => -(int)Errno.ENOTTY,
    };

    public override int Ioctl(uint request, Span<byte> argument) => request switch
    {
        VFIO_IOMMU_SPAPR_TCE_GET_INFO => Info(argument),
        VFIO_IOMMU_SPAPR_REGISTER_MEMORY => Register(MemoryMarshal.Read<vfio_iommu_spapr_register_memory>(argument)),
        VFIO_IOMMU_SPAPR_UNREGISTER_MEMORY => Unregister(MemoryMarshal.Read<vfio_iommu_spapr_register_memory>(argument)),
        VFIO_IOMMU_MAP_DMA => Map(MemoryMarshal.Read<vfio_iommu_type1_dma_map>(argument)),
        VFIO_IOMMU_UNMAP_DMA => _mapped.Remove(MemoryMarshal.Read<vfio_iommu_type1_dma_unmap>(argument).iova) ? 0 : -(int)Errno.ENXIO,
        _ => -(int)Errno.ENOTTY,
    };

    protected override bool ReleaseHandle() => true;

    private static int Answer(Action done)
    {
        done();
        return 0;
    }

    // Only the first version: it accounts the window as a whole.
    private int Enable() => _type != VFIO_SPAPR_TCE_IOMMU ? -(int)Errno.ENOTTY
        : IsEnabled ? -(int)Errno.EBUSY
        : WindowBytes > LockableBytes ? -(int)Errno.ENOMEM
        : Answer(() => IsEnabled = true);

    private static int Info(Span<byte> argument)
    {
        vfio_iommu_spapr_tce_info info = MemoryMarshal.Read<vfio_iommu_spapr_tce_info>(argument);
        info.dma32_window_start = WindowStart;
        info.dma32_window_size = WindowBytes;
        MemoryMarshal.Write(argument, info);
        return 0;
    }

    private int Register(vfio_iommu_spapr_register_memory memory)
    {
        if (_type != VFIO_SPAPR_TCE_v2_IOMMU)
        {
            return -(int)Errno.ENOTTY;
        }

        ulong locked = _registered.Values.Aggregate(0UL, (sum, one) => sum + one.size);
        return memory.vaddr % 4096 != 0 || memory.size % 4096 != 0 ? -(int)Errno.EINVAL
            : locked + memory.size > LockableBytes ? -(int)Errno.ENOMEM
            : _registered.TryAdd(memory.vaddr, memory) ? 0 : -(int)Errno.EBUSY;
    }

    private int Unregister(vfio_iommu_spapr_register_memory memory) =>
        _mapped.Values.Any(one => one.vaddr == memory.vaddr) ? -(int)Errno.EBUSY : _registered.Remove(memory.vaddr) ? 0 : -(int)Errno.ENOENT;

    private int Map(vfio_iommu_type1_dma_map map)
    {
        if (_type == VFIO_SPAPR_TCE_IOMMU && !IsEnabled)
        {
            return -(int)Errno.EPERM;
        }

        bool known = _type == VFIO_SPAPR_TCE_IOMMU || _registered.TryGetValue(map.vaddr, out vfio_iommu_spapr_register_memory memory) && map.size <= memory.size;
        bool inside = map.iova >= WindowStart && map.iova + map.size <= (ulong)WindowStart + WindowBytes;
        return !inside ? -(int)Errno.ENXIO : !known ? -(int)Errno.EINVAL : _mapped.TryAdd(map.iova, map) ? 0 : -(int)Errno.EBUSY;
    }
}

/// <summary>Its group.</summary>
internal sealed class ModelledGroup(ModelledSpapr container) : GroupHandle
{
    public override bool IsInvalid => false;

    public override int Ioctl(uint request, Span<byte> argument)
    {
        switch (request)
        {
            case VFIO_GROUP_SET_CONTAINER:
                container.HasGroup = true;
                return 0;
            case VFIO_GROUP_GET_STATUS:
                MemoryMarshal.Write(argument, new vfio_group_status { argsz = 8, flags = VFIO_GROUP_FLAGS_VIABLE });
                return 0;
            default:
                return -(int)Errno.ENOTTY;
        }
    }

    protected override bool ReleaseHandle()
    {
        container.HasGroup = false;
        return true;
    }
}
