using System.Collections.Immutable;
using System.IO.Hashing;
using System.Text;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;

namespace SafetyFilter.Filtering;

/// <summary>
/// A surface's policy bound to the bundles that serve it: which bundles to run, and which row of the score table each
/// of their outputs fills. Immutable; a request captures one and never looks anything up again.
/// </summary>
internal sealed class SurfacePlan(SurfacePolicy policy, DecisionTerms terms, ImmutableArray<BundleStep> steps, uint maxBudgetMicros, LastKnownRows? lastKnown = null, int splitAbove = 0)
{
    public SurfacePolicy Policy { get; } = policy;

    public DecisionTerms Terms { get; } = terms;

    /// <summary>The server's cap on the engine time of a request. Here, so that a reload changes it together with everything else that decides.</summary>
    public uint MaxBudgetMicros { get; } = maxBudgetMicros;

    /// <summary>Candidates above which a bundle's run is split; 0: never. Here for the same reason.</summary>
    public int SplitAbove { get; } = splitAbove;

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
internal sealed class BundleStep
{
    // Those of Rows that the policy reads.
    private readonly int[] _read;

    public BundleStep(GuardedBundle bundle, int[] rows)
    {
        (Bundle, Rows) = (bundle, rows);
        _read = [.. rows.Where(static row => row >= 0)];
        Key = KeyOf(bundle.Bundle, rows);
    }

    public GuardedBundle Bundle { get; }

    /// <summary>For each classifier of the bundle its row of the score table, or -1 when the policy does not read it.</summary>
    public ReadOnlyMemory<int> Rows { get; }

    /// <summary>
    /// Of the bundle's digests and the classifiers that are read: what the verdict cache keeps for one bundle is never another's, and
    /// always all that the surface reads. Surfaces that read the same classifiers share it.
    /// </summary>
    public ScoreKey Key { get; }

    /// <summary>Takes the scores of the whole bundle away, but for those that were remembered.</summary>
    /// <param name="left">The candidates whose scores were not remembered; empty: all.</param>
    public void Fail(ScoreTable scores, FailureKind kind, ReadOnlySpan<int> left = default)
    {
        foreach (var row in _read)
        {
            if (left.IsEmpty)
            {
                scores.FailAll(row, kind);
            }

            foreach (var candidate in left)
            {
                scores.Fail(row, candidate, kind);
            }
        }
    }

    /// <summary>Whether the bundle gave a candidate every score that is read.</summary>
    public bool HasAll(ScoreTable scores, int candidate)
    {
        foreach (var row in _read)
        {
            if (scores.IsIncomplete(row) && scores.Failures(row)[candidate] != FailureKind.None)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>A candidate's scores, in the order of the bundle's outputs.</summary>
    public float[] Take(ScoreTable scores, int candidate)
    {
        var taken = new float[_read.Length];
        for (var i = 0; i < taken.Length; i++)
        {
            taken[i] = scores.Row(_read[i])[candidate];
        }

        return taken;
    }

    /// <summary>Puts back what <see cref="Take"/> gave.</summary>
    public void Put(float[] taken, int candidate, ScoreTable scores)
    {
        for (var i = 0; i < _read.Length; i++)
        {
            scores.Row(_read[i])[candidate] = taken[i];
        }
    }

    private static ScoreKey KeyOf(ModelBundle bundle, int[] rows)
    {
        var hash = new XxHash128();
        hash.Append(bundle.ModelSha256.Span);
        hash.Append(bundle.ManifestSha256.Span);
        for (var output = 0; output < rows.Length; output++)
        {
            if (rows[output] >= 0)
            {
                hash.Append(Encoding.UTF8.GetBytes(bundle.Classifiers[output] + "\0"));
            }
        }

        var key = hash.GetCurrentHashAsUInt128();
        return new ScoreKey((ulong)key, (ulong)(key >> 64));
    }
}
