using SafetyFilter.Scoring;

namespace SafetyFilter.Breaker;

/// <summary>Faults injected on purpose into named bundles, to try fail modes out. Section <c>Chaos</c>.</summary>
internal sealed class ChaosOptions
{
    /// <summary>Default false: it breaks things. True is refused in the Production environment unless <see cref="AllowInProduction"/>.</summary>
    public bool Enabled { get; set; }

    /// <summary>Default false: it would break things for somebody.</summary>
    public bool AllowInProduction { get; set; }

    /// <summary>By bundle name. Default: none.</summary>
    public Dictionary<string, BundleChaos> Bundles { get; init; } = new(StringComparer.Ordinal);

    public BundleChaos? For(string bundle) => Enabled ? Bundles.GetValueOrDefault(bundle) : null;

    /// <summary>Every error at once, in words for whoever wrote the configuration.</summary>
    public IEnumerable<string> Validate(bool isProduction)
    {
        if (Enabled && isProduction && !AllowInProduction)
        {
            yield return "Chaos:Enabled is true in the Production environment. Set it to false, or Chaos:AllowInProduction to true if you mean it.";
        }

        foreach (var (name, chaos) in Bundles)
        {
            if (!(chaos.FaultRate is >= 0 and <= 1))
            {
                yield return $"Chaos:Bundles:{name}:FaultRate is {chaos.FaultRate}; it must be 0 to 1.";
            }

            if (!(chaos.InvalidOutputRate is >= 0 and <= 1))
            {
                yield return $"Chaos:Bundles:{name}:InvalidOutputRate is {chaos.InvalidOutputRate}; it must be 0 to 1.";
            }

            if (!(chaos.LatencyRate is >= 0 and <= 1))
            {
                yield return $"Chaos:Bundles:{name}:LatencyRate is {chaos.LatencyRate}; it must be 0 to 1.";
            }

            if (chaos.Latency < TimeSpan.Zero || chaos.Latency > BundleChaos.LongestLatency)
            {
                yield return $"Chaos:Bundles:{name}:Latency is {chaos.Latency}; it must be 00:00:00 to {BundleChaos.LongestLatency}.";
            }
        }
    }
}

/// <summary>What is broken of one bundle. Every default is 0: one kind of fault is tried at a time.</summary>
internal sealed class BundleChaos
{
    /// <summary>Share of calls that fail as if the model had thrown. Default 0.</summary>
    public double FaultRate { get; set; }

    /// <summary>Share of calls that fail as if the model had given NaN. Default 0.</summary>
    public double InvalidOutputRate { get; set; }

    /// <summary>Longer would keep threads for no lesson more: it is sixty times the longest budget there is.</summary>
    public static readonly TimeSpan LongestLatency = TimeSpan.FromMinutes(1);

    /// <summary>How much longer a delayed run takes, at most a minute. Default 0.</summary>
    public TimeSpan Latency { get; set; }

    /// <summary>Share of runs that are delayed by <see cref="Latency"/>. Default 0.</summary>
    public double LatencyRate { get; set; }

    public static bool IsSame(BundleChaos? one, BundleChaos? other) =>
        (one?.FaultRate, one?.InvalidOutputRate, one?.LatencyRate, one?.Latency)
        == (other?.FaultRate, other?.InvalidOutputRate, other?.LatencyRate, other?.Latency);

    // It holds its thread until it is cut, as a slow model does.
    internal void Delay(TimeProvider time, in PreparedRun run)
    {
        if (Latency > TimeSpan.Zero && LatencyRate > 0 && Random.Shared.NextDouble() < LatencyRate)
        {
            var started = time.GetTimestamp();
            while (!run.IsCut && time.GetElapsedTime(started) < Latency)
            {
                Thread.Sleep(0);
            }
        }
    }
}
