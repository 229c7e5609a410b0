namespace SafetyFilter.Sidecar.Reload;

/// <summary>How changes of policies and settings are noticed and tried. Section <c>Reload</c>. Itself read at start only.</summary>
internal sealed class ReloadOptions
{
    /// <summary>
    /// How often the files are looked at, 10 ms to 1 min; 0 never. Content counts when it was the same twice. Default 250 ms: two looks and
    /// the work fit into a second.
    /// </summary>
    public TimeSpan PollInterval { get; set; } = TimeSpan.FromMilliseconds(250);

    /// <summary>
    /// Recent decisions kept in memory to try a new policy on, 0 to 100,000. Default 1000: a share of candidates is known to about 1 % then.
    /// </summary>
    public int RecentDecisions { get; set; } = 1000;

    /// <summary>Their bytes, all together, 64 KiB to 1 GiB. Default 16 MiB: 16 KiB for each, a page of about 200 candidates.</summary>
    public int RecentBytes { get; set; } = 16 << 20;

    /// <summary>
    /// A change of policies is refused when it treats a larger share of recent candidates otherwise, 0 to 1. Default 1, never: a rule that is
    /// meant to bite changes much, and a file has no way to say so. Set it where reloads are forced by the operations RPC.
    /// </summary>
    public double MaxChangedShare { get; set; } = 1;

    public IEnumerable<string> Validate()
    {
        if (PollInterval != TimeSpan.Zero && (PollInterval < TimeSpan.FromMilliseconds(10) || PollInterval > TimeSpan.FromMinutes(1)))
        {
            yield return $"Reload:PollInterval is {PollInterval}; it must be 00:00:00.010 to 00:01:00, or 0 to look never.";
        }

        if (RecentDecisions is < 0 or > 100_000)
        {
            yield return $"Reload:RecentDecisions is {RecentDecisions}; it must be 0 to 100000.";
        }

        if (RecentBytes is < 64 << 10 or > 1 << 30)
        {
            yield return $"Reload:RecentBytes is {RecentBytes}; it must be 65536 to 1073741824.";
        }

        if (!(MaxChangedShare is >= 0 and <= 1))
        {
            yield return $"Reload:MaxChangedShare is {MaxChangedShare}; it must be 0 to 1.";
        }
    }
}
