namespace SafetyFilter.Scoring;

/// <summary>Section <c>Scoring</c>: how models are run.</summary>
internal sealed class ScoringOptions
{
    public const int LeastSplit = 32;

    private const int MostSplit = 10_000;

    /// <summary>
    /// Candidates, 32 to 10,000. A bundle's run over more of them is split into equal parts of at most so many, or of more where these would be more parts than the
    /// engine has cores; cores without a request take parts. Default 0, never: it gains nothing while all cores have requests.
    /// </summary>
    public int SplitAbove { get; set; }

    public IEnumerable<string> Validate()
    {
        if (SplitAbove is not 0 and (< LeastSplit or > MostSplit))
        {
            yield return $"Scoring:SplitAbove is {SplitAbove}; it must be 0 (never) or {LeastSplit} to {MostSplit}.";
        }
    }
}
