using Polly;
using Polly.CircuitBreaker;
using Polly.Simmy;
using Polly.Simmy.Outcomes;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Breaker;

/// <summary>A model bundle behind its circuit breaker. Thread-safe.</summary>
/// <remarks>
/// Only the model's own faults count: an exception, output that is no score, and slowness. A request without a single candidate that
/// the model can read never reaches the breaker, neither as a failure nor as a success: or whoever sends bad input would
/// control failing open, keep a breaker from opening by numbers, or close one as its probe.
/// </remarks>
internal sealed class GuardedBundle
{
    // The largest page that SlowCallMicros is meant for as it stands; its size is the caller's choice, so larger ones get more.
    private const int PageOfSlowCall = 256;

    private readonly ModelBundle _bundle;
    private readonly BreakerThresholds _thresholds;
    private readonly BundleChaos? _chaos;
    private readonly BreakerEvents _events;
    private readonly TimeProvider _time;
    private readonly CircuitBreakerManualControl _manual = new();
    private readonly Lock _manualLock = new();
    private readonly long _slowTicks;

    // Faults on purpose, if any, round a run.
    private readonly ResiliencePipeline<Call> _run;

    // Polly has no rate of slow calls, so there are two breakers, which only look at different things.
    private readonly ResiliencePipeline<Call> _breakers;

    // Good trials still missing before it closes; 0: it is closed.
    private int _trialsLeft;

    // When the break ends, as a timestamp. Until then a request is turned away without Polly's exception object.
    private long _openUntil;
    private volatile bool _isHalfOpen;
    private volatile bool _isIsolated;
    private volatile BreakerCause _cause;

    // 1 while a trial runs.
    private int _trying;

    public GuardedBundle(ModelBundle bundle, BreakerThresholds thresholds, BundleChaos? chaos, BreakerEvents events, TimeProvider time)
    {
        (_bundle, _thresholds, _chaos, _events, _time) = (bundle, thresholds, chaos, events, time);
        _slowTicks = (long)(thresholds.SlowCallMicros * 1e-6 * time.TimestampFrequency);
        var faults = new ResiliencePipelineBuilder<Call> { TimeProvider = time };
        if (chaos is not null)
        {
            AddChaos(faults, chaos.FaultRate, FailureKind.Error);
            AddChaos(faults, chaos.InvalidOutputRate, FailureKind.InvalidOutput);
        }

        _run = faults.Build();
        var breakers = new ResiliencePipelineBuilder<Call> { TimeProvider = time };
        AddBreaker(breakers, thresholds.FailureRatio, BreakerCause.Failures);
        if (thresholds.SlowCallMicros > 0)
        {
            AddBreaker(breakers, thresholds.SlowCallRatio, BreakerCause.SlowCalls);
        }

        _breakers = breakers.Build();
    }

    public ModelBundle Bundle => _bundle;

    /// <summary>The worse of what failures and slow calls make it.</summary>
    public BreakerState State =>
        _isIsolated ? BreakerState.Isolated
        : Volatile.Read(ref _trialsLeft) == 0 ? BreakerState.Closed
        : _isHalfOpen ? BreakerState.HalfOpen
        : BreakerState.Open;

    /// <summary>Turns every call away until <see cref="Close"/>. Calls that run go on.</summary>
    public void Isolate()
    {
        lock (_manualLock)
        {
            _isIsolated = true;
            _manual.IsolateAsync().GetAwaiter().GetResult();
        }

        _events.Changed(_bundle.Name, BreakerState.Isolated, BreakerCause.Operator, FailureKind.None, TimeSpan.Zero);
    }

    /// <summary>Closes it, whatever its state, and forgets the calls counted so far.</summary>
    public void Close()
    {
        lock (_manualLock)
        {
            _manual.CloseAsync().GetAwaiter().GetResult();
            _isHalfOpen = false;
            Volatile.Write(ref _trialsLeft, 0);
            _isIsolated = false;
        }

        _events.Changed(_bundle.Name, BreakerState.Closed, BreakerCause.Operator, FailureKind.None, TimeSpan.Zero);
    }

