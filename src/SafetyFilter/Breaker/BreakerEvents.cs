using Microsoft.Extensions.Logging;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;

namespace SafetyFilter.Breaker;

/// <summary>Tells logs, metrics and the ledger when a breaker changes state.</summary>
/// <param name="record">Keeps it in the ledger; false when there was no room. Called on the request's thread that changed the state.</param>
internal sealed partial class BreakerEvents(
    ILogger<BreakerEvents> logger, FilterMetrics metrics, Func<string, BreakerState, FailureKind, TimeSpan, bool>? record = null)
{
    /// <param name="cause">What opened it last, also when it is half-open or closed now.</param>
    /// <param name="failure">How the call failed that opened it by failures; else None.</param>
    public void Changed(string bundle, BreakerState state, BreakerCause cause, FailureKind failure, TimeSpan breakDuration)
    {
        var tag = TagOf(cause);
        metrics.BreakerChanged(bundle, state, tag);
        if (record?.Invoke(bundle, state, failure, breakDuration) is false)
        {
            NotRecorded(logger, bundle, state);
        }

        switch (state)
        {
            case BreakerState.Open:
                Opened(logger, bundle, breakDuration, tag, failure);
                break;
            case BreakerState.HalfOpen:
                HalfOpened(logger, bundle, tag);
                break;
            case BreakerState.Isolated:
                Isolated(logger, bundle);
                break;
            default:
                Closed(logger, bundle, tag);
                break;
        }
    }

    public static string TagOf(BreakerCause cause) => cause switch
    {
        BreakerCause.Failures => "failures",
        BreakerCause.SlowCalls => "slow_calls",
        _ => "operator",
    };

    [LoggerMessage(EventIds.BreakerNotRecorded, LogLevel.Warning, "The ledger has no room for the record that the breaker of bundle {Bundle} is {State} now")]
    private static partial void NotRecorded(ILogger logger, string bundle, BreakerState state);

    [LoggerMessage(EventIds.BreakerOpened, LogLevel.Warning, "Breaker of bundle {Bundle} opened for {BreakDuration} after {Cause} (last failure: {Failure}); its classifiers take their fail modes")]
    private static partial void Opened(ILogger logger, string bundle, TimeSpan breakDuration, string cause, FailureKind failure);

    [LoggerMessage(EventIds.BreakerHalfOpened, LogLevel.Information, "Breaker of bundle {Bundle}, open after {Cause}, is half-open; one request at a time tries it")]
    private static partial void HalfOpened(ILogger logger, string bundle, string cause);

    [LoggerMessage(EventIds.BreakerClosed, LogLevel.Information, "Breaker of bundle {Bundle}, open after {Cause}, closed")]
    private static partial void Closed(ILogger logger, string bundle, string cause);

    [LoggerMessage(EventIds.BreakerIsolated, LogLevel.Warning, "Bundle {Bundle} is isolated until it is closed by hand; its classifiers take their fail modes")]
    private static partial void Isolated(ILogger logger, string bundle);
}

/// <summary>What opened a breaker.</summary>
internal enum BreakerCause : byte
{
    Failures = 1,
    SlowCalls = 2,
    Operator = 3,
}
