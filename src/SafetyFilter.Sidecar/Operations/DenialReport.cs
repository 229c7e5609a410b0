using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Observability;

namespace SafetyFilter.Sidecar.Operations;

/// <summary>
/// Tells the log and the ledger who was turned away: the first of a burst at once, and what else came within a second when that second is
/// over, whether or not anybody comes again. So at most one record a second for each kind and caller, and none untold for longer. Thread-safe.
/// </summary>
internal sealed partial class DenialReport : IDisposable
{
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    // Beyond it callers share a place, so that nobody grows the sidecar by calling from many addresses.
    private const int MostBursts = 256;
    private const string Others = "others";

    private readonly OperationsJournal _journal;
    private readonly TimeProvider _time;
    private readonly ILogger<DenialReport> _logger;
    private readonly ITimer _timer;
    private readonly Lock _lock = new();

    // Guarded by _lock. Those of the last second, by kind and caller; when none is left, the timer rests.
    private readonly Dictionary<(SecurityEvent.Types.Kind Kind, string Caller), Burst> _bursts = [];

    public DenialReport(OperationsJournal journal, TimeProvider time, ILogger<DenialReport> logger)
    {
        (_journal, _time, _logger) = (journal, time, logger);
        _timer = time.CreateTimer(static report => ((DenialReport)report!).EndOfPeriod(), this, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <param name="caller">The operator's name, or the address when it is not known.</param>
    public void Count(SecurityEvent.Types.Kind kind, string caller, string method)
    {
        lock (_lock)
        {
            var place = (kind, _bursts.Count < MostBursts || _bursts.ContainsKey((kind, caller)) ? caller : Others);
            if (_bursts.TryGetValue(place, out var burst))
            {
                (burst.Unsaid, burst.Method) = (burst.Unsaid + 1, method);
                return;
            }

            if (_bursts.Count == 0)
            {
                _timer.Change(Period, Timeout.InfiniteTimeSpan);
            }

            _bursts.Add(place, new Burst { Since = _time.GetTimestamp() });
        }

        // Outside the lock: the ledger may wait for its disk.
        Tell(kind, caller, method, 1);
    }

    /// <summary>Tells what was counted without waiting for the second to pass: before the ledger is closed.</summary>
    public void TellAll() => Tell(isLast: true);

    public void Dispose() => _timer.Dispose();

    private void EndOfPeriod() => Tell(isLast: false);

    private void Tell(bool isLast)
    {
        List<(SecurityEvent.Types.Kind Kind, string Caller, Burst Burst)> due = [];
        lock (_lock)
        {
            var now = _time.GetTimestamp();
            var oldest = now;
            foreach (var (key, burst) in _bursts)
            {
                if (!isLast && _time.GetElapsedTime(burst.Since, now) < Period)
                {
                    oldest = Math.Min(oldest, burst.Since);
                    continue;
                }

                _bursts.Remove(key);
                if (burst.Unsaid > 0)
                {
                    due.Add((key.Kind, key.Caller, burst));
                }
            }

            // Who goes on is told of once a second, and not twice.
            foreach (var (kind, caller, _) in due)
            {
                _bursts.Add((kind, caller), new Burst { Since = now });
            }

            if (_bursts.Count > 0)
            {
                _timer.Change(Period - _time.GetElapsedTime(oldest, now), Timeout.InfiniteTimeSpan);
            }
        }

        foreach (var (kind, caller, burst) in due)
        {
            Tell(kind, caller, burst.Method, burst.Unsaid);
        }
    }

    private void Tell(SecurityEvent.Types.Kind kind, string caller, string method, ulong attempts)
    {
        Denied(_logger, kind, caller, method, attempts);
        if (_journal.Denied(kind, caller, method, attempts) is not AppendResult.Appended and var appended)
        {
            NotRecorded(_logger, kind, caller, appended);
        }
    }

    [LoggerMessage(EventIds.OperationsDenied, LogLevel.Warning, "Operations: {Kind}, '{Caller}' called {Method} ({Attempts} such calls since the last line)")]
    private static partial void Denied(ILogger logger, SecurityEvent.Types.Kind kind, string caller, string method, ulong attempts);

    [LoggerMessage(EventIds.OperationsNotRecorded, LogLevel.Warning, "The ledger has no room for the record of a denial ({Kind}, '{Caller}'): {Result}")]
    private static partial void NotRecorded(ILogger logger, SecurityEvent.Types.Kind kind, string caller, AppendResult result);

    /// <summary>Denials of one kind and caller since one was told.</summary>
    private sealed class Burst
    {
        public required long Since { get; init; }

        public ulong Unsaid { get; set; }

        /// <summary>The one called last.</summary>
        public string Method { get; set; } = "";
    }
}
