namespace SafetyFilter.Observability;

/// <summary>Lets one line a second through and counts the rest. Thread-safe, never waits.</summary>
internal sealed class LogThrottle(TimeProvider time)
{
    private long _next = long.MinValue;
    private long _unsaid;

    /// <summary>True when a line may be written; <paramref name="unsaid"/> then counts those that were not since the last.</summary>
    public bool TryTake(out long unsaid)
    {
        unsaid = 0;
        var now = time.GetTimestamp();
        var next = Volatile.Read(ref _next);
        if (now < next || Interlocked.CompareExchange(ref _next, now + time.TimestampFrequency, next) != next)
        {
            Interlocked.Increment(ref _unsaid);
            return false;
        }

        unsaid = Interlocked.Exchange(ref _unsaid, 0);
        return true;
    }
}
