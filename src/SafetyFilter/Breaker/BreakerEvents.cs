using Microsoft.Extensions.Logging;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;

namespace SafetyFilter.Breaker;

/// <summary>Tells logs, metrics and the ledger when a breaker changes state.</summary>
/// <param name="record">Keeps it in the ledger; false when there was no room. Called on the request's thread that changed the state.</param>
internal sealed partial class BreakerEvents(
    ILogger<BreakerEvents> logger, FilterMetrics metrics, Func<string, BreakerState, FailureKind, TimeSpan, bool>? record = null)
{
    public ValueTask Changed(string bundle, BreakerState state, FailureKind cause, TimeSpan breakDuration)
    {
        metrics.BreakerChanged(bundle, state);
        if (record?.Invoke(bundle, state, cause, breakDuration) is false)
        {
            NotRecorded(logger, bundle, state);
        }

        switch (state)
        {
            case BreakerState.Open:
                Opened(logger, bundle, cause, breakDuration);
                break;
            case BreakerState.HalfOpen:
                HalfOpened(logger, bundle);
                break;
            default:
                Closed(logger, bundle);
                break;
        }

        return ValueTask.CompletedTask;
    }

    [LoggerMessage(EventIds.BreakerNotRecorded, LogLevel.Warning, "The ledger has no room for the record that the breaker of bundle {Bundle} is {State} now")]
    private static partial void NotRecorded(ILogger logger, string bundle, BreakerState state);

    [LoggerMessage(EventIds.BreakerOpened, LogLevel.Warning, "Breaker of bundle {Bundle} opened for {BreakDuration} after {Cause}; its classifiers take their fail modes")]
    private static partial void Opened(ILogger logger, string bundle, FailureKind cause, TimeSpan breakDuration);

    [LoggerMessage(EventIds.BreakerHalfOpened, LogLevel.Information, "Breaker of bundle {Bundle} is half-open; the next request tries it")]
    private static partial void HalfOpened(ILogger logger, string bundle);

    [LoggerMessage(EventIds.BreakerClosed, LogLevel.Information, "Breaker of bundle {Bundle} closed")]
    private static partial void Closed(ILogger logger, string bundle);
}
