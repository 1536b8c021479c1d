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

    /// <summary>What the request is known again by; written together with the operation that it begins.</summary>
    public RequestKey? Key { get; init; }
}

/// <summary>What a request is known again by when it is repeated.</summary>
/// <param name="Token">Whose key it is: nobody meets another's.</param>
/// <param name="Key">The key, chosen by the client.</param>
/// <param name="Fingerprint">Of the whole request: a key is good for one request only.</param>
public sealed record RequestKey(string Token, string Key, string Fingerprint);
