using System.Diagnostics;
using Polly;
using Polly.CircuitBreaker;
using Polly.Simmy;
using Polly.Simmy.Outcomes;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Breaker;

/// <summary>A model bundle behind its circuit breaker, for the surfaces of one group. Thread-safe.</summary>
/// <remarks>
/// Only the model's own faults count: an exception, output that is no score, and slowness. A request without a single candidate that
/// the model can read never reaches the breaker, neither as a failure nor as a success: or whoever sends bad input would
/// control failing open, keep a breaker from opening by numbers, or close one as its probe. Nor does a run that its caller's deadline cut short.
/// </remarks>
internal sealed class GuardedBundle
{
    // The largest page that SlowCallMicros is meant for as it stands; its size is the caller's choice, so larger ones get more.
    private const int PageOfSlowCall = 256;

    private readonly ModelBundle _bundle;
    private readonly BreakerGate _gate;
    private readonly BreakerThresholds _thresholds;
    private readonly BundleChaos? _chaos;
    private readonly TimeProvider _time;
    private readonly CircuitBreakerManualControl _manual = new();
    private readonly long _slowTicks;

    // Faults on purpose round a run; null without any.
    private readonly ResiliencePipeline<Call>? _faults;

    // Count results and say when it is too much. Polly has no rate of slow calls, so there are two, which only look at different things.
    private readonly ResiliencePipeline<Call> _windows;

    // The gate's closings that the windows have heard of.
    private int _closings;

    public GuardedBundle(ModelBundle bundle, BreakerGate gate, BreakerThresholds thresholds, BundleChaos? chaos, TimeProvider time)
    {
        (_bundle, _gate, _thresholds, _chaos, _time) = (bundle, gate, thresholds, chaos, time);
        _closings = gate.Closings;
        _slowTicks = (long)(thresholds.SlowCallMicros * 1e-6 * time.TimestampFrequency);
        if (chaos is { FaultRate: > 0 } or { InvalidOutputRate: > 0 })
        {
            var faults = new ResiliencePipelineBuilder<Call> { TimeProvider = time };
            AddChaos(faults, chaos.FaultRate, FailureKind.Error);
            AddChaos(faults, chaos.InvalidOutputRate, FailureKind.InvalidOutput);
            _faults = faults.Build();
        }

        // The inner one hears first: of a call that fails slowly, the failure is what an operator should look at.
        var windows = new ResiliencePipelineBuilder<Call> { TimeProvider = time };
        if (thresholds.SlowCallMicros > 0)
        {
            AddWindow(windows, thresholds.SlowCallRatio, BreakerReason.SlowCalls);
        }

        AddWindow(windows, thresholds.FailureRatio, BreakerReason.Failures);
        _windows = windows.Build();
    }

    public ModelBundle Bundle => _bundle;

    public BreakerGate Gate => _gate;

    public BreakerThresholds Thresholds => _thresholds;

    public BundleChaos? Chaos => _chaos;

    public BreakerState State => _gate.State;

