using System.Diagnostics;

namespace SafetyFilter.Decisions;

/// <summary>How one bundle fared in one request.</summary>
/// <param name="Failure">Of its run over the candidates whose scores were not remembered.</param>
/// <param name="Micros">What that took; 0 when it did not run.</param>
internal readonly record struct BundleRun(FailureKind Failure, BreakerState Breaker, uint Micros)
{
    /// <summary>Candidates that were looked up in the verdict cache.</summary>
    public int LookedUp { get; init; }

    /// <summary>Those found there: <see cref="Decision.Remembered"/> says which.</summary>
    public int Remembered { get; init; }

    /// <summary>In how many parts it ran; 0 when in one.</summary>
    public int Parts { get; init; }
}

/// <summary>
/// One request from its decoded columns to its verdicts: what the answer and the record are written from. Pooled, so
/// that a request in steady state allocates none of it. Not thread-safe.
/// </summary>
internal sealed class Decision
{
    private BundleRun[] _runs = [];
    private ulong[] _remembered = [];
    private byte[] _inputDigests = [];
    private ushort[] _tableIndexOfRule = [];
    private ushort[] _usedRules = [];
    private int _usedRuleCount;

    public CandidateBatch Batch { get; } = new();
    public ScoreTable Scores { get; } = new();
    public Verdicts Verdicts { get; } = new();

    /// <summary>The terms that decided. Set by the engine before anything reads the decision.</summary>
    public DecisionTerms Terms { get; private set; } = null!;

    public Span<BundleRun> Runs => _runs.AsSpan(0, Terms.Bundles.Length);

    /// <summary>
    /// The candidates, as a <see cref="Bitmap"/>, whose scores by this bundle are not of this request's run: an earlier run of the same
    /// bundle gave them for the same version of the same input. All clear unless the surface uses the verdict cache.
    /// </summary>
    public Span<ulong> Remembered(int bundle) => _remembered.AsSpan(bundle * Bitmap.Words(Batch.Count), Bitmap.Words(Batch.Count));

    /// <summary>16 bytes per candidate.</summary>
    public Span<byte> InputDigests => _inputDigests.AsSpan(0, Batch.Count * 16);

    public long TimeUnixNanos { get; set; }
    public string Caller { get; set; } = "";
    public ActivityTraceId TraceId { get; set; }
    public ActivitySpanId SpanId { get; set; }

    /// <summary>Before the engine decides: the most that caller and server allow. From then on the budget that applies.</summary>
    public uint BudgetMicros { get; set; } = uint.MaxValue;

    /// <summary>What bounded <see cref="BudgetMicros"/>.</summary>
    public BudgetBound BudgetBound { get; set; } = BudgetBound.Server;

    public uint EngineMicros { get; set; }

    /// <summary>How long it waited before the engine began.</summary>
    public uint QueueMicros { get; set; }

    /// <summary>There is no room to score it: every classifier takes its fail mode.</summary>
    public bool IsShed { get; set; }

    /// <summary>The rules that decided something, as indexes into the terms' rules; entry 0 is always the default.</summary>
    public ReadOnlySpan<ushort> UsedRules => _usedRules.AsSpan(0, _usedRuleCount);

    /// <summary>Sizes the columns for a batch that has been read. The verdicts are the policy's to size.</summary>
    public void Begin(DecisionTerms terms)
    {
        Terms = terms;
        var count = Batch.Count;
        Scores.Reset(terms.Classifiers.Length, count);
        if (_runs.Length < terms.Bundles.Length)
        {
            _runs = new BundleRun[terms.Bundles.Length];
        }

        var words = terms.Bundles.Length * Bitmap.Words(count);
        if (_remembered.Length < words)
        {
            _remembered = new ulong[words];
        }

        _remembered.AsSpan(0, words).Clear();
        if (_inputDigests.Length < count * 16)
        {
            _inputDigests = new byte[count * 16];
        }

        if (_usedRules.Length < terms.Rules.Length)
        {
            _usedRules = new ushort[terms.Rules.Length];
            _tableIndexOfRule = new ushort[terms.Rules.Length];
        }
    }

    /// <summary>
    /// Numbers the rules that decided something, so that an answer carries those and not the whole policy. Call once,
    /// after the policy has decided.
    /// </summary>
    public void CollectUsedRules()
    {
        _tableIndexOfRule.AsSpan(0, Terms.Rules.Length).Clear();
        _usedRules[0] = 0;
        _usedRuleCount = 1;
        foreach (var rule in Verdicts.Rules)
        {
            if (rule != 0 && _tableIndexOfRule[rule] == 0)
            {
                _tableIndexOfRule[rule] = (ushort)_usedRuleCount;
                _usedRules[_usedRuleCount++] = rule;
            }
        }
    }

    /// <summary>
    /// Why a candidate has no score of a classifier's own and what stands in for it, as kind x 4 + mode: below 32. 0 when it has one.
    /// Once the policy has decided.
    /// </summary>
    public int MarkOf(int classifier, int candidate)
    {
        var kind = Scores.Failures(classifier)[candidate];
        return kind == FailureKind.None ? 0 : (int)kind * 4 + (int)ModeOf(classifier, candidate);
    }

    private FailMode ModeOf(int classifier, int candidate)
    {
        if (!float.IsNaN(Scores.Row(classifier)[candidate]))
        {
            return FailMode.LastKnown;
        }

        if (Terms.AllDownRule != 0 && Verdicts.Rules[candidate] == Terms.AllDownRule)
        {
            return Terms.Rules[Terms.AllDownRule].Action == CandidateAction.Block ? FailMode.Closed : FailMode.Open;
        }

        return Terms.Classifiers[classifier].MissingMode;
    }

    /// <summary>Where a rule stands in <see cref="UsedRules"/>.</summary>
    public int TableIndexOf(int rule) => _tableIndexOfRule[rule];
}
