// A driver of QEMU's edu device (docs/specs/edu.rst in QEMU), over AssignHub's VFIO: enough to prove interrupts, DMA and isolation.

using AssignHub.Engine.Vfio;

namespace AssignHub.Tests.VfioDriver;

/// <summary>An open edu device with its registers mapped, bus mastering on and its one MSI vector enabled.</summary>
internal sealed class Edu : IDisposable
{
    /// <summary>The device's own buffer as its DMA engine sees it, 4 KiB.</summary>
    public const ulong Buffer = 0x40000;

    public const ulong BufferBytes = 4096;

    private const ulong CommandRegister = 0x04;
    private const ushort MemoryAndMaster = 1 << 1 | 1 << 2;
    private const ulong Identification = 0x00;
    private const ulong InterruptStatus = 0x24;
    private const ulong InterruptRaise = 0x60;
    private const ulong InterruptAcknowledge = 0x64;
    private const ulong DmaSource = 0x80;
    private const ulong DmaDestination = 0x88;
    private const ulong DmaCount = 0x90;
    private const ulong DmaCommand = 0x98;
    private const ulong DmaStart = 1;
    private const ulong DmaFromDevice = 2;
    private const ulong DmaInterrupt = 4;

    private readonly MappedRegion _registers;
    private readonly VfioInterrupts _interrupts;

    public Edu(VfioDevice device)
    {
        device.WriteConfig16(CommandRegister, (ushort)(device.ReadConfig16(CommandRegister) | MemoryAndMaster));
        _registers = device.Map(PciRegion.Bar0, device.Region(PciRegion.Bar0).MapPlan.Single());
        _interrupts = device.EnableInterrupts(PciIrq.Msi, 1);
    }

    public uint Id => _registers.Read32(Identification);

    /// <summary>Lets the device raise its interrupt with a value, and gives the value that the handler finds.</summary>
    public async Task<uint> RaiseAsync(uint value, CancellationToken cancellation)
    {
        _registers.Write32(InterruptRaise, value);
        return await AcknowledgeAsync(cancellation);
    }

    /// <summary>Copies from memory into the device, or back, and waits for its interrupt.</summary>
    public async Task CopyAsync(ulong iova, ulong bytes, bool toMemory, CancellationToken cancellation)
    {
        _registers.Write64(DmaSource, toMemory ? Buffer : iova);
        _registers.Write64(DmaDestination, toMemory ? iova : Buffer);
        _registers.Write64(DmaCount, bytes);
        _registers.Write64(DmaCommand, DmaStart | DmaInterrupt | (toMemory ? DmaFromDevice : 0));
        await AcknowledgeAsync(cancellation);
    }

    public void Dispose()
    {
        _interrupts.Dispose();
        _registers.Dispose();
    }

    private async Task<uint> AcknowledgeAsync(CancellationToken cancellation)
    {
        await _interrupts.WaitAsync(0, cancellation);
        uint status = _registers.Read32(InterruptStatus);
        _registers.Write32(InterruptAcknowledge, status);
        return status;
    }
}
