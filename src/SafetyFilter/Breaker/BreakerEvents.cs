using Microsoft.Extensions.Logging;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;

namespace SafetyFilter.Breaker;

/// <summary>Tells logs, metrics and the ledger when a breaker changes state.</summary>
/// <param name="record">Keeps it in the ledger; false when there was no room. Called on the thread that changed the state.</param>
internal sealed partial class BreakerEvents(
    ILogger<BreakerEvents> logger, FilterMetrics metrics, Func<BreakerTransition, bool>? record = null)
{
    public void Changed(BreakerTransition change)
    {
        var reason = FilterMetrics.TagOf(change.Reason);
        metrics.BreakerChanged(change);
        if (record?.Invoke(change) is false)
        {
            NotRecorded(logger, change.Bundle, change.Group, change.State);
        }

        switch (change.State)
        {
            case BreakerState.Open:
                Opened(logger, change.Bundle, change.Group, change.Break, reason, change.Failure);
                break;
            case BreakerState.HalfOpen:
                HalfOpened(logger, change.Bundle, change.Group);
                break;
            case BreakerState.Isolated:
                Isolated(logger, change.Bundle, change.Group, change.Actor);
                break;
            default:
                Closed(logger, change.Bundle, change.Group, reason, change.Actor.Length > 0 ? change.Actor : "itself");
                break;
        }
    }

    [LoggerMessage(EventIds.BreakerNotRecorded, LogLevel.Warning, "The ledger has no room for the record that the breaker of bundle {Bundle}, group {Group}, is {State} now")]
    private static partial void NotRecorded(ILogger logger, string bundle, string group, BreakerState state);

    [LoggerMessage(EventIds.BreakerOpened, LogLevel.Warning, "Breaker of bundle {Bundle}, group {Group}, opened for {BreakDuration} after {Reason} (last failure: {Failure}); its classifiers take their fail modes")]
    private static partial void Opened(ILogger logger, string bundle, string group, TimeSpan breakDuration, string reason, FailureKind failure);

    [LoggerMessage(EventIds.BreakerHalfOpened, LogLevel.Information, "Breaker of bundle {Bundle}, group {Group}, is half-open; one request at a time tries it")]
    private static partial void HalfOpened(ILogger logger, string bundle, string group);

    [LoggerMessage(EventIds.BreakerClosed, LogLevel.Information, "Breaker of bundle {Bundle}, group {Group}, is closed ({Reason}, by {Actor})")]
    private static partial void Closed(ILogger logger, string bundle, string group, string reason, string actor);

    [LoggerMessage(EventIds.BreakerIsolated, LogLevel.Warning, "Bundle {Bundle} is isolated for group {Group} by '{Actor}' until it is closed by hand; its classifiers take their fail modes")]
    private static partial void Isolated(ILogger logger, string bundle, string group, string actor);
}
