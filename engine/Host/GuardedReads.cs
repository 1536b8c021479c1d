// Reads the attributes whose reading takes the device's lock in the kernel (sriov_numvfs_show; driver_override_show in many versions): while
// a bind, unbind or reset of that device hangs, so does the reader. Threads of their own do it; one that makes no progress is left where it is, and the
// device is told busy until that thread comes back.

using System.Buffers.Text;
using System.Collections.Concurrent;
using System.Globalization;
using System.Text.Unicode;
using AssignHub.Engine.Pci;

namespace AssignHub.Engine.Host;

/// <summary>One device's guarded attributes.</summary>
/// <param name="Read">Whether they could be read; false while the kernel holds the device's lock.</param>
/// <param name="DriverOverride">What <c>driver_override</c> says, or null.</param>
/// <param name="NumVfs">What <c>sriov_numvfs</c> says; 0 where there is none.</param>
internal readonly record struct Guarded(bool Read, string? DriverOverride, int NumVfs);

/// <summary>Does such readings, many at once. Safe to use from several threads.</summary>
/// <param name="devicesPath">The directory whose entries are the devices.</param>
/// <param name="names">Shared strings.</param>
internal sealed class GuardedReads(string devicesPath, NameTable names)
{
    // A healthy reading takes microseconds; under software emulation and load a thread may be put aside for some tens of milliseconds.
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(250);
    private const int KeptWorkers = 2;

    // How long a thread stays without work.
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(20);

    private readonly ConcurrentDictionary<PciAddress, Worker> _locked = new();
    private readonly ConcurrentStack<Worker> _idle = new();

    /// <summary>Begins to read. <see cref="Batch.Wait"/> gives the answers.</summary>
    /// <param name="devices">The devices, and of each whether it may have virtual functions.</param>
    public Batch Start((PciAddress Address, bool MayHaveVfs)[] devices)
    {
        Batch batch = new(this, devices);
        Take(batch);
        return batch;
    }

    private void Take(Batch batch)
    {
        while (_idle.TryPop(out Worker? idle))
        {
            if (idle.Begin(batch))
            {
                return;
            }
        }

        _ = new Worker(this).Begin(batch);
    }

    private Guarded Read(SysDir dir, PciAddress address, bool mayHaveVfs)
    {
        Span<byte> name = stackalloc byte[48];
        Span<byte> buffer = stackalloc byte[256];
        int vfs = 0;
        if (mayHaveVfs && Utf8.TryWrite(name, CultureInfo.InvariantCulture, $"{address}/sriov_numvfs", out int length)
            && dir.TryRead(name[..length], buffer, out ReadOnlySpan<byte> text))
        {
            _ = Utf8Parser.TryParse(text, out vfs, out _);
        }

        string? held = Utf8.TryWrite(name, CultureInfo.InvariantCulture, $"{address}/driver_override", out length)
            && dir.TryRead(name[..length], buffer, out text) && !text.IsEmpty && !text.SequenceEqual("(null)"u8)
                ? names.Get(text)
                : null;
        return new Guarded(true, held, vfs);
    }

    /// <summary>Readings under way.</summary>
    internal sealed class Batch(GuardedReads reads, (PciAddress Address, bool MayHaveVfs)[] devices)
    {
        private readonly Guarded[] _results = new Guarded[devices.Length];
        private readonly object _lock = new();
        private Worker? _owner;
        private Exception? _failure;
        private int _next;
        private bool _done;

        /// <summary>Waits for all answers, in the order of the devices; a device whose lock is held does not hold this up for long.</summary>
        /// <exception cref="HostFault">An attribute is there and cannot be read.</exception>
        public Guarded[] Wait()
        {
            while (true)
            {
                lock (_lock)
                {
                    int before = _next;
                    if (!_done)
                    {
                        Monitor.Wait(_lock, Patience);
                    }

                    if (_done)
                    {
                        break;
                    }

                    // Some progress, or a thread that has not begun: on.
                    if (_next != before || _owner is null)
                    {
                        continue;
                    }

                    // It hangs at this one, which keeps the default answer: not read. Another worker goes on behind it.
                    reads._locked[devices[_next].Address] = _owner;
                    _owner = null;
                    _next++;
                }

                reads.Take(this);
            }

            return _failure is HostFault fault ? throw new HostFault(fault.Operation, fault.Subject, fault.Errno, null, fault)
                : _failure is not null ? throw _failure
                : _results;
        }

        /// <summary>Works on it for as long as it is this worker's.</summary>
        /// <returns>Whether the worker is free again for another batch, not given up.</returns>
        public bool Run(Worker worker, SysDir dir)
        {
            lock (_lock)
            {
                _owner = worker;
            }

            while (true)
            {
                int at;
                lock (_lock)
                {
                    if (_next == devices.Length)
                    {
                        _done = true;
                        Monitor.PulseAll(_lock);
                        return true;
                    }

                    at = _next;
                }

                (PciAddress address, bool mayHaveVfs) = devices[at];
                Guarded read = reads._locked.ContainsKey(address) ? default : reads.Read(dir, address, mayHaveVfs);
                lock (_lock)
                {
                    if (_owner != worker)
                    {
                        reads._locked.TryRemove(KeyValuePair.Create(address, worker));
                        return false;
                    }

                    _results[at] = read;
                    _next = at + 1;
                }
            }
        }

        /// <summary>Ends it with an error.</summary>
        public void Fail(Exception failure)
        {
            lock (_lock)
            {
                _failure = failure;
                _done = true;
                Monitor.PulseAll(_lock);
            }
        }
    }

    /// <summary>A thread that reads one batch after another.</summary>
    internal sealed class Worker
    {
        private readonly GuardedReads _reads;
        private readonly object _lock = new();
        private Batch? _batch;
        private bool _ended;

        public Worker(GuardedReads reads)
        {
            _reads = reads;
            new Thread(Loop, 256 << 10) { IsBackground = true, Name = "sysfs reader" }.Start();
        }

        /// <summary>Gives it a batch; false if it has ended, for want of any.</summary>
        public bool Begin(Batch batch)
        {
            lock (_lock)
            {
                if (_ended)
                {
                    return false;
                }

                _batch = batch;
                Monitor.Pulse(_lock);
                return true;
            }
        }

        private void Loop()
        {
            while (true)
            {
                Batch batch;
                lock (_lock)
                {
                    if (_batch is null)
                    {
                        Monitor.Wait(_lock, Rest);
                    }

                    if (_batch is null)
                    {
                        _ended = true;
                        return;
                    }

                    batch = _batch;
                    _batch = null;
                }

                if (!Work(batch) || _reads._idle.Count >= KeptWorkers)
                {
                    return;
                }

                _reads._idle.Push(this);
            }
        }

        private bool Work(Batch batch)
        {
            try
            {
                if (!SysDir.TryOpen(_reads.DevicesPath, out SysDir dir))
                {
                    batch.Fail(new HostFault("open", _reads.DevicesPath, Errno.ENOENT));
                    return true;
                }

                using (dir)
                {
                    return batch.Run(this, dir);
                }
            }
#pragma warning disable CA1031 // The thread's end: whatever it was goes to who waits.
            catch (Exception failed)
#pragma warning restore CA1031
            {
                batch.Fail(failed);
                return true;
            }
        }
    }

    private string DevicesPath => devicesPath;
}
