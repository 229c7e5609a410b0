using SafetyFilter.Decisions;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>What a request may hold. Section <c>Limits</c>.</summary>
internal sealed class RequestLimits
{
    /// <summary>Candidates per request. Default 1000: twice the largest page that rankers send.</summary>
    public int MaxCandidates { get; set; } = 1000;

    /// <summary>
    /// Bytes of one message. Default 8 MiB: 1000 candidates with a 1024-dimension float32 embedding and a caption fit.
    /// </summary>
    public int MaxMessageBytes { get; set; } = 8 * 1024 * 1024;

    /// <summary>Bytes of one candidate id. Default 256, as filter.proto says: chosen, four times a UUID with a prefix.</summary>
    public int MaxCandidateIdBytes { get; set; } = 256;

    /// <summary>Bytes of one text. Default 16384, as filter.proto says: 4096 characters of four bytes, chosen; featurizers read less.</summary>
    public int MaxTextBytes { get; set; } = 16 * 1024;

    /// <summary>
    /// The most engine time that any request gets, whatever its policy says and whether or not the call has a deadline. Default 1 s, the
    /// largest <c>budget_us</c> of a policy: lower it where rankers wait for less.
    /// </summary>
    public TimeSpan MaxBudget { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary><see cref="MaxBudget"/> as the engine counts.</summary>
    public uint MaxBudgetMicros => (uint)(MaxBudget.Ticks / TimeSpan.TicksPerMicrosecond);

    /// <summary>Tells a decision the most budget that its caller allows; the engine adds what server and policy allow.</summary>
    /// <param name="decision">Gets the budget and what bounded it.</param>
    /// <param name="deadline">The call's, UTC. One that is absent or unreadable is <see cref="DateTime.MaxValue"/>. A stream's bounds each of its requests.</param>
    /// <param name="now">The time at which the decision begins.</param>
    public static void Bound(Decision decision, DateTime deadline, DateTimeOffset now)
    {
        var micros = deadline == DateTime.MaxValue ? uint.MaxValue : (deadline - now.UtcDateTime).Ticks / TimeSpan.TicksPerMicrosecond;
        decision.BudgetBound = BudgetBound.Deadline;
        decision.BudgetMicros = (uint)Math.Clamp(micros, 0, uint.MaxValue);
    }

    /// <summary>Every error at once, in words for whoever wrote the configuration.</summary>
    public IEnumerable<string> Validate()
    {
        if (MaxCandidates is < 1 or > 10_000)
        {
            yield return $"Limits:MaxCandidates is {MaxCandidates}; it must be 1 to 10000.";
        }

        if (MaxMessageBytes is < 1024 or > 256 * 1024 * 1024)
        {
            yield return $"Limits:MaxMessageBytes is {MaxMessageBytes}; it must be 1024 to 268435456 (256 MiB).";
        }

        if (MaxCandidateIdBytes is < 1 or > 4096)
        {
            yield return $"Limits:MaxCandidateIdBytes is {MaxCandidateIdBytes}; it must be 1 to 4096.";
        }

        if (MaxBudget < TimeSpan.FromMicroseconds(50) || MaxBudget > TimeSpan.FromSeconds(1))
        {
            yield return $"Limits:MaxBudget is {MaxBudget}; it must be 00:00:00.00005 to 00:00:01, as a policy's budget.";
        }

        if (MaxTextBytes is < 1 or > 1024 * 1024)
        {
            yield return $"Limits:MaxTextBytes is {MaxTextBytes}; it must be 1 to 1048576.";
        }
    }
}
