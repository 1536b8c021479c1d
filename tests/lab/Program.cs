using System.CommandLine;
using AssignHub.Lab;

// The command `deploy/lab`: boots the lab, ends it, runs commands in it.
Option<string> topology = new("--topology") { Description = "a topology file, or one of: " + string.Join(", ", Topology.Names), DefaultValueFactory = _ => "sample" };
Option<string> backend = new("--backend") { Description = "how the lab's kernel offers the IOMMU: the distribution's kernel by type1, one that the lab builds once (minutes) by both", DefaultValueFactory = _ => "type1" };
backend.AcceptOnlyFromAmong("type1", "iommufd");
Option<int> port = new("--port") { Description = "the port of 127.0.0.1 that leads to port 8080 inside; 0 takes a free one", DefaultValueFactory = _ => 8080 };
Argument<string[]> words = new("command") { Description = "the command and its arguments, after --", Arity = ArgumentArity.OneOrMore };
Option<int> timeout = new("--timeout") { Description = "how many seconds the command may take", DefaultValueFactory = _ => 3600 };

Command up = new("up", "boot the lab in the background and return when it answers") { topology, backend, port };
up.SetAction((parsed, cancel) => Guard(async () =>
{
    var options = new LabOptions
    {
        Topology = parsed.GetValue(topology)!,
        Backend = Enum.Parse<LabBackend>(parsed.GetValue(backend)!, ignoreCase: true),
        Port = parsed.GetValue(port),
        StateDirectory = LabHost.DefaultStateDirectory,
        Detached = true,
    };
    await using LabHost lab = await LabHost.BootAsync(options, new Printed(), cancel);
    return 0;
}));

Command down = new("down", "end the lab");
down.SetAction((_, _) => Guard(() =>
{
    Console.WriteLine(LabHost.End() ? "lab: ended" : "lab: was not up");
    return Task.FromResult(0);
}));

Command exec = new("exec", "run a command inside the lab; its output and exit status are this one's") { timeout, words };
exec.SetAction((parsed, cancel) => Guard(async () =>
{
    await using LabHost? lab = await LabHost.AttachAsync(cancel: cancel);
    if (lab is null)
    {
        throw new LabException("no lab is up: start one with `deploy/lab up`");
    }

    ExecResult result = await lab.ExecAsync(parsed.GetValue(words)!, TimeSpan.FromSeconds(parsed.GetValue(timeout)), cancel);
    Console.Out.Write(result.Output);
    await Console.Error.WriteAsync(result.Error);
    return result.ExitCode;
}));

Command status = new("status", "say what is up; exit status 3 if nothing is");
status.SetAction((_, cancel) => Guard(async () =>
{
    await using LabHost? lab = await LabHost.AttachAsync(cancel: cancel);
    if (lab is null)
    {
        Console.WriteLine("lab: not up");
        return 3;
    }

    string seen = await lab.RunAsync("echo up $(cut -d' ' -f1 /proc/uptime) s, kernel $(uname -r), $(ls /sys/kernel/iommu_groups | wc -l) groups", cancel: cancel);
    Console.WriteLine($"lab: {seen.Trim()}\nprocess: {lab.QemuPid}\nport 8080 inside: {lab.ApiUrl}\nstate: {lab.StateDirectory}\n"
        + $"guest kernel inside: {LabAssets.GuestKernel}\nguest initrd inside: {LabAssets.GuestInitrd}");
    return 0;
}));

RootCommand root = new("AssignHub's lab: a virtual host with a real kernel, real VFIO and an emulated IOMMU") { up, down, exec, status };
return await root.Parse(args).InvokeAsync();

// A person gets one line; a bug keeps its stack.
static async Task<int> Guard(Func<Task<int>> action)
{
    try
    {
        return await action();
    }
    catch (Exception exception) when (exception is LabException or TimeoutException)
    {
        await Console.Error.WriteLineAsync("lab: " + exception.Message);
        return 1;
    }
}

/// <summary>Prints progress at once and in order, which Progress of the framework does not promise.</summary>
internal sealed class Printed : IProgress<string>
{
    public void Report(string value) => Console.WriteLine("lab: " + value);
}
