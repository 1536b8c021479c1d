// Interrupts as eventfds, without a device: the test is the kernel and writes the counters.

using AssignHub.Engine;
using AssignHub.Engine.Vfio;

namespace AssignHub.Tests.Unit.Vfio;

public sealed class EventSetTests
{
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task WaitAsync_SignalDuringTheWait_Returns()
    {
        using var events = new EventSet(3, "test");
        Task<ulong> wait = events.WaitAsync(1, CancellationToken.None);
        Assert.False(wait.IsCompleted);

        Signal(events, 1);

        Assert.Equal(1UL, await wait.WaitAsync(Long));
    }

    [Fact]
    public async Task WaitAsync_SignalsBeforeTheWait_AreCounted()
    {
        using var events = new EventSet(2, "test");
        Signal(events, 0, 3);
        Signal(events, 0, 2);

        ulong seen = 0;
        while (seen < 5)
        {
            seen += await events.WaitAsync(0, CancellationToken.None).WaitAsync(Long);
        }

        Assert.Equal(5UL, seen);
        Assert.False(events.WaitAsync(1, CancellationToken.None).IsCompleted);
    }

    [Fact]
    public async Task WaitAsync_Cancelled_KeepsTheNextSignal()
    {
        using var events = new EventSet(1, "test");
        using var cancellation = new CancellationTokenSource();
        Task<ulong> wait = events.WaitAsync(0, cancellation.Token);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => wait.WaitAsync(Long));

        Signal(events, 0);

        Assert.Equal(1UL, await events.WaitAsync(0, CancellationToken.None).WaitAsync(Long));
    }

    [Fact]
    public async Task WaitAsync_SecondWaiter_IsRefused()
    {
        using var events = new EventSet(1, "test");
        Task<ulong> first = events.WaitAsync(0, CancellationToken.None);

        await Assert.ThrowsAsync<InvalidOperationException>(() => events.WaitAsync(0, CancellationToken.None));

        Signal(events, 0);
        await first.WaitAsync(Long);
    }

    [Fact]
    public async Task Dispose_WithAWaiter_EndsTheWait()
    {
        var events = new EventSet(1, "test");
        Task<ulong> wait = events.WaitAsync(0, CancellationToken.None);

        events.Dispose();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => wait.WaitAsync(Long));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => events.WaitAsync(0, CancellationToken.None));
        events.Dispose();
    }

    [Fact]
    public async Task WaitAsync_ManySignals_LosesNone()
    {
        const ulong signals = 20_000;
        using var events = new EventSet(1, "test");
        Task sender = Task.Run(() =>
        {
            for (ulong i = 0; i < signals; i++)
            {
                Signal(events, 0);
            }
        });

        ulong seen = 0;
        while (seen < signals)
        {
            seen += await events.WaitAsync(0, CancellationToken.None).WaitAsync(Long);
        }

        await sender;
        Assert.Equal(signals, seen);
    }

    [Fact]
    public void OpenAndDispose_Repeated_LeavesNoDescriptor()
    {
        new EventSet(4, "test").Dispose();
        int before = OpenEventfds();
        for (int i = 0; i < 50; i++)
        {
            new EventSet(4, "test").Dispose();
        }

        // Other tests run beside this one and hold some of their own.
        Assert.InRange(OpenEventfds(), 0, before + 40);
    }

    private static int OpenEventfds() => Directory.GetFiles("/proc/self/fd").Count(path =>
    {
        try
        {
            return File.ResolveLinkTarget(path, false)?.Name.Contains("eventfd", StringComparison.Ordinal) == true;
        }
        catch (IOException)
        {
            // Closed between the listing and the look.
            return false;
        }
    });

    private static void Signal(EventSet events, int index, ulong count = 1) =>
        Assert.Equal(8, Libc.WriteCounter(events.Handles[index], count));
}