    /// <summary>
    /// Scores a batch unless the breaker is open. Never throws. Candidates that alone have no score are marked in
    /// <paramref name="into"/>; when the outcome names a failure, the whole bundle gave none.
    /// </summary>
    /// <param name="batch">What to score.</param>
    /// <param name="into">Sized for the batch.</param>
    /// <param name="rows">For each classifier of the bundle its row, or -1.</param>
    /// <param name="limit">What is left of the budget. A run that overruns a caller's deadline does not count at all; one that
    /// was cut for another limit counts as slow if it was slow by then or the limit <see cref="RunLimit.Condemns"/> it, and else not at all.</param>
    /// <param name="picked">The candidates to score, ascending; empty: all.</param>
    /// <param name="splitter">Scores large batches in parts. It is one call all the same. Null: in one. A bundle with chaos is always scored in one.</param>
    /// <param name="splitAbove">How many candidates are scored in one; 0: any number.</param>
    public ScoringOutcome Score(
        CandidateBatch batch, ScoreTable into, ReadOnlyMemory<int> rows, RunLimit limit = default, ReadOnlySpan<int> picked = default, RunSplitter? splitter = null, int splitAbove = 0)
    {
        if (_bundle.Refuses(batch) is not FailureKind.None and var refused)
        {
            return new ScoringOutcome(refused, 0, null);
        }

        if (_gate.TurnsAway())
        {
            return new ScoringOutcome(FailureKind.BreakerOpen, 0, null);
        }

        var candidates = picked.IsEmpty ? batch.Count : picked.Length;
        var parts = splitter is null || _chaos is not null ? 1 : splitter.PartsOf(candidates, splitAbove);

        // As long as it is closed, the parts are read in by whoever runs them.
        if (parts > 1 && _gate.State == BreakerState.Closed)
        {
            return ScoreInParts(splitter!, batch, into, rows, picked, parts, limit, trial: 0);
        }

        using var run = _bundle.Prepare(batch, picked);
        if (run.IsVain)
        {
            return run.Run(into, rows.Span) with { IsVain = true };
        }

        if (!_gate.TryEnter(out var trial))
        {
            return new ScoringOutcome(FailureKind.BreakerOpen, 0, null);
        }

        if (parts > 1)
        {
            return ScoreInParts(splitter!, batch, into, rows, picked, parts, limit, trial);
        }

        var call = _faults is null ? Measure(run, into, rows.Span, candidates, limit) : Execute(_faults, run, into, rows, candidates, limit);
        Judge(call.Scoring, call.IsSlow, trial, !call.SaysNothing);
        return call.Scoring;
    }

    /// <summary>Lets the breaker hear how a run ended.</summary>
    /// <param name="trial">As <see cref="BreakerGate.TryEnter"/> said.</param>
    /// <param name="isEvidence">Whether it says anything of the model; else it counts neither for nor against it.</param>
    internal void Judge(ScoringOutcome outcome, bool isSlow, int trial, bool isEvidence)
    {
        var failure = CauseOf(outcome);
        if (isEvidence)
        {
            _gate.CountCall(failure != FailureKind.None, isSlow);
        }

        if (trial > 0)
        {
            var verdict = !isEvidence ? TrialVerdict.NoEvidence
                : failure != FailureKind.None || isSlow ? TrialVerdict.Bad
                : TrialVerdict.Good;
            _gate.EndTrial(trial, verdict, _thresholds.TrialCalls, failure, _thresholds.BreakDuration);
        }
        else if (isEvidence && _gate.State == BreakerState.Closed)
        {
            Count(new Call(outcome, isSlow));
        }
    }

    // A trial has been found readable; else that is known when the parts have ended.
    private ScoringOutcome ScoreInParts(
        RunSplitter splitter, CandidateBatch batch, ScoreTable into, ReadOnlyMemory<int> rows, ReadOnlySpan<int> picked, int parts, in RunLimit limit, int trial)
    {
        var (outcome, ticks) = splitter.Score(_bundle, batch, into, rows, picked, parts, limit);
        if (!outcome.IsVain)
        {
            var took = (long)(ticks * ((double)_time.TimestampFrequency / Stopwatch.Frequency));
            var call = Weigh(outcome, took, picked.IsEmpty ? batch.Count : picked.Length, limit);
            Judge(call.Scoring, call.IsSlow, trial, !call.SaysNothing);
        }

        return outcome;
    }

    private void Count(Call call)
    {
        var closings = _gate.Closings;
        if (Volatile.Read(ref _closings) != closings && Interlocked.Exchange(ref _closings, closings) != closings)
        {
            _manual.CloseAsync().GetAwaiter().GetResult();
        }

        var context = ResilienceContextPool.Shared.Get(continueOnCapturedContext: false);
        try
        {
            Wait(_windows.ExecuteOutcomeAsync(static (_, result) => ValueTask.FromResult(Outcome.FromResult(result)), context, call));
        }
        finally
        {
            ResilienceContextPool.Shared.Return(context);
        }
    }

