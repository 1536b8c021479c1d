// Drives VFIO on a real kernel and prints what it saw, one `name: value` a line, for the lab's tests to judge.
//
//   vfio-probe support                            what the kernel offers
//   vfio-probe proof GROUP [ADDRESS...]           the proof of a claim, as JSON; opens the devices given
//   vfio-probe refusals GROUP                     a second opener, and DMA mappings that cannot be
//   vfio-probe edu GROUP ADDRESS                  MSI, DMA out and back, isolation; the device is an edu
//   vfio-probe registers GROUP ADDRESS            BAR 0 of an NVMe through the mapping and through the fd, and after a reset
//   vfio-probe reset GROUP ADDRESS                the device's own reset, then its bus's
//   vfio-probe cycles GROUP ADDRESS... COUNT      opens and closes all of it, counting descriptors, mappings and threads
//   vfio-probe hold GROUP ADDRESS                 opens the device, prints `held` and keeps it for five minutes
//
// A HostFault ends it with status 1: `fault: OPERATION ERRNO`, then its words.

using System.Buffers.Binary;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using AssignHub.Engine;
using AssignHub.Engine.Pci;
using AssignHub.Engine.Vfio;
using AssignHub.Tests.VfioDriver;

using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
int group = args.Length > 1 ? int.Parse(args[1], CultureInfo.InvariantCulture) : 0;
PciAddress[] addresses = [.. args.Skip(2).Where(text => PciAddress.TryParse(text, out _)).Select(PciAddress.Parse)];
try
{
    switch (args.FirstOrDefault())
    {
        case "support":
            Say("support", JsonSerializer.Serialize(VfioProbe.Read(new VfioHost()), JsonSerializerOptions.Web));
            return 0;
        case "proof":
            Say("proof", JsonSerializer.Serialize(ContainerProof.Take(group, addresses, addresses.Length > 0), JsonSerializerOptions.Web));
            return 0;
        case "refusals":
            Refusals(group);
            return 0;
        case "edu":
            await ProveEduAsync(group, addresses[0], deadline.Token);
            return 0;
        case "registers":
            CompareRegisters(group, addresses[0]);
            return 0;
        case "reset":
            ResetBoth(group, addresses[0]);
            return 0;
        case "cycles":
            Cycle(group, addresses, int.Parse(args[^1], CultureInfo.InvariantCulture));
            return 0;
        case "hold":
            await HoldAsync(group, addresses[0]);
            return 0;
        default:
            Console.Error.WriteLine("vfio-probe support|proof|refusals|edu|registers|reset|cycles|hold GROUP ADDRESS...");
            return 2;
    }
}
catch (HostFault fault)
{
    Say("fault", $"{fault.Operation} {fault.Errno}");
    Say("words", fault.Message);
    return 1;
}

static void Say(string name, object value) => Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name}: {value}"));

static async Task HoldAsync(int group, PciAddress address)
{
    using VfioContainer container = VfioContainer.Open(group);
    using VfioDevice device = container.OpenDevice(address);
    Say("held", address);
    await Task.Delay(TimeSpan.FromMinutes(5));
}

static void Refusals(int group)
{
    Say("before", VfioContainer.ProbeGroup(group));
    using (VfioContainer container = VfioContainer.Open(group))
    {
        Say("open", VfioContainer.ProbeGroup(group));
        Say("second", Refusal(() => VfioContainer.Open(group).Dispose()));

        using DmaBuffer buffer = DmaBuffer.Allocate(4096);
        using DmaMapping mapping = container.MapDma(buffer, 0x10000, DmaAccess.Read);
        Say("overlap", Refusal(() => container.MapDma(buffer, 0x10000, DmaAccess.Read)));
        Say("hole", Refusal(() => container.MapDma(buffer, container.ReadIommu().IovaRanges[0].End + 1, DmaAccess.Read)));
        Say("unaligned", Refusal(() => container.MapDma(buffer, 0x20800, DmaAccess.Read)));
    }

    Say("after", VfioContainer.ProbeGroup(group));
}

static async Task ProveEduAsync(int group, PciAddress address, CancellationToken cancellation)
{
    const ulong iova = 0x100000;
    using VfioContainer container = VfioContainer.Open(group);
    VfioDevice device = container.OpenDevice(address);
    using var edu = new Edu(device);
    Say("id", edu.Id.ToString("x8", CultureInfo.InvariantCulture));
    Say("interrupt", (await edu.RaiseAsync(0x12345, cancellation)).ToString("x", CultureInfo.InvariantCulture));

    byte[] sent = new byte[Edu.BufferBytes];
    Random.Shared.NextBytes(sent);
    byte[] got = new byte[Edu.BufferBytes];
    using DmaBuffer buffer = DmaBuffer.Allocate(Edu.BufferBytes);
    DmaMapping mapping = container.MapDma(buffer, iova, DmaAccess.Read | DmaAccess.Write);
    buffer.CopyFrom(0, sent);
    await edu.CopyAsync(iova, Edu.BufferBytes, toMemory: false, cancellation);
    buffer.CopyFrom(0, got);
    await edu.CopyAsync(iova, Edu.BufferBytes, toMemory: true, cancellation);
    buffer.CopyTo(0, got);
    Say("dma", got.AsSpan().SequenceEqual(sent) ? "equal" : "different");

    // The same transfer to the same address, which leads nowhere now; the memory that was there must not change.
    mapping.Dispose();
    byte[] kept = new byte[Edu.BufferBytes];
    buffer.CopyFrom(0, kept);
    await edu.CopyAsync(iova, Edu.BufferBytes, toMemory: true, cancellation);
    buffer.CopyTo(0, got);
    Say("unmapped", got.AsSpan().SequenceEqual(kept) ? "unchanged" : "written");

    // Mapped for reading only: the device may not write it either.
    using DmaMapping readOnly = container.MapDma(buffer, iova, DmaAccess.Read);
    await edu.CopyAsync(iova, Edu.BufferBytes, toMemory: true, cancellation);
    buffer.CopyTo(0, got);
    Say("read-only", got.AsSpan().SequenceEqual(kept) ? "unchanged" : "written");
}

