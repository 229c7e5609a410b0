namespace SafetyFilter.Client;

/// <summary>How a <see cref="SafetyFilterClient"/> calls, and what it answers when the sidecar does not.</summary>
public sealed record SafetyFilterClientOptions
{
    /// <summary>
    /// The time an answer may take, from the call to the answer, retries included; a <see cref="FilterQuery.Deadline"/> overrides
    /// it. It is sent to the sidecar as well. 250 ms by default: hundreds of usual answers long, so that only a
    /// broken sidecar meets it, yet short of what a person notices. The first call also pays for connecting, unless
    /// <see cref="SafetyFilterClient.WarmUpAsync"/> did.
    /// </summary>
    public TimeSpan Deadline { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>The largest answer that is read, in bytes. 4 MiB by default, gRPC's own; scores of 1000 candidates take a fraction of it.</summary>
    public int MaxResponseBytes { get; init; } = 4 * 1024 * 1024;

    /// <summary>
    /// What a page gets when the sidecar is gone, hung, refuses or is overloaded. Closed by default: a filter that is not there
    /// must not look like one that found nothing. <see cref="SurfaceFailModes"/> and <see cref="FilterQuery.FailMode"/> override it.
    /// </summary>
    public LocalFailMode FailMode { get; init; } = LocalFailMode.Closed;

    /// <summary>Fail modes of single surfaces, by name. None by default.</summary>
    public IReadOnlyDictionary<string, LocalFailMode> SurfaceFailModes { get; init; } = new Dictionary<string, LocalFailMode>(StringComparer.Ordinal);

    /// <summary>Surfaces that fail closed whatever else says otherwise, a query included, e.g. <c>kids</c>. None by default: the client knows no names.</summary>
    public IReadOnlyCollection<string> HardSurfaces { get; init; } = [];

    /// <summary>
    /// How often a call is sent again after its connection failed; never after a refusal. 0 to 10; 1 by default: what one new
    /// connection does not cure takes longer than a deadline.
    /// </summary>
    public int MaxRetries { get; init; } = 1;

    /// <summary>
    /// The mean wait before the first retry, doubled for each further one; the real one is drawn evenly from half to one and a half of it. 5 ms by
    /// default: a fraction of the deadline, and enough to spread the callers of a connection that broke under all of them.
    /// </summary>
    public TimeSpan RetryBackoff { get; init; } = TimeSpan.FromMilliseconds(5);

    /// <summary>
    /// The time that making a connection may take; it goes on when the call that began it has met its deadline. 1 s by default: the
    /// sidecar is on this machine or beside it.
    /// </summary>
    public TimeSpan ConnectTimeout { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// A connection that has been silent for so long is pinged, in use or not; as long again without an answer and it is given up, so
    /// that a peer that vanished without a word is noticed. At least 1 s, which is .NET's own least and this default.
    /// </summary>
    public TimeSpan KeepAlive { get; init; } = TimeSpan.FromSeconds(1);

    internal LocalFailMode FailModeOf(string surface, LocalFailMode? asked)
    {
        // A handful of names: a scan costs no hash and needs no copy.
        foreach (var hard in HardSurfaces)
        {
            if (string.Equals(hard, surface, StringComparison.Ordinal))
            {
                return LocalFailMode.Closed;
            }
        }

        return asked ?? (SurfaceFailModes.TryGetValue(surface, out var mode) ? mode : FailMode);
    }

    internal void Check()
    {
        ThrowUnless(Deadline > TimeSpan.Zero, nameof(Deadline), Deadline, "more than zero");
        ThrowUnless(MaxResponseBytes > 0, nameof(MaxResponseBytes), MaxResponseBytes, "more than zero");
        ThrowUnless(Enum.IsDefined(FailMode), nameof(FailMode), FailMode, "Closed, Open or Throw");
        ThrowUnless(MaxRetries is >= 0 and <= 10, nameof(MaxRetries), MaxRetries, "0 to 10");
        ThrowUnless(RetryBackoff >= TimeSpan.Zero && RetryBackoff <= TimeSpan.FromSeconds(10), nameof(RetryBackoff), RetryBackoff, "0 to 10 s");
        ThrowUnless(ConnectTimeout > TimeSpan.Zero, nameof(ConnectTimeout), ConnectTimeout, "more than zero");
        ThrowUnless(KeepAlive >= TimeSpan.FromSeconds(1), nameof(KeepAlive), KeepAlive, "at least 1 s");
        foreach (var (surface, mode) in SurfaceFailModes)
        {
            ThrowUnless(Enum.IsDefined(mode), $"{nameof(SurfaceFailModes)}['{surface}']", mode, "Closed, Open or Throw");
        }
    }

    private static void ThrowUnless(bool holds, string name, object value, string range)
    {
        if (!holds)
        {
            throw new ArgumentOutOfRangeException(name, value, $"{name} is {value}. It must be {range}.");
        }
    }
}
