using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace AssignHub.Lab;

/// <summary>A running lab: a host with a real kernel, an IOMMU and a topology of PCI devices, in QEMU.</summary>
public sealed partial class LabHost : IAsyncDisposable
{
    private static readonly TimeSpan DefaultTimeout = TimeSpan.FromSeconds(120);
    private readonly QemuProcess _qemu;
    private Agent _agent;
    private LabException? _lost;
    private readonly bool _owned;
    private readonly bool _keepState;
    private readonly SemaphoreSlim _monitorTurn = new(1, 1);
    private readonly Pulse _pulse;

    private LabHost(QemuProcess qemu, Agent agent, string state, int port, bool owned, bool keepState)
    {
        _qemu = qemu;
        _agent = agent;
        _owned = owned;
        _keepState = keepState;
        StateDirectory = state;
        _pulse = new Pulse(state, () => _agent.Waiting, _monitorTurn);
        ApiUrl = new Uri($"http://127.0.0.1:{port}");
    }

    /// <summary>Where <c>deploy/lab</c> keeps the lab of this user.</summary>
    public static string DefaultStateDirectory { get; } =
        Environment.GetEnvironmentVariable("XDG_RUNTIME_DIR") is { Length: > 0 } runtime && Directory.Exists(runtime)
            ? Path.Combine(runtime, "assignhub-lab")
            : Path.Combine(Path.GetTempPath(), $"assignhub-lab-{Environment.UserName}");

    /// <summary>Leads to port 8080 inside the lab.</summary>
    public Uri ApiUrl { get; }

    /// <summary>Holds <c>console.log</c>, <c>qemu.log</c>, <c>qmp.sock</c> and the disks' images.</summary>
    public string StateDirectory { get; }

    /// <summary>QEMU's process on the machine, or null if it has ended.</summary>
    public int? QemuPid => _qemu.Pid;

    /// <summary>Boots a lab and gives it once it answers.</summary>
    public static async Task<LabHost> BootAsync(LabOptions options, IProgress<string>? progress = null, CancellationToken cancel = default)
    {
        ArgumentNullException.ThrowIfNull(options);
        Topology topology = Topology.Load(options.Topology);
        LabAssets assets = await LabAssets.PrepareAsync(options.Backend, progress, cancel).ConfigureAwait(false);
        string state = CreateState(options.StateDirectory);
        try
        {
            return await BootTwiceAsync(options, topology, assets, state, progress, cancel).ConfigureAwait(false);
        }
        catch when (options.StateDirectory is null)
        {
            Directory.Delete(state, recursive: true);
            throw;
        }
    }

    /// <summary>Reaches a lab that another process booted and that lives on after this one; null if there is none.</summary>
    public static async Task<LabHost?> AttachAsync(string? stateDirectory = null, CancellationToken cancel = default)
    {
        string state = stateDirectory ?? DefaultStateDirectory;
        var qemu = QemuProcess.Find(state);
        if (qemu.Pid is null)
        {
            return null;
        }

        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        deadline.CancelAfter(TimeSpan.FromSeconds(30));
        try
        {
            Agent agent = await Agent.ConnectAsync(state, deadline.Token).ConfigureAwait(false);
            int port = await ReadPortAsync(state, deadline.Token).ConfigureAwait(false);
            return new LabHost(qemu, agent, state, port, owned: false, keepState: true);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            throw new LabException($"the lab in {state} does not answer, or all of its {QemuCommand.Channels} connections are in use");
        }
    }

    /// <summary>Ends a lab that lives on its own; false if there was none.</summary>
    public static bool End(string? stateDirectory = null)
    {
        string state = stateDirectory ?? DefaultStateDirectory;
        using var qemu = QemuProcess.Find(state);
        bool was = qemu.Pid is not null;
        qemu.End();
        if (Directory.Exists(state))
        {
            Directory.Delete(state, recursive: true);
        }

        return was;
    }

    /// <summary>
    /// Runs a script in bash inside the lab. Something that is to go on running after it has to leave the session and the
    /// captured output: <c>setsid PROGRAM &lt;/dev/null &gt;/var/log/program.log 2&gt;&amp;1 &amp;</c>.
    /// </summary>
    public Task<ExecResult> ExecAsync(string shellScript, TimeSpan? timeout = null, CancellationToken cancel = default) =>
        ExecAsync(["bash", "-c", shellScript], timeout, cancel);