static void CompareRegisters(int group, PciAddress address)
{
    using VfioContainer container = VfioContainer.Open(group);
    VfioDevice device = container.OpenDevice(address);
    device.WriteConfig16(4, (ushort)(device.ReadConfig16(4) | 2));
    using MappedRegion registers = device.Map(PciRegion.Bar0, device.Region(PciRegion.Bar0).MapPlan[0]);
    byte[] bytes = new byte[4];
    var mapped = new List<uint>();
    var read = new List<uint>();
    for (ulong offset = 0; offset < 0x40; offset += 4)
    {
        mapped.Add(registers.Read32(offset));
        device.Read(PciRegion.Bar0, offset, bytes);
        read.Add(BinaryPrimitives.ReadUInt32LittleEndian(bytes));
    }

    Say("mapped", string.Join(' ', mapped.Select(value => value.ToString("x8", CultureInfo.InvariantCulture))));
    Say("read", string.Join(' ', read.Select(value => value.ToString("x8", CultureInfo.InvariantCulture))));

    // A controller that was configured and enabled, and is as after power-on again (NVM Express base specification, 3.1.4: CC, CSTS, AQA, ASQ, ACQ).
    using DmaBuffer queues = DmaBuffer.Allocate(8192);
    using DmaMapping mapping = container.MapDma(queues, 0x100000, DmaAccess.Read | DmaAccess.Write);
    device.WriteConfig16(4, (ushort)(device.ReadConfig16(4) | 4));
    registers.Write32(0x24, 0x000f000f);
    registers.Write32(0x28, 0x100000);
    registers.Write32(0x30, 0x101000);
    registers.Write32(0x14, 0x00460001);
    for (int i = 0; i < 100 && (registers.Read32(0x1c) & 1) == 0; i++)
    {
        Thread.Sleep(20);
    }

    Say("enabled", Controller());
    device.Reset();
    device.WriteConfig16(4, (ushort)(device.ReadConfig16(4) | 2));
    Say("reset", Controller());

    string Controller() => string.Join(' ', ((ulong[])[0x14, 0x1c]).Select(offset => registers.Read32(offset).ToString("x8", CultureInfo.InvariantCulture)));
}

static void ResetBoth(int group, PciAddress address)
{
    using VfioContainer container = VfioContainer.Open(group);
    VfioDevice device = container.OpenDevice(address);
    uint id = device.ReadConfig32(0);
    Say("own", Timed(device.Reset));
    Say("dependent", string.Join(' ', device.ReadHotResetInfo()?.Select(one => one.ToString()) ?? ["none"]));
    Say("bus", Timed(() => container.HotReset(device)));
    Say("id", device.ReadConfig32(0) == id ? "same" : "lost");
}

static void Cycle(int group, PciAddress[] addresses, int count)
{
    // The first two rounds load what the runtime needs, counting and printing included; only what comes after them can be a leak.
    Say("cycles", count);
    for (int i = -1; i <= count; i++)
    {
        using (VfioContainer container = VfioContainer.Open(group))
        using (DmaBuffer buffer = DmaBuffer.Allocate(1 << 20))
        {
            container.MapDma(buffer, 0x100000, DmaAccess.Read);
            foreach (VfioDevice device in addresses.Select(address => container.OpenDevice(address)))
            {
                device.EnableInterrupts(device.Irqs.Any(irq => irq.Name == "msi") ? PciIrq.Msi : PciIrq.Intx, 1);
                device.Map(PciRegion.Bar0, device.Region(PciRegion.Bar0).MapPlan[0]);
            }
        }

        string counts = Counts();
        if (i == 0 || i == count)
        {
            Say(i == 0 ? "first" : "last", counts);
        }
    }
}

static string Counts()
{
    string[] targets = [.. Directory.GetFiles("/proc/self/fd").Select(path => new FileInfo(path).LinkTarget ?? "")];
    int device = targets.Count(target => target.Contains("/dev/vfio", StringComparison.Ordinal) || target == "/dev/iommu" || target.Contains("vfio-device", StringComparison.Ordinal));
    int events = targets.Count(target => target.Contains("eventfd", StringComparison.Ordinal));
    int maps = File.ReadLines("/proc/self/maps").Count(line => line.EndsWith("vfio-device]", StringComparison.Ordinal) || line.Contains("/dev/vfio/devices/", StringComparison.Ordinal));
    string locked = File.ReadLines("/proc/self/status").First(line => line.StartsWith("VmLck", StringComparison.Ordinal)).Split('\t')[^1].Trim();
    int threads = Directory.GetDirectories("/proc/self/task").Length;
    return string.Create(CultureInfo.InvariantCulture, $"vfio {device}, eventfd {events}, all {targets.Length}, maps {maps}, locked {locked}, threads {threads}");
}

static string Timed(Action reset)
{
    long start = Stopwatch.GetTimestamp();
    string refusal = Refusal(reset);
    return refusal.Length > 0 ? refusal : string.Create(CultureInfo.InvariantCulture, $"done in {Stopwatch.GetElapsedTime(start).TotalMilliseconds:0} ms");
}

static string Refusal(Action action)
{
    try
    {
        action();
        return "";
    }
    catch (HostFault fault)
    {
        return fault.Message;
    }
    catch (ArgumentException misuse)
    {
        return misuse.Message;
    }
}
