namespace SafetyFilter.Client;

/// <summary>How a <see cref="SafetyFilterClient"/> calls.</summary>
public sealed record SafetyFilterClientOptions
{
    /// <summary>
    /// The time an answer may take, from the call to the answer; a <see cref="FilterQuery.Deadline"/> overrides it.
    /// Past it the call fails with <c>DeadlineExceeded</c>. 250 ms by default: hundreds of usual answers long, so that only a
    /// broken sidecar meets it, yet short of what a person notices. The first call also pays for connecting.
    /// </summary>
    public TimeSpan Deadline { get; init; } = TimeSpan.FromMilliseconds(250);

    /// <summary>The largest answer that is read, in bytes. 4 MiB by default, gRPC's own; scores of 1000 candidates take a fraction of it.</summary>
    public int MaxResponseBytes { get; init; } = 4 * 1024 * 1024;
}