    /// <summary>Runs a program inside the lab, with no shell in between.</summary>
    public async Task<ExecResult> ExecAsync(IReadOnlyList<string> command, TimeSpan? timeout = null, CancellationToken cancel = default)
    {
        if (_lost is not null)
        {
            throw _lost;
        }

        TimeSpan limit = timeout ?? DefaultTimeout;
        Agent agent = _agent;
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        deadline.CancelAfter(limit);
        try
        {
            return await agent.ExecAsync(command, deadline.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            string late = $"not done in the lab within {limit.TotalSeconds:0} s: {string.Join(' ', command)}";
            throw new TimeoutException(agent.IsSilent ? $"{late}. {await ReplaceAsync(agent, cancel).ConfigureAwait(false)}" : late);
        }
        catch (IOException exception)
        {
            throw new LabException($"the lab is gone: {_qemu.Log} {ConsoleTail(StateDirectory)}", exception);
        }
    }

    /// <summary>Takes another connection in place of one that answers no more; where there is none, the lab is lost, and says so from then on.</summary>
    /// <returns>What was found, in words.</returns>
    private async Task<string> ReplaceAsync(Agent silent, CancellationToken cancel)
    {
        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        deadline.CancelAfter(TimeSpan.FromSeconds(30));
        try
        {
            Agent other = await Agent.ConnectAsync(StateDirectory, deadline.Token).ConfigureAwait(false);
            if (Interlocked.CompareExchange(ref _agent, other, silent) != silent)
            {
                other.Dispose();
            }

            return "Its agent answers no more; another one does";
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            string seen = $"{await ProcessorsAsync(cancel).ConfigureAwait(false)}\nQEMU: {_qemu.Log}\n{ConsoleTail(StateDirectory)}";
            _lost = new LabException("the lab answers no more. " + seen);
            return _lost.Message;
        }
    }

    /// <summary>Where each of the lab's processors stands, and what its interrupt controller holds: what is left to read of a lab that hangs.</summary>
    private async Task<string> ProcessorsAsync(CancellationToken cancel)
    {
        var seen = new StringBuilder();
        string registers = await MonitorAsync("info registers -a", cancel).ConfigureAwait(false);
        seen.AppendJoin('\n', registers.Split('\n').Where(line => line.StartsWith("CPU#", StringComparison.Ordinal) || line.StartsWith("RIP=", StringComparison.Ordinal)));
        for (int processor = 0; processor < registers.Split("CPU#").Length - 1; processor++)
        {
            string lapic = await MonitorAsync($"info lapic {processor}", cancel).ConfigureAwait(false);
            seen.Append('\n').AppendJoin('\n', lapic.Split('\n').Where(line => line.Contains("ISR", StringComparison.Ordinal) || line.Contains("IRR", StringComparison.Ordinal)));
        }

        return seen.ToString();
    }

    private async Task<string> MonitorAsync(string command, CancellationToken cancel) =>
        (await QmpAsync("human-monitor-command", new JsonObject { ["command-line"] = command }, cancel).ConfigureAwait(false)).GetString() ?? "";

    /// <summary>Runs a script in bash inside the lab and gives its standard output; throws with all of it if its status is not 0.</summary>
    public async Task<string> RunAsync(string shellScript, TimeSpan? timeout = null, CancellationToken cancel = default)
    {
        ExecResult result = await ExecAsync(shellScript, timeout, cancel).ConfigureAwait(false);
        return result.ExitCode == 0
            ? result.Output
            : throw new LabException($"status {result.ExitCode} from: {shellScript}\nstdout: {result.Output}\nstderr: {result.Error}");
    }

    /// <summary>The lab's whole kernel log.</summary>
    public Task<string> KernelLogAsync(CancellationToken cancel = default) => RunAsync("dmesg", cancel: cancel);

    /// <summary>What the lab's console shows: the loader's and the kernel's gravest words, readable even when the lab hangs.</summary>
    public string ConsoleLog => File.ReadAllText(Path.Combine(StateDirectory, "console.log"));

    /// <summary>Calls the monitor of the lab's own QEMU: the way to change the host's hardware while it runs.</summary>
    public async Task<JsonElement> QmpAsync(string command, JsonObject? arguments = null, CancellationToken cancel = default)
    {
        await _monitorTurn.WaitAsync(cancel).ConfigureAwait(false);
        try
        {
            return await CallMonitorAsync(StateDirectory, command, arguments, cancel).ConfigureAwait(false);
        }
        finally
        {
            _monitorTurn.Release();
        }
    }

    /// <summary>Ends the lab, if this process is the one that it belongs to.</summary>
    public async ValueTask DisposeAsync()
    {
        await _pulse.DisposeAsync().ConfigureAwait(false);
        _agent.Dispose();
        _monitorTurn.Dispose();
        if (_owned)
        {
            _qemu.End();
            if (!_keepState)
            {
                Directory.Delete(StateDirectory, recursive: true);
            }
        }

        _qemu.Dispose();
    }

    private static async Task<LabHost> BootTwiceAsync(
        LabOptions options, Topology topology, LabAssets assets, string state, IProgress<string>? progress, CancellationToken cancel)
    {
        for (int attempt = 1; ; attempt++)
        {
            var clock = Stopwatch.StartNew();
            progress?.Report($"booting {topology.Name} (kernel {assets.KernelRelease}) in {state}");
            try
            {
                LabHost lab = await BootOnceAsync(options, topology, assets, state, cancel).ConfigureAwait(false);
                progress?.Report($"up after {clock.Elapsed.TotalSeconds:0.0} s: port 8080 inside is {lab.ApiUrl}");
                return lab;
            }
            catch (TimeoutException) when (attempt == 1)
            {
                progress?.Report($"the lab did not answer within {options.BootTimeout.TotalSeconds:0} s: starting it afresh, once");
            }
            catch (TimeoutException)
            {
                throw new LabException($"the lab did not answer within {options.BootTimeout.TotalSeconds:0} s, twice. {ConsoleTail(state)}");
            }
        }
    }

    private static async Task<LabHost> BootOnceAsync(
        LabOptions options, Topology topology, LabAssets assets, string state, CancellationToken cancel)
    {
        foreach (string file in Directory.GetFiles(state))
        {
            File.Delete(file);
        }

        foreach (TopologyDevice disk in topology.AllDevices.Where(device => device.Kind == "nvme"))
        {
            await using FileStream image = File.Create(QemuCommand.DiskPath(state, disk));
            image.SetLength(disk.SizeBytes);
            await image.WriteAsync(Encoding.UTF8.GetBytes(disk.Content), cancel).ConfigureAwait(false);
        }

        using CancellationTokenSource deadline = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        deadline.CancelAfter(options.BootTimeout);
        QemuProcess qemu = QemuProcess.Start(state, QemuCommand.Build(options, topology, assets, state), options.Detached);
        Agent? agent = null;
        try
        {
            Task<Agent> connecting = Agent.ConnectAsync(state, deadline.Token);
            while (await Task.WhenAny(connecting, Task.Delay(100, deadline.Token)).ConfigureAwait(false) != connecting)
            {
                if (qemu.HasEnded)
                {
                    throw new LabException($"QEMU ended: {qemu.Log} {ConsoleTail(state)}");
                }

                deadline.Token.ThrowIfCancellationRequested();
            }

            agent = await connecting.ConfigureAwait(false);
            int port = await ReadPortAsync(state, deadline.Token).ConfigureAwait(false);
            return new LabHost(qemu, agent, state, port, owned: !options.Detached, keepState: options.StateDirectory is not null);
        }
        catch (Exception exception)
        {
            agent?.Dispose();
            qemu.End();
            qemu.Dispose();
            if (exception is IOException)
            {
                throw new LabException($"QEMU ended: {qemu.Log} {ConsoleTail(state)}", exception);
            }

            if (exception is OperationCanceledException && !cancel.IsCancellationRequested)
            {
                throw new TimeoutException("the lab did not answer", exception);
            }

            throw;
        }
    }

    private static string CreateState(string? wanted)
    {
        string state = wanted ?? Directory.CreateTempSubdirectory("assignhub-lab-").FullName;
        Directory.CreateDirectory(state, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        using var running = QemuProcess.Find(state);
        return running.Pid is { } pid ? throw new LabException($"a lab is up already in {state} (process {pid})") : state;
    }

    // Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
    // TCP[HOST_FORWARD]  13       127.0.0.1 36963       10.0.2.15  8080     0     0
    private static async Task<int> ReadPortAsync(string state, CancellationToken cancel)
    {
        JsonElement answer = await CallMonitorAsync(
            state, "human-monitor-command", new JsonObject { ["command-line"] = "info usernet" }, cancel).ConfigureAwait(false);
        Match match = ForwardLine().Match(answer.GetString() ?? "");
        return match.Success
            ? int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)
            : throw new LabException($"QEMU forwards no port: {answer.GetString()}");
    }

    private static async Task<JsonElement> CallMonitorAsync(string state, string command, JsonObject? arguments, CancellationToken cancel)
    {
        using JsonChannel monitor = await JsonChannel.ConnectAsync(Path.Combine(state, "qmp.sock"), cancel).ConfigureAwait(false);
        await monitor.ReadAsync(cancel).ConfigureAwait(false);
        await monitor.CallAsync("qmp_capabilities", null, cancel).ConfigureAwait(false);
        return await monitor.CallAsync(command, arguments, cancel).ConfigureAwait(false);
    }

    private static string ConsoleTail(string state)
    {
        string path = Path.Combine(state, "console.log");
        return File.Exists(path) ? "Its console's last lines:\n" + string.Join('\n', File.ReadLines(path).TakeLast(60)) : "";
    }

    [GeneratedRegex(@"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)")]
    private static partial Regex ForwardLine();
}
