using Polly;
using Polly.CircuitBreaker;
using Polly.Simmy;
using Polly.Simmy.Outcomes;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;
using SafetyFilter.Scoring;

namespace SafetyFilter.Breaker;

/// <summary>A model bundle behind its circuit breaker. Thread-safe.</summary>
/// <remarks>
/// Only the model's own faults count: an exception, or output that is no score. A request without a single candidate that
/// the model can read never reaches the breaker, neither as a failure nor as a success: or whoever sends bad input would
/// control failing open, keep a breaker from opening by numbers, or close one as its probe.
/// </remarks>
internal sealed class GuardedBundle
{
    private readonly ModelBundle _bundle;
    private readonly ResiliencePipeline<ScoringOutcome> _pipeline;
    private readonly CircuitBreakerStateProvider _state = new();
    private readonly TimeProvider _time;

    // When the break ends, as a timestamp. Until then a request is turned away without Polly's exception object.
    private long _openUntil;

    public GuardedBundle(ModelBundle bundle, BreakerThresholds thresholds, BundleChaos? chaos, BreakerEvents events, TimeProvider time)
    {
        _bundle = bundle;
        _time = time;
        var builder = new ResiliencePipelineBuilder<ScoringOutcome> { TimeProvider = time };
        builder.AddCircuitBreaker(new CircuitBreakerStrategyOptions<ScoringOutcome>
        {
            FailureRatio = thresholds.FailureRatio,
            MinimumThroughput = thresholds.MinimumThroughput,
            SamplingDuration = thresholds.SamplingDuration,
            BreakDuration = thresholds.BreakDuration,
            StateProvider = _state,
            ShouldHandle = static arguments => ValueTask.FromResult(IsBundleFault(arguments.Outcome)),
            OnOpened = arguments =>
            {
                Volatile.Write(ref _openUntil, time.GetTimestamp() + (long)(arguments.BreakDuration.TotalSeconds * time.TimestampFrequency));
                return events.Changed(bundle.Name, BreakerState.Open, CauseOf(arguments.Outcome), arguments.BreakDuration);
            },
            OnHalfOpened = _ => events.Changed(bundle.Name, BreakerState.HalfOpen, FailureKind.None, TimeSpan.Zero),
            OnClosed = _ => events.Changed(bundle.Name, BreakerState.Closed, FailureKind.None, TimeSpan.Zero),
        });
        if (chaos is not null)
        {
            AddChaos(builder, chaos.FaultRate, FailureKind.Error);
            AddChaos(builder, chaos.InvalidOutputRate, FailureKind.InvalidOutput);
        }

        _pipeline = builder.Build();
    }

    public ModelBundle Bundle => _bundle;

    public BreakerState State => _state.CircuitState switch
    {
        CircuitState.Closed => BreakerState.Closed,
        CircuitState.HalfOpen => BreakerState.HalfOpen,
        CircuitState.Isolated => BreakerState.Isolated,
        _ => BreakerState.Open,
    };

    /// <summary>
    /// Scores a batch unless the breaker is open. Never throws. Candidates that alone have no score are marked in
    /// <paramref name="into"/>; when the outcome names a failure, the whole bundle gave none.
    /// </summary>
    public ScoringOutcome Score(CandidateBatch batch, ScoreTable into, ReadOnlyMemory<int> rows)
    {
        if (_bundle.Refuses(batch) is not FailureKind.None and var refused)
        {
            return new ScoringOutcome(refused, 0, null);
        }

        if (_state.CircuitState == CircuitState.Open && _time.GetTimestamp() < Volatile.Read(ref _openUntil))
        {
            return new ScoringOutcome(FailureKind.BreakerOpen, 0, null);
        }

        using var run = _bundle.Prepare(batch);
        return run.IsVain ? run.Run(into, rows.Span) : Execute(run, into, rows);
    }

    private ScoringOutcome Execute(PreparedRun run, ScoreTable into, ReadOnlyMemory<int> rows)
    {
        var context = ResilienceContextPool.Shared.Get(continueOnCapturedContext: false);
        try
        {
            var call = _pipeline.ExecuteOutcomeAsync(
                static (_, state) => ValueTask.FromResult(Outcome.FromResult(state.Run.Run(state.Into, state.Rows.Span))),
                context,
                (Run: run, Into: into, Rows: rows));

            // No strategy waits; only the call that changes the breaker's state may find its event's handler still queued.
            var outcome = call.IsCompleted ? call.Result : call.AsTask().GetAwaiter().GetResult();
            return outcome.Exception switch
            {
                null => outcome.Result,
                BrokenCircuitException => new ScoringOutcome(FailureKind.BreakerOpen, 0, null),
                var error => new ScoringOutcome(FailureKind.Error, 0, error),
            };
        }
        finally
        {
            ResilienceContextPool.Shared.Return(context);
        }
    }

    private static bool IsBundleFault(Outcome<ScoringOutcome> outcome) => CauseOf(outcome) != FailureKind.None;

    private static FailureKind CauseOf(Outcome<ScoringOutcome> outcome) =>
        outcome.Exception is not null || outcome.Result.Failure == FailureKind.Error ? FailureKind.Error
        : outcome.Result.Failure == FailureKind.InvalidOutput || outcome.Result.InvalidOutputs > 0 ? FailureKind.InvalidOutput
        : FailureKind.None;

    private static void AddChaos(ResiliencePipelineBuilder<ScoringOutcome> builder, double rate, FailureKind kind)
    {
        if (rate > 0)
        {
            builder.AddChaosOutcome(new ChaosOutcomeStrategyOptions<ScoringOutcome>
            {
                InjectionRate = rate,
                OutcomeGenerator = _ => ValueTask.FromResult<Outcome<ScoringOutcome>?>(
                    Outcome.FromResult(new ScoringOutcome(kind, 0, null))),
            });
        }
    }
}
