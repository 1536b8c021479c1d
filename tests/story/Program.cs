// deploy/demo: boots the lab, starts AssignHub in it, plays the story, and leaves it up to be tried.

using System.CommandLine;
using System.Diagnostics;
using System.Net.Sockets;
using AssignHub.Lab;
using AssignHub.Story;

var program = new Option<FileInfo>("--program") { Description = "the service's program", Required = true };
var once = new Option<bool>("--once") { Description = "exit after the story; the status is 0 only if all of it held" };
var topology = new Option<string>("--topology") { Description = "another host than the sample; the story needs the sample, so it is not played", HelpName = "FILE" };
var host = new Option<bool>("--host") { Description = "no lab: run on this machine's own hardware, as root" };
var port = new Option<int>("--port") { Description = "where the service is, on loopback (8080)", DefaultValueFactory = _ => 8080 };
var command = new RootCommand("Shows AssignHub at work on a virtual host with real VFIO.") { program, once, topology, host, port };
command.SetAction((parsed, cancellation) => RunAsync(
    parsed.GetValue(program)!.FullName, parsed.GetValue(once), parsed.GetValue(topology), parsed.GetValue(host), parsed.GetValue(port), cancellation));
return await command.Parse(args).InvokeAsync().ConfigureAwait(false);

static async Task<int> RunAsync(string program, bool once, string? topology, bool onHost, int port, CancellationToken cancellation)
{
    try
    {
        return onHost
            ? await OwnHost.RunAsync(program, once, port, cancellation).ConfigureAwait(false)
            : await InLabAsync(program, once, topology, port, cancellation).ConfigureAwait(false);
    }
    catch (Exception failure) when (failure is LabException or TimeoutException or SocketException or IOException)
    {
        await Console.Error.WriteLineAsync($"demo: {failure.Message}").ConfigureAwait(false);
        return 1;
    }
    catch (OperationCanceledException)
    {
        return 130;
    }
}

static async Task<int> InLabAsync(string program, bool once, string? topology, int port, CancellationToken cancellation)
{
    var progress = new Progress<string>(line => Console.WriteLine($"lab: {line}"));
    var options = new LabOptions { Topology = topology ?? "sample", Port = once ? 0 : port };
    await using LabHost lab = await LabHost.BootAsync(options, progress, cancellation).ConfigureAwait(false);
    var hub = new HubInLab(lab, program);
    Console.WriteLine("lab: starting AssignHub inside");
    await hub.StartAsync().ConfigureAwait(false);

    bool held = topology is not null || await PlayAsync(lab, hub).ConfigureAwait(false);
    if (!held)
    {
        Console.WriteLine($"\nthe service's log:\n{await hub.LogAsync().ConfigureAwait(false)}");
    }

    if (!once)
    {
        Invitation.Write(lab.ApiUrl, hub.Token);
        await Invitation.UntilInterruptedAsync(cancellation).ConfigureAwait(false);
    }

    return held ? 0 : 1;
}

static async Task<bool> PlayAsync(LabHost lab, HubInLab hub)
{
    using var story = new Story(lab, hub, Console.Out);
    var clock = Stopwatch.StartNew();
    int number = 0;
    foreach ((string title, Func<Task> play) in story.Steps)
    {
        Console.WriteLine($"\n{++number}. {title}");
        try
        {
            await play().ConfigureAwait(false);
        }
        catch (Exception failure) when (failure is StoryException or LabException or HttpRequestException or TimeoutException)
        {
            Console.WriteLine($"  ! {failure.Message}\n\nthe story broke off at step {number} of {story.Steps.Count}");
            return false;
        }
    }

    Console.WriteLine($"\nall {number} steps held, in {clock.Elapsed.TotalSeconds:0} s");
    return true;
}
