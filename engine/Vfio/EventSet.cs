// Waiting for eventfds from asynchronous code: one thread a set, asleep in poll until the kernel signals.


namespace AssignHub.Engine.Vfio;

/// <summary>
/// Some eventfds and who waits for them. Signals that arrive while nobody waits are kept and counted. The thread exists because .NET
/// offers no asynchronous wait for a descriptor that is not a socket.
/// </summary>
internal sealed class EventSet : IDisposable
{
    private readonly Lock gate = new();
    private readonly string name;
    private readonly EventHandle wake;
    private readonly EventHandle[] events;
    private readonly ulong[] pending;
    private readonly TaskCompletionSource<ulong>?[] waiters;
    private readonly Thread thread;
    private Exception? over;

    /// <summary>Makes the eventfds and starts to listen.</summary>
    /// <param name="count">How many.</param>
    /// <param name="name">What they are for, in faults and as the thread's name.</param>
    /// <exception cref="HostFault"><c>eventfd</c> failed.</exception>
    public EventSet(int count, string name)
    {
        this.name = name;
        events = new EventHandle[count];
        pending = new ulong[count];
        waiters = new TaskCompletionSource<ulong>?[count];
        wake = EventHandle.Create(name);
        try
        {
            for (int i = 0; i < count; i++)
            {
                events[i] = EventHandle.Create(name);
            }
        }
        catch
        {
            CloseAll();
            throw;
        }

        thread = new Thread(Listen) { IsBackground = true, Name = name };
        thread.Start();
    }

    /// <summary>The eventfds.</summary>
    public ReadOnlySpan<EventHandle> Handles => events;

    /// <summary>Waits for a signal of one eventfd.</summary>
    /// <param name="index">Which.</param>
    /// <param name="cancellation">Ends the wait; a signal that comes later is kept for the next.</param>
    /// <returns>How many signals came since the last wait, at least 1.</returns>
    /// <exception cref="InvalidOperationException">Somebody waits for it already.</exception>
    /// <exception cref="ObjectDisposedException">The set is closed, before or during the wait.</exception>
    /// <exception cref="HostFault">Listening failed.</exception>
    public async Task<ulong> WaitAsync(int index, CancellationToken cancellation)
    {
        TaskCompletionSource<ulong> waiter;
        lock (gate)
        {
            if (pending[index] > 0)
            {
                ulong count = pending[index];
                pending[index] = 0;
                return count;
            }

            if (over is not null)
            {
                throw over;
            }

            if (waiters[index] is not null)
            {
                throw new InvalidOperationException($"{name} {index} has a waiter already");
            }

            // Asynchronous continuations: the listening thread must never run a waiter's code.
            waiter = new TaskCompletionSource<ulong>(TaskCreationOptions.RunContinuationsAsynchronously);
            waiters[index] = waiter;
        }

        using CancellationTokenRegistration registration = cancellation.Register(() =>
        {
            lock (gate)
            {
                if (waiters[index] == waiter)
                {
                    waiters[index] = null;
                    waiter.SetCanceled(cancellation);
                }
            }
        });
        return await waiter.Task.ConfigureAwait(false);
    }

    /// <summary>Stops listening, ends every wait, and closes the eventfds.</summary>
    public void Dispose()
    {
        lock (gate)
        {
            if (wake.IsClosed)
            {
                return;
            }

            over ??= new ObjectDisposedException(name);
        }

        Libc.Check(Libc.WriteCounter(wake, 1), "write", name);
        thread.Join();
        EndWaits();
        CloseAll();
    }

    private void Listen()
    {
        try
        {
            using var lent = new LentDescriptors([wake, .. events]);
            var descriptors = new Libc.pollfd[lent.Values.Length];
            for (int i = 0; i < descriptors.Length; i++)
            {
                descriptors[i] = new Libc.pollfd { fd = lent.Values[i], events = Libc.POLLIN };
            }

            while (true)
            {
                Libc.Check(Libc.Poll(descriptors), "poll", name);
                if (descriptors[0].revents != 0)
                {
                    return;
                }

                for (int i = 1; i < descriptors.Length; i++)
                {
                    if (descriptors[i].revents != 0)
                    {
                        Take(i - 1);
                    }
                }
            }
        }
        catch (Exception failure) when (failure is HostFault or ObjectDisposedException)
        {
            lock (gate)
            {
                over ??= failure;
            }

            EndWaits();
        }
    }

    // Reading sets the counter to zero, so poll sleeps again. Reading fails if poll reported an error and no signal: then listening ends.
    private void Take(int index)
    {
        nint result = Libc.ReadCounter(events[index], out ulong count);
        if (result == -(int)Errno.EAGAIN)
        {
            return;
        }

        Libc.Check(result, "read", name);
        TaskCompletionSource<ulong>? waiter;
        lock (gate)
        {
            waiter = waiters[index];
            waiters[index] = null;
            if (waiter is null)
            {
                pending[index] += count;
            }
        }

        waiter?.SetResult(count);
    }

    private void EndWaits()
    {
        lock (gate)
        {
            for (int i = 0; i < waiters.Length; i++)
            {
                waiters[i]?.SetException(over!);
                waiters[i] = null;
            }
        }
    }

    private void CloseAll()
    {
        wake.Dispose();
        foreach (EventHandle? handle in events)
        {
            handle?.Dispose();
        }
    }
}
