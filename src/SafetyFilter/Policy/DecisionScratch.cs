using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>
/// Working memory of one decision. One per thread, because a decision never leaves its thread; it only grows, so after a few
/// requests nothing is allocated any more.
/// </summary>
internal sealed class DecisionScratch
{
    [ThreadStatic]
    private static DecisionScratch? _forThisThread;

    private ulong[] _undecided = [];
    private ulong[] _tests = [];
    private bool[] _tested = [];
    private ulong[] _missing = [];
    private bool[] _hasMissing = [];
    private AttributeColumn?[] _attributes = [];
    private int _testCount;

    public static DecisionScratch ForThisThread => _forThisThread ??= new DecisionScratch();

    public int Words { get; private set; }

    /// <summary>Candidates that no rule has decided yet.</summary>
    public Span<ulong> Undecided => _undecided.AsSpan(0, Words);

    /// <summary>The bits of all tests, <see cref="Words"/> per test; those not <see cref="Tested"/> yet are leftovers.</summary>
    public Span<ulong> Tests => _tests.AsSpan(0, _testCount * Words);

    public Span<bool> Tested => _tested.AsSpan(0, _testCount);

    /// <summary>Candidates without a valid score from a classifier.</summary>
    public Span<ulong> Missing(int slot) => _missing.AsSpan(slot * Words, Words);

    public bool HasMissing(int slot) => _hasMissing[slot];

    public void SetHasMissing(int slot, bool value) => _hasMissing[slot] = value;

    /// <summary>The request's column for one of the policy's attributes, or null where it is absent or of another kind.</summary>
    public AttributeColumn? Attribute(int index) => _attributes[index];

    public void SetAttribute(int index, AttributeColumn? column) => _attributes[index] = column;

    public void Prepare(int count, int tests, int slots, int attributes)
    {
        Words = Bitmap.Words(count);
        _testCount = tests;
        Grow(ref _undecided, Words);
        Grow(ref _tests, tests * Words);
        Grow(ref _tested, tests);
        Grow(ref _missing, slots * Words);
        Grow(ref _hasMissing, slots);
        Grow(ref _attributes, attributes);
        Tested.Clear();
        Bitmap.Fill(Undecided, count);
    }

    /// <summary>Lets go of the request's columns: they belong to a pooled batch.</summary>
    public void Release() => Array.Clear(_attributes);

    private static void Grow<T>(ref T[] array, int length)
    {
        if (array.Length < length)
        {
            array = new T[Math.Max(length, array.Length * 2)];
        }
    }
}
