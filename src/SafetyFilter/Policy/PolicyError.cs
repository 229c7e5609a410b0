using System.Collections.Immutable;

namespace SafetyFilter.Policy;

/// <summary>A place in a policy file; lines and columns count from 1.</summary>
internal readonly record struct Position(int Line, int Column);

/// <summary>One thing that is wrong with a policy file: where, what value, whose it is and what to do.</summary>
/// <param name="Value">The offending value as written, empty where something is missing.</param>
/// <param name="Owner">The policy's owner, empty where the file does not say.</param>
internal sealed record PolicyError(string File, Position At, string Value, string Problem, string Remedy, string Owner)
{
    public override string ToString() =>
        $"{File}:{At.Line}:{At.Column}: {Problem}. {Remedy} (owner: {(Owner.Length == 0 ? "not named" : Owner)})";
}

/// <summary>The outcome of compiling policies: a snapshot, or every error there is.</summary>
internal sealed record PolicyCompilation(PolicySnapshot? Snapshot, ImmutableArray<PolicyError> Errors);

/// <summary>Collects the errors of one policy, so that each names the file and the owner.</summary>
internal sealed class PolicyErrors(string file)
{
    private readonly List<(Position At, string Value, string Problem, string Remedy)> _errors = [];

    /// <summary>Known only after the policy's keys were read, therefore not stored with each error.</summary>
    public string Owner { get; set; } = "";

    public int Count => _errors.Count;

    public void Add(Position at, string value, string problem, string remedy) => _errors.Add((at, value, problem, remedy));

    public IEnumerable<PolicyError> ToErrors() =>
        _errors.Select(error => new PolicyError(file, error.At, error.Value, error.Problem, error.Remedy, Owner));
}
