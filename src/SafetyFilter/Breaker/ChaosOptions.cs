namespace SafetyFilter.Breaker;

/// <summary>Faults injected on purpose into named bundles, to try fail modes out. Section <c>Chaos</c>.</summary>
internal sealed class ChaosOptions
{
    /// <summary>Default false. True is refused in the Production environment unless <see cref="AllowInProduction"/>.</summary>
    public bool Enabled { get; set; }

    /// <summary>Default false.</summary>
    public bool AllowInProduction { get; set; }

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
        }
    }
}

internal sealed class BundleChaos
{
    /// <summary>Share of calls that fail as if the model had thrown. Default 0.</summary>
    public double FaultRate { get; set; }

    /// <summary>Share of calls that fail as if the model had given NaN. Default 0.</summary>
    public double InvalidOutputRate { get; set; }
}
