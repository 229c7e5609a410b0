using System.IO.Hashing;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Filtering;

/// <summary>The classifiers of a surface that fall back on remembered scores. Immutable.</summary>
internal sealed class LastKnownRows
{
    // As many misses of the cache as processors bear at once, and a few.
    private const int Block = 16;

    private readonly int[] _rows;

    // Of the bundle's digests and the label: another model, or another calibration of it, is another classifier.
    private readonly ulong[] _classifiers;

    private LastKnownRows(int[] rows, ulong[] classifiers)
    {
        (_rows, _classifiers) = (rows, classifiers);
    }

    /// <summary>Null when there are none.</summary>
    public static LastKnownRows? Of(DecisionTerms terms, IReadOnlyList<GuardedBundle> bundles) =>
        Of(terms, [.. terms.Classifiers.Select(classifier => Identify(classifier, bundles[classifier.Bundle].Bundle))]);

    /// <param name="classifiers">What tells each of the terms' classifiers from all others.</param>
    public static LastKnownRows? Of(DecisionTerms terms, ulong[] classifiers)
    {
        var rows = Enumerable.Range(0, terms.Classifiers.Length).Where(row => terms.Classifiers[row].FailMode == FailMode.LastKnown).ToArray();
        return rows.Length == 0 ? null : new LastKnownRows(rows, [.. rows.Select(row => classifiers[row])]);
    }

    /// <summary>
    /// Remembers the scores that classifiers gave, and puts remembered ones where they gave none; their failures stay beside them.
    /// Candidates without a content version take no part: their content may have changed under their id.
    /// </summary>
    public void Apply(Decision decision, LastKnownScores known)
    {
        var batch = decision.Batch;
        Span<ContentKey> contents = stackalloc ContentKey[Block];
        for (var first = 0; first < batch.ContentVersions.Count; first += Block)
        {
            var block = contents[..Math.Min(Block, batch.ContentVersions.Count - first)];
            for (var i = 0; i < block.Length; i++)
            {
                block[i] = known.KeyOf(batch[batch.Ids[first + i]], batch[batch.ContentVersions[first + i]]);
            }

            known.Fetch(block);
            for (var i = 0; i < block.Length; i++)
            {
                if (!batch.ContentVersions[first + i].IsEmpty)
                {
                    Apply(decision, first + i, block[i], known);
                }
            }
        }
    }

    private void Apply(Decision decision, int candidate, ContentKey content, LastKnownScores known)
    {
        var scores = decision.Scores;
        var seconds = (uint)(decision.TimeUnixNanos / 1_000_000_000);
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

    private static ulong Identify(ClassifierSlot classifier, ModelBundle bundle) =>
        XxHash3.HashToUInt64([.. bundle.ModelSha256.Span, .. bundle.ManifestSha256.Span, .. classifier.Name]);
}