    /// <summary>
    /// Scores a batch unless the breaker is open. Never throws. Candidates that alone have no score are marked in
    /// <paramref name="into"/>; when the outcome names a failure, the whole bundle gave none.
    /// </summary>
    /// <param name="batch">What to score.</param>
    /// <param name="into">Sized for the batch.</param>
    /// <param name="rows">For each classifier of the bundle its row, or -1.</param>
    /// <param name="limit">What is left of the budget. A run that overruns a caller's deadline does not count at all; one that
    /// was cut for another limit counts only if it was slow by then.</param>
    public ScoringOutcome Score(CandidateBatch batch, ScoreTable into, ReadOnlyMemory<int> rows, RunLimit limit = default)
    {
        if (_bundle.Refuses(batch) is not FailureKind.None and var refused)
        {
            return new ScoringOutcome(refused, 0, null);
        }

        if (_isIsolated || (Volatile.Read(ref _trialsLeft) > 0 && _time.GetTimestamp() < Volatile.Read(ref _openUntil)))
        {
            return new ScoringOutcome(FailureKind.BreakerOpen, 0, null);
        }

        using var run = _bundle.Prepare(batch);
        if (run.IsVain)
        {
            return run.Run(into, rows.Span) with { IsVain = true };
        }

        if (Volatile.Read(ref _trialsLeft) > 0)
        {
            return Try(run, into, rows, batch.Count, limit);
        }

        var call = Execute(run, into, rows, batch.Count, limit);
        Tell(call);
        return call.Scoring;
    }

    // Polly closes after one probe. So it hears only of the trial that decides: the last good one, or a bad one.
    private ScoringOutcome Try(PreparedRun run, ScoreTable into, ReadOnlyMemory<int> rows, int candidates, RunLimit limit)
    {
        if (Interlocked.Exchange(ref _trying, 1) == 1)
        {
            return new ScoringOutcome(FailureKind.BreakerOpen, 0, null);
        }

        try
        {
            // The trial before this one may have opened it again since this call looked.
            if (_isIsolated || (Volatile.Read(ref _trialsLeft) > 0 && _time.GetTimestamp() < Volatile.Read(ref _openUntil)))
            {
                return new ScoringOutcome(FailureKind.BreakerOpen, 0, null);
            }

            if (!_isHalfOpen)
            {
                _isHalfOpen = true;
                _events.Changed(_bundle.Name, BreakerState.HalfOpen, _cause, FailureKind.None, TimeSpan.Zero);
            }

            var trial = Execute(run, into, rows, candidates, limit) with { IsTrial = true };
            Judge(trial);
            return trial.Scoring;
        }
        finally
        {
            Volatile.Write(ref _trying, 0);
        }
    }

    private void Judge(Call trial)
    {
        if (trial.SaysNothing)
        {
            return;
        }

        var isGood = !trial.IsSlow && CauseOf(trial.Scoring) == FailureKind.None;
        var left = Volatile.Read(ref _trialsLeft);
        if (isGood && left > 1)
        {
            Interlocked.CompareExchange(ref _trialsLeft, left - 1, left);
            return;
        }

        if (Tell(trial) && isGood && Interlocked.CompareExchange(ref _trialsLeft, 0, left) == left && left > 0)
        {
            _isHalfOpen = false;
            _events.Changed(_bundle.Name, BreakerState.Closed, _cause, FailureKind.None, TimeSpan.Zero);
        }
    }

    // Polly counts whatever runs inside it, so it is told afterwards, and only of what counts. False: it takes no calls now.
    private bool Tell(Call call)
    {
        if (call.SaysNothing)
        {
            return true;
        }

        var context = ResilienceContextPool.Shared.Get(continueOnCapturedContext: false);
        try
        {
            return Wait(_breakers.ExecuteOutcomeAsync(static (_, call) => ValueTask.FromResult(Outcome.FromResult(call)), context, call)).Exception is null;
        }
        finally
        {
            ResilienceContextPool.Shared.Return(context);
        }
    }

    private Call Execute(PreparedRun run, ScoreTable into, ReadOnlyMemory<int> rows, int candidates, RunLimit limit)
    {
        var context = ResilienceContextPool.Shared.Get(continueOnCapturedContext: false);
        try
        {
            var outcome = Wait(_run.ExecuteOutcomeAsync(
                static (_, state) => ValueTask.FromResult(Outcome.FromResult(state.Self.Measure(state.Run, state.Into, state.Rows.Span, state.Candidates, state.Limit))),
                context,
                (Self: this, Run: run, Into: into, Rows: rows, Candidates: candidates, Limit: limit)));
            return outcome.Exception is { } error ? new Call(new ScoringOutcome(FailureKind.Error, 0, error)) : outcome.Result;
        }
        finally
        {
            ResilienceContextPool.Shared.Return(context);
        }
    }

