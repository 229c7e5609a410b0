namespace SafetyFilter.Decisions;

/// <summary>What a policy decided for one request, as columns of one entry per candidate. Pooled.</summary>
internal sealed class Verdicts
{
    private CandidateAction[] _actions = [];
    private Basis[] _bases = [];
    private ushort[] _rules = [];
    private float[] _margins = [];
    private ulong[] _shadows = [];

    public int Count { get; private set; }

    /// <summary>Number of shadow rules of the policy.</summary>
    public int ShadowRules { get; private set; }

    public Span<CandidateAction> Actions => _actions.AsSpan(0, Count);

    public Span<Basis> Bases => _bases.AsSpan(0, Count);

    /// <summary>Index of the deciding rule in the surface's rule table; 0 is "no rule matched".</summary>
    public Span<ushort> Rules => _rules.AsSpan(0, Count);

    /// <summary>Distance of the deciding score from its threshold, positive on the side of the action; NaN if none decided.</summary>
    public Span<float> Margins => _margins.AsSpan(0, Count);

    /// <summary>The candidates that a shadow rule matched, as a bitmap.</summary>
    public Span<ulong> Shadow(int shadowRule)
    {
        var words = Bitmap.Words(Count);
        return _shadows.AsSpan(shadowRule * words, words);
    }

    /// <summary>Sizes the columns; every candidate starts allowed by the default rule, evaluated, without a margin.</summary>
    public void Reset(int count, int shadowRules)
    {
        Count = count;
        ShadowRules = shadowRules;
        if (_actions.Length < count)
        {
            _actions = new CandidateAction[count];
            _bases = new Basis[count];
            _rules = new ushort[count];
            _margins = new float[count];
        }

        var shadowWords = shadowRules * Bitmap.Words(count);
        if (_shadows.Length < shadowWords)
        {
            _shadows = new ulong[shadowWords];
        }

        Actions.Fill(CandidateAction.Allow);
        Bases.Fill(Basis.Evaluated);
        Rules.Clear();
        Margins.Fill(float.NaN);
        _shadows.AsSpan(0, shadowWords).Clear();
    }
}
