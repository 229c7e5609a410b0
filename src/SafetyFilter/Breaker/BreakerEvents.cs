using Microsoft.Extensions.Logging;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;

namespace SafetyFilter.Breaker;

/// <summary>Tells logs and metrics when a breaker changes state.</summary>
internal sealed partial class BreakerEvents(ILogger<BreakerEvents> logger, FilterMetrics metrics)
{
    public ValueTask Changed(string bundle, BreakerState state, FailureKind cause, TimeSpan breakDuration)
    {
        metrics.BreakerChanged(bundle, state);
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

    [LoggerMessage(EventIds.BreakerOpened, LogLevel.Warning, "Breaker of bundle {Bundle} opened for {BreakDuration} after {Cause}; its classifiers take their fail modes")]
    private static partial void Opened(ILogger logger, string bundle, FailureKind cause, TimeSpan breakDuration);

    [LoggerMessage(EventIds.BreakerHalfOpened, LogLevel.Information, "Breaker of bundle {Bundle} is half-open; the next request tries it")]
    private static partial void HalfOpened(ILogger logger, string bundle);

    [LoggerMessage(EventIds.BreakerClosed, LogLevel.Information, "Breaker of bundle {Bundle} closed")]
    private static partial void Closed(ILogger logger, string bundle);
}