    private Call Measure(PreparedRun run, ScoreTable into, ReadOnlySpan<int> rows, int candidates, RunLimit limit)
    {
        var started = _time.GetTimestamp();
        run.Watch(limit);
        _chaos?.Delay(_time, run);
        var outcome = run.Run(into, rows);
        var took = _time.GetTimestamp() - started;
        var isSlow = _slowTicks > 0 && took * PageOfSlowCall > _slowTicks * Math.Max(PageOfSlowCall, candidates);
        var isCut = outcome.Failure == FailureKind.OverBudget;
        var saysNothing = limit.IsCallers ? isCut || took > limit.Micros * 1e-6 * _time.TimestampFrequency : isCut && !isSlow;
        return new Call(outcome, isSlow) { SaysNothing = saysNothing };
    }

    // No strategy waits; only the call that changes the breaker's state may find its event's handler still queued.
    private static Outcome<Call> Wait(ValueTask<Outcome<Call>> call) => call.IsCompleted ? call.Result : call.AsTask().GetAwaiter().GetResult();

    private void AddBreaker(ResiliencePipelineBuilder<Call> builder, double ratio, BreakerCause cause) =>
        builder.AddCircuitBreaker(new CircuitBreakerStrategyOptions<Call>
        {
            FailureRatio = ratio,
            MinimumThroughput = _thresholds.MinimumThroughput,
            SamplingDuration = _thresholds.SamplingDuration,
            BreakDuration = _thresholds.BreakDuration,
            ManualControl = _manual,
            ShouldHandle = arguments => ValueTask.FromResult(Counts(arguments.Outcome, cause)),
            OnOpened = arguments =>
            {
                if (!arguments.IsManual)
                {
                    Opened(cause, arguments.Outcome, arguments.BreakDuration);
                }

                return ValueTask.CompletedTask;
            },
        });

    private void Opened(BreakerCause cause, Outcome<Call> outcome, TimeSpan breakDuration)
    {
        var failure = outcome.Exception is null ? CauseOf(outcome.Result.Scoring) : FailureKind.None;
        if (outcome.Result.IsTrial)
        {
            // Either breaker opens after a bad trial; what was bad about it is the cause.
            cause = failure == FailureKind.None ? BreakerCause.SlowCalls : BreakerCause.Failures;
        }

        failure = cause == BreakerCause.Failures ? failure : FailureKind.None;
        _cause = cause;
        _isHalfOpen = false;
        Volatile.Write(ref _openUntil, _time.GetTimestamp() + (long)(breakDuration.TotalSeconds * _time.TimestampFrequency));
        Volatile.Write(ref _trialsLeft, _thresholds.TrialCalls);
        _events.Changed(_bundle.Name, BreakerState.Open, cause, failure, breakDuration);
    }

    // A trial that is bad in either way opens whichever breaker is on trial. The other breaker's refusal is nobody's fault.
    private static bool Counts(Outcome<Call> outcome, BreakerCause cause)
    {
        if (outcome.Exception is not null)
        {
            return cause == BreakerCause.Failures && outcome.Exception is not BrokenCircuitException;
        }

        var isFault = CauseOf(outcome.Result.Scoring) != FailureKind.None;
        var isSlow = outcome.Result.IsSlow;
        return outcome.Result.IsTrial ? isFault || isSlow : cause == BreakerCause.Failures ? isFault : isSlow;
    }

    private static FailureKind CauseOf(ScoringOutcome outcome) =>
        outcome.Failure == FailureKind.Error ? FailureKind.Error
        : outcome.Failure == FailureKind.InvalidOutput || outcome.InvalidOutputs > 0 ? FailureKind.InvalidOutput
        : FailureKind.None;

    private static void AddChaos(ResiliencePipelineBuilder<Call> builder, double rate, FailureKind kind)
    {
        if (rate > 0)
        {
            builder.AddChaosOutcome(new ChaosOutcomeStrategyOptions<Call>
            {
                InjectionRate = rate,
                OutcomeGenerator = _ => ValueTask.FromResult<Outcome<Call>?>(
                    Outcome.FromResult(new Call(new ScoringOutcome(kind, 0, null)))),
            });
        }
    }

    private readonly record struct Call(ScoringOutcome Scoring, bool IsSlow = false, bool IsTrial = false)
    {
        /// <summary>Whether the run ended for reasons that are not the model's: it counts neither for nor against it.</summary>
        public bool SaysNothing { get; init; }
    }
}
