using Microsoft.Extensions.Logging;
using SafetyFilter.Observability;

namespace SafetyFilter.Admission;

/// <summary>What was shed since the last report.</summary>
internal readonly record struct ShedCounts(DateTimeOffset First, DateTimeOffset Last, long Refused, long ServedByFailMode);

/// <summary>Tells the log and the ledger at most once a second how many requests had no place. Thread-safe; counting neither waits nor allocates.</summary>
/// <param name="record">Keeps it in the ledger; false when there was no room.</param>
internal sealed partial class ShedReport : IDisposable
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    private readonly Func<ShedCounts, bool> _record;
    private readonly TimeProvider _time;
    private readonly ILogger<ShedReport> _logger;
    private readonly ITimer _timer;
    private readonly Lock _telling = new();

    // Written by requests; 0 in _first: nothing was shed since the last report. UTC ticks.
    private long _first;
    private long _last;
    private long _refused;
    private long _served;

    public ShedReport(Func<ShedCounts, bool> record, TimeProvider time, ILogger<ShedReport> logger)
    {
        (_record, _time, _logger) = (record, time, logger);
        _timer = time.CreateTimer(static report => ((ShedReport)report!).Tell(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    public void Count(bool servedByFailMode)
    {
        Interlocked.Increment(ref servedByFailMode ? ref _served : ref _refused);
        var now = _time.GetUtcNow().UtcTicks;
        Volatile.Write(ref _last, now);
        if (Volatile.Read(ref _first) == 0 && Interlocked.CompareExchange(ref _first, now, 0) == 0)
        {
            _timer.Change(Period, Timeout.InfiniteTimeSpan);
        }
    }

    /// <summary>Reports what was counted, without waiting for the second to pass: before the ledger is closed.</summary>
    public void Tell()
    {
        lock (_telling)
        {
            // In this order: what is counted meanwhile either finds _first empty and reports later, or is in these counts.
            var first = Interlocked.Exchange(ref _first, 0);
            var counts = new ShedCounts(
                new DateTimeOffset(first, TimeSpan.Zero),
                new DateTimeOffset(Math.Max(first, Volatile.Read(ref _last)), TimeSpan.Zero),
                Interlocked.Exchange(ref _refused, 0),
                Interlocked.Exchange(ref _served, 0));
            if (first == 0 || counts.Refused + counts.ServedByFailMode == 0)
            {
                return;
            }

            Overloaded(_logger, counts.Refused, counts.ServedByFailMode);
            if (!_record(counts))
            {
                NotRecorded(_logger, counts.Refused, counts.ServedByFailMode);
            }
        }
    }

    public void Dispose() => _timer.Dispose();

    [LoggerMessage(EventIds.AdmissionOverloaded, LogLevel.Warning, "Overloaded: {Refused} requests were refused and {Served} served by fail mode within a second")]
    private static partial void Overloaded(ILogger logger, long refused, long served);

    [LoggerMessage(EventIds.AdmissionNotRecorded, LogLevel.Warning, "The ledger has no room for the record that {Refused} requests were refused and {Served} served by fail mode")]
    private static partial void NotRecorded(ILogger logger, long refused, long served);
}
