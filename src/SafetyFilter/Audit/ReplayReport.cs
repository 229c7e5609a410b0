namespace SafetyFilter.Audit;

/// <summary>Where a recomputed decision is not what the record says.</summary>
/// <param name="Candidate">Its place in the request; -1 where the whole decision differs.</param>
internal sealed record ReplayDifference(
    Guid Stream, uint Epoch, ulong Sequence, string RequestId, int Candidate, string CandidateId, string Field, string Recorded, string Recomputed);

/// <summary>A decision that cannot be recomputed, for a reason that many share.</summary>
internal sealed record ReplayMiss(Guid Stream, ulong Sequence, string Text);

/// <summary>What a replay found. Adds up over blocks of records.</summary>
/// <param name="maxDifferences">How many differences are kept; all are counted.</param>
internal sealed class ReplayReport(int maxDifferences)
{
    private readonly List<ReplayDifference> _differences = [];
    private readonly SortedDictionary<string, (long Count, ReplayMiss First)> _misses = new(StringComparer.Ordinal);

    public long Decisions { get; set; }

    public long Candidates { get; set; }

    /// <summary>Decisions that came out as recorded in everything.</summary>
    public long Equal { get; set; }

    public long Different { get; set; }

    /// <summary>Decisions whose scores were recomputed from captured inputs too.</summary>
    public long Rescored { get; set; }

    /// <summary>
    /// Scores that records say are remembered, and that were recomputed from captured inputs and found within the bundle's own tolerance: which
    /// batch they were computed in is not known, so their last bits cannot be.
    /// </summary>
    public long Remembered { get; set; }

    public long DifferenceCount { get; private set; }

    public IReadOnlyList<ReplayDifference> Differences => _differences;

    /// <summary>Decisions that could not be recomputed (or not wholly), by reason, each with the first of them.</summary>
    public IReadOnlyDictionary<string, (long Count, ReplayMiss First)> NotRecomputable => _misses;

    public long NotRecomputableCount => _misses.Values.Sum(static miss => miss.Count);

    public bool IsEqual(bool allowMissing) => DifferenceCount == 0 && (allowMissing || _misses.Count == 0);

    public void Add(ReplayDifference difference)
    {
        DifferenceCount++;
        if (_differences.Count < maxDifferences)
        {
            _differences.Add(difference);
        }
    }

    public void Miss(string reason, ReplayMiss miss) =>
        _misses[reason] = _misses.TryGetValue(reason, out var known) ? known with { Count = known.Count + 1 } : (1, miss);

    /// <summary>Adds what another one found after this one, and empties it.</summary>
    public void Take(ReplayReport later)
    {
        Decisions += later.Decisions;
        Candidates += later.Candidates;
        Equal += later.Equal;
        Different += later.Different;
        Rescored += later.Rescored;
        Remembered += later.Remembered;
        DifferenceCount += later.DifferenceCount;
        _differences.AddRange(later._differences.Take(maxDifferences - _differences.Count));
        foreach (var (reason, miss) in later._misses)
        {
            _misses[reason] = _misses.TryGetValue(reason, out var known) ? known with { Count = known.Count + miss.Count } : miss;
        }

        later.Decisions = later.Candidates = later.Equal = later.Different = later.Rescored = later.Remembered = later.DifferenceCount = 0;
        later._differences.Clear();
        later._misses.Clear();
    }
}
