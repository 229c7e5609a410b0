using System.IO.Hashing;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;

namespace SafetyFilter.Filtering;

/// <summary>The classifiers of a surface that fall back on remembered scores. Immutable.</summary>
internal sealed class LastKnownRows
{
    private readonly int[] _rows;

    // Of the bundle's digests and the label: another model, or another calibration of it, is another classifier.
    private readonly ulong[] _classifiers;

    private LastKnownRows(int[] rows, ulong[] classifiers)
    {
        (_rows, _classifiers) = (rows, classifiers);
    }

    /// <summary>Null when there are none.</summary>
    public static LastKnownRows? Of(DecisionTerms terms, IReadOnlyList<GuardedBundle> bundles)
    {
        var rows = Enumerable.Range(0, terms.Classifiers.Length).Where(row => terms.Classifiers[row].FailMode == FailMode.LastKnown).ToArray();
        return rows.Length == 0 ? null : new LastKnownRows(rows, [.. rows.Select(row => Identify(terms.Classifiers[row], bundles))]);
    }

    /// <summary>
    /// Remembers the scores that classifiers gave, and puts remembered ones where they gave none; their failures stay beside them.
    /// Candidates without a content version take no part: their content may have changed under their id.
    /// </summary>
    public void Apply(Decision decision, LastKnownScores known)
    {
        var batch = decision.Batch;
        var scores = decision.Scores;
        var seconds = (uint)(decision.TimeUnixNanos / 1_000_000_000);
        for (var candidate = 0; candidate < batch.ContentVersions.Count; candidate++)
        {
            var version = batch.ContentVersions[candidate];
            if (version.IsEmpty)
            {
                continue;
            }

            var content = known.KeyOf(batch[batch.Ids[candidate]], batch[version]);
            for (var i = 0; i < _rows.Length; i++)
            {
                ref var score = ref scores.Row(_rows[i])[candidate];
                var key = content.For(_classifiers[i]);
                if (scores.Failures(_rows[i])[candidate] == FailureKind.None)
                {
                    known.Remember(key, score, seconds);
                }
                else if (known.TryRecall(key, out var recalled))
                {
                    score = recalled;
                }
            }
        }
    }

    private static ulong Identify(ClassifierSlot classifier, IReadOnlyList<GuardedBundle> bundles)
    {
        var bundle = bundles[classifier.Bundle].Bundle;
        return XxHash3.HashToUInt64([.. bundle.ModelSha256.Span, .. bundle.ManifestSha256.Span, .. classifier.Name]);
    }
}
