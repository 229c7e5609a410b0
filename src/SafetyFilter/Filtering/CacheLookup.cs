using System.Numerics;
using BitFaster.Caching.Lfu;
using SafetyFilter.Decisions;

namespace SafetyFilter.Filtering;

/// <summary>
/// One request's dealings with the verdict cache: what is remembered of its candidates, which of them are left for the bundle to run, and
/// what of that run is kept. Allocates nothing but the scores it keeps. Of one thread.
/// </summary>
internal sealed class CacheLookup
{
    [ThreadStatic]
    private static CacheLookup? _ofThread;

    private ConcurrentLfu<ScoreKey, float[]> _scores = null!;
    private Decision _decision = null!;

    // Per candidate; without a version there is no key.
    private ScoreKey[] _keys = [];
    private int[] _left = [];
    private int _leftCount;
    private int _remembered;

    /// <summary>Candidates that can be looked up: those with a content version. What has none may have changed under its id.</summary>
    public int LookedUp { get; private set; }

    /// <summary>Those that the last <see cref="Recall"/> found.</summary>
    public int Remembered => _remembered;

    /// <summary>Whether it found all of the request.</summary>
    public bool NothingLeft => _remembered == _decision.Batch.Count;

    /// <summary>The candidates that it did not find, ascending; empty when it found none.</summary>
    public ReadOnlySpan<int> Left => _left.AsSpan(0, _leftCount);

    /// <summary>A look-up for this request, or null when none of its candidates can be looked up. Its digests must be there.</summary>
    /// <remarks>It is the thread's own, and good until the next call.</remarks>
    public static CacheLookup? Begin(Decision decision, VerdictCache cache)
    {
        if (decision.Batch.ContentVersions.Count == 0 || cache.Scores is not { } scores)
        {
            return null;
        }

        var lookup = _ofThread ??= new CacheLookup();
        (lookup._scores, lookup._decision) = (scores, decision);
        lookup.MakeKeys(cache);
        if (lookup.LookedUp > 0)
        {
            return lookup;
        }

        lookup.End();
        return null;
    }

    /// <summary>Lets go of the request: it belongs to a pool.</summary>
    public void End() => (_scores, _decision) = (null!, null!);

    /// <summary>Puts what is remembered of a bundle's scores where they belong, and marks them.</summary>
    public void Recall(int bundle, BundleStep step)
    {
        var batch = _decision.Batch;
        var versions = batch.ContentVersions.Slices;
        var remembered = _decision.Remembered(bundle);
        _leftCount = _remembered = 0;
        for (var candidate = 0; candidate < batch.Count; candidate++)
        {
            if (!versions[candidate].IsEmpty && _scores.TryGet(_keys[candidate].With(step.Key), out var scores))
            {
                Bitmap.Set(remembered, candidate);
                _remembered++;
                step.Put(scores, candidate, _decision.Scores);
            }
            else
            {
                _left[_leftCount++] = candidate;
            }
        }

        if (_remembered == 0)
        {
            _leftCount = 0;
        }
    }

    /// <summary>Keeps the scores that a bundle has just given: of candidates with a version that it failed in nothing.</summary>
    public void Keep(int bundle, BundleStep step)
    {
        var table = _decision.Scores;
        var versions = _decision.Batch.ContentVersions.Slices;
        var remembered = _decision.Remembered(bundle);
        for (var candidate = 0; candidate < versions.Length; candidate++)
        {
            if (!versions[candidate].IsEmpty && !Bitmap.Get(remembered, candidate) && step.HasAll(table, candidate))
            {
                _scores.AddOrUpdate(_keys[candidate].With(step.Key), step.Take(table, candidate));
            }
        }
    }

    private void MakeKeys(VerdictCache cache)
    {
        var batch = _decision.Batch;
        if (_keys.Length < batch.Count)
        {
            var length = (int)BitOperations.RoundUpToPowerOf2((uint)batch.Count);
            (_keys, _left) = (new ScoreKey[length], new int[length]);
        }

        LookedUp = 0;
        ReadOnlySpan<byte> digests = _decision.InputDigests;
        for (var candidate = 0; candidate < batch.Count; candidate++)
        {
            var version = batch.ContentVersions[candidate];
            if (!version.IsEmpty)
            {
                _keys[candidate] = cache.KeyOf(batch[batch.Ids[candidate]], batch[version], digests.Slice(candidate * 16, 16));
                LookedUp++;
            }
        }
    }
}
