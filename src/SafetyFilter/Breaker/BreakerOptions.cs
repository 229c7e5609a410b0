namespace SafetyFilter.Breaker;

/// <summary>When a classifier bundle's circuit breaker opens, and for how long. Section <c>Breaker</c>.</summary>
internal sealed class BreakerOptions : BreakerThresholds
{
    private static readonly BreakerOverride NothingOwn = new();

    /// <summary>Thresholds of single bundles, by bundle name. What one does not set it takes from the section itself. Default: none has its own.</summary>
    public Dictionary<string, BreakerOverride> Bundles { get; init; } = new(StringComparer.Ordinal);

    public BreakerThresholds For(string bundle) => Bundles.GetValueOrDefault(bundle, NothingOwn).Over(this);

    /// <summary>Every error at once, in words for whoever wrote the configuration.</summary>
    public IEnumerable<string> Validate()
    {
        foreach (var error in Validate("Breaker"))
        {
            yield return error;
        }

        foreach (var (name, own) in Bundles)
        {
            // Over the defaults, which are right: an error of the section is told once.
            foreach (var error in own.Over(new BreakerThresholds()).Validate($"Breaker:Bundles:{name}"))
            {
                yield return error;
            }
        }
    }
}

/// <summary>Thresholds of one circuit breaker.</summary>
internal class BreakerThresholds
{
    // Polly refuses shorter durations and smaller throughputs (CircuitBreakerStrategyOptions).
    private static readonly TimeSpan ShortestDuration = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan LongestDuration = TimeSpan.FromDays(1);
    private const int SmallestThroughput = 2;
    private const int MostTrialCalls = 100;

    /// <summary>
    /// Share of failed calls within <see cref="SamplingDuration"/> that opens the breaker, in (0, 1]. Default 0.5: half
    /// of the pages without scores is a broken classifier, not a flaky one. Polly's own is 0.1.
    /// </summary>
    public double FailureRatio { get; set; } = 0.5;

    /// <summary>Calls within <see cref="SamplingDuration"/> below which it never opens, at least 2. Default 20: fewer let one failure be 5 % and more. Polly's 100 is never reached at 10 requests/s.</summary>
    public int MinimumThroughput { get; set; } = 20;

    /// <summary>The window, 0.5 s to 1 day. Default 10 s: at 100 requests/s and more a model that fails outright opens it within a second. Polly's own is 30 s.</summary>
    public TimeSpan SamplingDuration { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>How long it stays open before one call may try again, 0.5 s to 1 day. Default 5 s, as Polly's.</summary>
    public TimeSpan BreakDuration { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// A model run longer than this is slow, in microseconds; 0 turns it off. It is for pages of up to 256 candidates and grows in
    /// proportion with larger ones. Runs that a budget cuts sooner do not count. Default 5000: five default budgets.
    /// </summary>
    public int SlowCallMicros { get; set; } = 5000;

    /// <summary>Share of slow calls that opens the breaker, in (0, 1]. Default 0.8: a busy machine makes some runs slow, a hung model nearly all.</summary>
    public double SlowCallRatio { get; set; } = 0.8;

    /// <summary>Calls in a row, one at a time, that must go well after a break before it closes, 1 to 100. Default 1, as Polly's.</summary>
    public int TrialCalls { get; set; } = 1;

    public bool IsSame(BreakerThresholds other) =>
        (FailureRatio, MinimumThroughput, SamplingDuration, BreakDuration, SlowCallMicros, SlowCallRatio, TrialCalls)
        == (other.FailureRatio, other.MinimumThroughput, other.SamplingDuration, other.BreakDuration, other.SlowCallMicros, other.SlowCallRatio, other.TrialCalls);

    internal IEnumerable<string> Validate(string section)
    {
        if (!(FailureRatio > 0 && FailureRatio <= 1))
        {
            yield return $"{section}:FailureRatio is {FailureRatio}; it must be above 0 and at most 1. Use a share such as 0.5.";
        }

        if (MinimumThroughput < SmallestThroughput)
        {
            yield return $"{section}:MinimumThroughput is {MinimumThroughput}; it must be at least {SmallestThroughput}.";
        }

        if (SamplingDuration < ShortestDuration || SamplingDuration > LongestDuration)
        {
            yield return $"{section}:SamplingDuration is {SamplingDuration}; it must be 00:00:00.500 to 1.00:00:00.";
        }

        if (BreakDuration < ShortestDuration || BreakDuration > LongestDuration)
        {
            yield return $"{section}:BreakDuration is {BreakDuration}; it must be 00:00:00.500 to 1.00:00:00.";
        }

        if (SlowCallMicros < 0)
        {
            yield return $"{section}:SlowCallMicros is {SlowCallMicros}; it must be at least 0. Use 0 to count no call as slow.";
        }

        if (!(SlowCallRatio > 0 && SlowCallRatio <= 1))
        {
            yield return $"{section}:SlowCallRatio is {SlowCallRatio}; it must be above 0 and at most 1. Use a share such as 0.8.";
        }

        if (TrialCalls is < 1 or > MostTrialCalls)
        {
            yield return $"{section}:TrialCalls is {TrialCalls}; it must be 1 to {MostTrialCalls}.";
        }
    }
}

/// <summary>Thresholds that a single bundle has of its own; null takes the section's.</summary>
internal sealed class BreakerOverride
{
    public double? FailureRatio { get; set; }
    public int? MinimumThroughput { get; set; }
    public TimeSpan? SamplingDuration { get; set; }
    public TimeSpan? BreakDuration { get; set; }
    public int? SlowCallMicros { get; set; }
    public double? SlowCallRatio { get; set; }
    public int? TrialCalls { get; set; }

    internal BreakerThresholds Over(BreakerThresholds general) => new()
    {
        FailureRatio = FailureRatio ?? general.FailureRatio,
        MinimumThroughput = MinimumThroughput ?? general.MinimumThroughput,
        SamplingDuration = SamplingDuration ?? general.SamplingDuration,
        BreakDuration = BreakDuration ?? general.BreakDuration,
        SlowCallMicros = SlowCallMicros ?? general.SlowCallMicros,
        SlowCallRatio = SlowCallRatio ?? general.SlowCallRatio,
        TrialCalls = TrialCalls ?? general.TrialCalls,
    };
}
