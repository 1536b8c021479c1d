// Runs calls that the kernel may never come back from, each on a thread of its own, so that neither the service nor its thread pool waits.

using System.Collections.Concurrent;

namespace AssignHub.Engine.Host;

/// <summary>One verb on its way: it says what it is at, and stops before its next write once it was given up.</summary>
internal sealed class KernelCall(string subject)
{
    private volatile string _step = "start";
    private volatile bool _abandoned;

    /// <summary>The write that it is at.</summary>
    public string Current => _step;

    /// <summary>Begins the next write.</summary>
    /// <exception cref="HostFault">The verb was given up meanwhile; nobody waits for this any more.</exception>
    public void Step(string step)
    {
        if (_abandoned)
        {
            throw new HostFault(step, subject, Errno.ETIMEDOUT, "not begun: the deadline had passed");
        }

        _step = step;
    }

    /// <summary>Tells it that nobody waits any more.</summary>
    public void Abandon() => _abandoned = true;
}

/// <summary>Starts such calls and gives them up.</summary>
/// <param name="deadline">How long one may take.</param>
/// <param name="time">The clock of the deadline.</param>
internal sealed class KernelCalls(TimeSpan deadline, TimeProvider time)
{
    private const int StackBytes = 256 << 10;
    private readonly ConcurrentDictionary<string, KernelCall> _stuck = new(StringComparer.Ordinal);

    /// <summary>Runs a verb.</summary>
    /// <param name="subject">What it is done to; one that hangs bars others on the same.</param>
    /// <param name="body">The verb; it may block.</param>
    /// <param name="cancellation">Gives up.</param>
    /// <param name="more">How much longer than others it may take.</param>
    public async Task<T> RunAsync<T>(string subject, Func<KernelCall, T> body, CancellationToken cancellation, TimeSpan more = default)
    {
        cancellation.ThrowIfCancellationRequested();
        if (_stuck.TryGetValue(subject, out KernelCall? hanging))
        {
            throw new HostFault(hanging.Current, subject, Errno.EBUSY, "an earlier write still hangs in the kernel");
        }

        KernelCall call = new(subject);
        TaskCompletionSource<T> done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Thread thread = new(() => Run(subject, call, body, done), StackBytes) { IsBackground = true, Name = $"kernel {subject}" };
        TimeSpan limit = deadline + more;
        using CancellationTokenSource timer = new(limit, time);
        using CancellationTokenRegistration late = timer.Token.Register(() => GiveUp(subject, call, done, $"no answer in {limit.TotalSeconds:0.#} s"));
        using CancellationTokenRegistration cancelled = cancellation.Register(() => GiveUp(subject, call, done, "cancelled while the kernel was at it"));
        thread.Start();
        return await done.Task.ConfigureAwait(false);
    }

    private void Run<T>(string subject, KernelCall call, Func<KernelCall, T> body, TaskCompletionSource<T> done)
    {
        try
        {
            done.TrySetResult(body(call));
        }
#pragma warning disable CA1031 // The thread's end: whatever it was goes to who waits.
        catch (Exception failed)
#pragma warning restore CA1031
        {
            done.TrySetException(failed);
        }

        lock (call)
        {
            // GiveUp may come just now: under the lock it either sees the task ended or is undone here.
            _stuck.TryRemove(KeyValuePair.Create(subject, call));
        }
    }

    private void GiveUp<T>(string subject, KernelCall call, TaskCompletionSource<T> done, string why)
    {
        call.Abandon();
        lock (call)
        {
            if (!done.Task.IsCompleted)
            {
                _stuck[subject] = call;
                done.TrySetException(new HostFault(call.Current, subject, Errno.ETIMEDOUT, why));
            }
        }
    }
}
