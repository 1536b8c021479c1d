// A request for a change, beside the change itself.

using AssignHub.Engine.Rules;

namespace AssignHub.Engine.Operations;

/// <summary>Who asks, and on which terms.</summary>
/// <param name="Actor">Who asks.</param>
public sealed record Request(string Actor)
{
    /// <summary>Only decide, and change nothing.</summary>
    public bool DryRun { get; init; }

    /// <summary>
    /// A condition on the world that the change is decided in; null or a refusal. It is judged where deciding is serial, so that of two
    /// requests on the same terms the second meets the world that the first left. Pure.
    /// </summary>
    public Func<World, Refusal?>? Precondition { get; init; }
}
