using System.Collections.Immutable;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Filtering;

/// <summary>
/// A surface's policy bound to the bundles that serve it: which bundles to run, and which row of the score table each
/// of their outputs fills. Immutable; a request captures one and never looks anything up again.
/// </summary>
internal sealed class SurfacePlan(SurfacePolicy policy, DecisionTerms terms, ImmutableArray<BundleStep> steps, uint maxBudgetMicros, LastKnownRows? lastKnown = null)
{
    public SurfacePolicy Policy { get; } = policy;

    public DecisionTerms Terms { get; } = terms;

    /// <summary>The server's cap on the engine time of a request. Here, so that a reload changes it together with everything else that decides.</summary>
    public uint MaxBudgetMicros { get; } = maxBudgetMicros;

    /// <summary>In the order of the bundles' most important classifiers in the policy, of equal ones by name; aligned with the terms' bundles.</summary>
    public ImmutableArray<BundleStep> Steps { get; } = steps;

    /// <summary>Null when no classifier falls back on remembered scores: then nothing is remembered either.</summary>
    public LastKnownRows? LastKnown { get; } = lastKnown;

    /// <summary>Whether a classifier blocks whatever it has no score for.</summary>
    public bool HasHard { get; } = policy.Classifiers.Any(static classifier => classifier.Hard);

    /// <summary>Whether no classifier can be called now. Not for requests: it looks at every breaker.</summary>
    public bool IsDown => !Steps.IsEmpty && Steps.All(static step => step.Bundle.Gate.IsShut);
}

/// <summary>One bundle to run, and where its scores go.</summary>
internal sealed class BundleStep(GuardedBundle bundle, int[] rows)
{
    public GuardedBundle Bundle { get; } = bundle;

    /// <summary>For each classifier of the bundle its row of the score table, or -1 when the policy does not read it.</summary>
    public ReadOnlyMemory<int> Rows { get; } = rows;

    /// <summary>Takes the scores of the whole bundle away.</summary>
    public void Fail(ScoreTable scores, FailureKind kind)
    {
        foreach (var row in Rows.Span)
        {
            if (row >= 0)
            {
                scores.FailAll(row, kind);
            }
        }
    }
}
