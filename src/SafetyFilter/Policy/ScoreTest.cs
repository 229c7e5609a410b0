namespace SafetyFilter.Policy;

/// <summary>
/// A score comparison as a closed interval of float32. "above t" is "at least the next float32 after t", so one kernel serves
/// all comparisons and no NaN can pass. Scores and thresholds are compared as float32, exactly as records keep the scores.
/// </summary>
internal readonly record struct ScoreTest(float Low, float High, float LowThreshold, float HighThreshold)
{
    public static ScoreTest From(Bounds bounds)
    {
        var low = bounds.Low is { } l ? (float)l : float.NegativeInfinity;
        var high = bounds.High is { } h ? (float)h : float.PositiveInfinity;
        return new ScoreTest(
            Math.Max(0f, bounds.LowIsExclusive ? MathF.BitIncrement(low) : low),
            Math.Min(1f, bounds.HighIsExclusive ? MathF.BitDecrement(high) : high),
            low,
            high);
    }

    public bool Matches(float score) => score >= Low && score <= High;

    /// <summary>How far the score may move until the comparison changes; negative where it does not hold.</summary>
    public float Margin(float score) => MathF.Min(score - LowThreshold, HighThreshold - score);
}
