namespace SafetyFilter.Decisions;

/// <summary>
/// Scores of one request: classifier-major, one row of candidates per classifier slot of the surface's policy.
/// </summary>
/// <remarks>
/// A cell is a score in 0..1 with <see cref="FailureKind.None"/>, NaN with the reason why there is none, or a remembered score with
/// the reason why there is none of its own.
/// Pooled; <see cref="Reset"/> keeps the arrays. Not thread-safe, except that threads may write scores and failures of different candidates at once.
/// </remarks>
internal sealed class ScoreTable
{
    private float[] _scores = [];
    private FailureKind[] _failures = [];
    private bool[] _incomplete = [];

    public int Classifiers { get; private set; }

    public int Count { get; private set; }

    /// <summary>classifiers x count, classifier-major.</summary>
    public ReadOnlySpan<float> All => _scores.AsSpan(0, Classifiers * Count);

    /// <summary>Sets the size. All scores are unset until a row is filled or failed.</summary>
    public void Reset(int classifiers, int count)
    {
        Classifiers = classifiers;
        Count = count;
        var cells = classifiers * count;
        if (_scores.Length < cells)
        {
            _scores = new float[cells];
            _failures = new FailureKind[cells];
        }

        if (_incomplete.Length < classifiers)
        {
            _incomplete = new bool[classifiers];
        }

        _failures.AsSpan(0, cells).Clear();
        _incomplete.AsSpan(0, classifiers).Clear();
    }

    /// <summary>The scores of one classifier, to be read or written.</summary>
    public Span<float> Row(int classifier) => _scores.AsSpan(classifier * Count, Count);

    /// <summary>Why candidates have no score from this classifier itself.</summary>
    public ReadOnlySpan<FailureKind> Failures(int classifier) => _failures.AsSpan(classifier * Count, Count);

    /// <summary>Whether at least one candidate has no score from this classifier itself.</summary>
    public bool IsIncomplete(int classifier) => _incomplete[classifier];

    /// <summary>
    /// Whether no classifier gave any candidate a score, and none of that is the caller's doing: who leaves features out must not
    /// choose what happens. Nor the server's: a request that was shed has asked none of them.
    /// </summary>
    public bool IsAllDown()
    {
        for (var classifier = 0; classifier < Classifiers; classifier++)
        {
            if (!_incomplete[classifier])
            {
                return false;
            }

            foreach (var failure in Failures(classifier))
            {
                if (failure is FailureKind.None or FailureKind.MissingFeature or FailureKind.FeatureMismatch or FailureKind.Shed)
                {
                    return false;
                }
            }
        }

        return Classifiers > 0;
    }

    /// <summary>Whether there is a score for a candidate, from a classifier or remembered.</summary>
    public bool KnowsOf(int candidate)
    {
        for (var classifier = 0; classifier < Classifiers; classifier++)
        {
            if (!float.IsNaN(_scores[classifier * Count + candidate]))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Says why a candidate has no score of its own, and leaves what stands in for it.</summary>
    public void Mark(int classifier, int candidate, FailureKind kind)
    {
        _failures[classifier * Count + candidate] = kind;
        _incomplete[classifier] = true;
    }

    /// <summary>Takes one candidate's score away.</summary>
    public void Fail(int classifier, int candidate, FailureKind kind)
    {
        var cell = classifier * Count + candidate;
        _scores[cell] = float.NaN;
        _failures[cell] = kind;
        _incomplete[classifier] = true;
    }

    /// <summary>Takes all candidates' scores away.</summary>
    public void FailAll(int classifier, FailureKind kind)
    {
        Row(classifier).Fill(float.NaN);
        _failures.AsSpan(classifier * Count, Count).Fill(kind);
        _incomplete[classifier] = true;
    }
}
