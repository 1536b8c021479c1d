// A decision: a plan of ordered steps, or the refusals. Data that can be shown, journaled and compared.

using System.Collections.Immutable;
using AssignHub.Engine.Desired;

namespace AssignHub.Engine.Rules;

/// <summary>What will be done, and in which order.</summary>
public sealed record Plan
{
    /// <summary>What was asked for.</summary>
    public required Change Change { get; init; }

    /// <summary>The steps; none if everything is already as asked.</summary>
    public ImmutableArray<Step> Steps { get; init; } = [];

    /// <summary>The inventory with what the plan reserves, written together with the plan before its first step.</summary>
    public required Inventory Reserved { get; init; }

    /// <summary>The groups, guests and reset domains that it holds until it ends (<see cref="Names"/>).</summary>
    public ImmutableSortedSet<string> Touches { get; init; } = ImmutableSortedSet.Create<string>(StringComparer.Ordinal);

    /// <summary>What is worth knowing before saying yes.</summary>
    public ImmutableArray<string> Warnings { get; init; } = [];
}

/// <summary>A plan, or all the reasons against it.</summary>
/// <param name="Plan">The plan, if there is no refusal.</param>
/// <param name="Refusals">Every refusal that applies.</param>
public sealed record Decision(Plan? Plan, ImmutableArray<Refusal> Refusals);

/// <summary>Gathers a decision while the rules go through a change.</summary>
internal sealed class Draft(World world, Change change)
{
    private readonly List<Step> _steps = [];
    private readonly List<Refusal> _refusals = [];
    private readonly List<string> _warnings = [];
    private readonly SortedSet<string> _touches = new(StringComparer.Ordinal);
    private readonly HashSet<string> _prepared = new(StringComparer.Ordinal);

    public World World { get; } = world;

    /// <summary>What was asked for; a rule notes in it what only the way back will need.</summary>
    public Change Change { get; set; } = change;

    /// <summary>The inventory as reserved so far; later parts of one plan see what earlier ones reserved.</summary>
    public Inventory Inventory { get; set; } = world.Inventory;

    public bool IsRefused => _refusals.Count > 0;

    /// <summary>Whether this plan prepares a container for the first time: two devices of one group ask for it twice.</summary>
    public bool Prepares(string container) => _prepared.Add(container);

    public void Do(Step step) => _steps.Add(step);

    public void Refuse(Refusal refusal) => _refusals.Add(refusal);

    public void Refuse(IEnumerable<Refusal> refusals) => _refusals.AddRange(refusals);

    public void Warn(string warning) => _warnings.Add(warning);

    public void Touch(string subject) => _touches.Add(subject);

    public void Touch(Container container)
    {
        Touch(Names.Container(container.Id));
        if (container.Group is { } group)
        {
            Touch(Names.Group(group));
        }
    }

    public Decision Conclude() => IsRefused
        ? new Decision(null, [.. _refusals.Distinct()])
        : new Decision(
            new Plan
            {
                Change = Change,
                Steps = [.. _steps],
                Reserved = Inventory,
                Touches = [.. _touches],
                Warnings = [.. _warnings],
            },
            []);
}