    private Call Execute(ResiliencePipeline<Call> faults, PreparedRun run, ScoreTable into, ReadOnlyMemory<int> rows, int candidates, RunLimit limit)
    {
        var context = ResilienceContextPool.Shared.Get(continueOnCapturedContext: false);
        try
        {
            var outcome = Wait(faults.ExecuteOutcomeAsync(
                static (_, state) => ValueTask.FromResult(Outcome.FromResult(state.Self.Measure(state.Run, state.Into, state.Rows.Span, state.Candidates, state.Limit))),
                context,
                (Self: this, Run: run, Into: into, Rows: rows, Candidates: candidates, Limit: limit)));
            return outcome.Exception is null ? outcome.Result : new Call(new ScoringOutcome(FailureKind.Error, 0, outcome.Exception));
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
        ScoringOutcome outcome;
        try
        {
            outcome = run.Run(into, rows);
        }
        catch (Exception error)
        {
            outcome = new ScoringOutcome(FailureKind.Error, 0, error);
        }

        return Weigh(outcome, _time.GetTimestamp() - started, candidates, limit);
    }

    private Call Weigh(ScoringOutcome outcome, long took, int candidates, in RunLimit limit)
    {
        // Cut, or over before the watchdog looked: it has had its whole limit, and at least a millisecond.
        var tookMicros = took * 1e6 / _time.TimestampFrequency;
        var overran = outcome.Failure == FailureKind.OverBudget
            || (limit.Micros > 0 && tookMicros > Math.Max(limit.Micros, RunWatchdog.LookEvery.TotalMicroseconds));
        var isSlow = _slowTicks > 0
            && (took * PageOfSlowCall > _slowTicks * Math.Max(PageOfSlowCall, candidates) || (overran && limit.Condemns(candidates, PageOfSlowCall)));
        var saysNothing = limit.IsCallers ? overran || tookMicros > limit.Micros : overran && !isSlow;
        return new Call(outcome, isSlow) { SaysNothing = saysNothing };
    }

    // No strategy waits; only the call that opens a window may find its event's handler still queued.
    private static Outcome<Call> Wait(ValueTask<Outcome<Call>> call) => call.IsCompleted ? call.Result : call.AsTask().GetAwaiter().GetResult();

    private void AddWindow(ResiliencePipelineBuilder<Call> builder, double ratio, BreakerReason reason) =>
        builder.AddCircuitBreaker(new CircuitBreakerStrategyOptions<Call>
        {
            FailureRatio = ratio,
            MinimumThroughput = _thresholds.MinimumThroughput,
            SamplingDuration = _thresholds.SamplingDuration,
            BreakDuration = _thresholds.BreakDuration,
            ManualControl = _manual,
            ShouldHandle = arguments => ValueTask.FromResult(Counts(arguments.Outcome, reason)),
            OnOpened = arguments =>
            {
                var failure = reason == BreakerReason.Failures ? CauseOf(arguments.Outcome.Result.Scoring) : FailureKind.None;
                _gate.Open(reason, failure, _thresholds.BreakDuration);
                return ValueTask.CompletedTask;
            },
        });

    // The other window's refusal is nobody's fault.
    private static bool Counts(Outcome<Call> outcome, BreakerReason reason) =>
        outcome.Exception is null && (reason == BreakerReason.Failures ? CauseOf(outcome.Result.Scoring) != FailureKind.None : outcome.Result.IsSlow);

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

    private readonly record struct Call(ScoringOutcome Scoring, bool IsSlow = false)
    {
        /// <summary>Whether the run ended for reasons that are not the model's.</summary>
        public bool SaysNothing { get; init; }
    }
}
