using AssignHub.Lab;
using AssignHub.Story;
using Xunit.Abstractions;

namespace AssignHub.Tests.Lab;

/// <summary>Tests of the service in a lab: it starts afresh for each test, and what a test leaves behind is gone after it.</summary>
public abstract class HubTests(LabFixture lab) : IAsyncLifetime
{
    /// <summary>The lab's host.</summary>
    protected LabHost Host => lab.Host;

    /// <summary>The service.</summary>
    protected HubInLab Hub { get; } = new(lab.Host, Repository.Service);

    /// <summary>What the lab's kernel says.</summary>
    protected KernelView Kernel { get; } = new(lab.Host);

    public Task InitializeAsync() => Hub.StartAsync();

    public async Task DisposeAsync()
    {
        await Hub.StopAsync();
        // A guest that a failed test left behind would hold its devices, and the lab's processors.
        await Host.RunAsync($"for pid in $(pgrep -f '^qemu-system-x86_64 -name guest='); do kill -KILL $pid; done; rm -rf {HubInLab.Data}");
    }

    /// <summary>Plays the whole story; where it fails, tells how far it came.</summary>
    protected async Task PlayAsync(ITestOutputHelper output)
    {
        using var told = new StringWriter();
        using var story = new Story.Story(Host, Hub, told);
        try
        {
            foreach ((string title, Func<Task> play) in story.Steps)
            {
                told.WriteLine(title);
                await play();
            }
        }
        catch (Exception)
        {
            output.WriteLine(told.ToString());
            output.WriteLine(await Hub.LogAsync());
            throw;
        }
    }
}
