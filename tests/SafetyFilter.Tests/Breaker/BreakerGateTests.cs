using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;

namespace SafetyFilter.Tests.Breaker;

/// <summary>The gate under real threads, which all want in at once.</summary>
public sealed class BreakerGateTests : IDisposable
{
    private const int Callers = 4;
    private static readonly TimeSpan Break = TimeSpan.FromSeconds(5);

    private readonly Meter _meter = new("gate");
    private readonly List<BreakerTransition> _changes = [];
    private readonly SteppingTime _time = new();
    private readonly BreakerGate _gate;

    public BreakerGateTests() => _gate = new BreakerGate(
        "roots",
        "shorts",
        new BreakerEvents(NullLogger<BreakerEvents>.Instance, new FilterMetrics(_meter), change =>
        {
            lock (_changes)
            {
                _changes.Add(change);
            }

            return true;
        }),
        _time);

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    public void TryEnter_ManyThreadsAfterABreak_RunsExactlyTheTrialsOneAtATime(int needed)
    {
        OpenAndWait();
        var (trials, running, most) = (0, 0, 0);
        InParallel(() =>
        {
            while (_gate.State != BreakerState.Closed)
            {
                if (_gate.TryEnter(out var trial) && trial > 0)
                {
                    Raise(ref most, Interlocked.Increment(ref running));
                    Interlocked.Increment(ref trials);
                    Interlocked.Decrement(ref running);
                    _gate.EndTrial(trial, TrialVerdict.Good, needed, FailureKind.None, Break);
                }
            }
        });
        Assert.Equal((needed, 1), (trials, most));
        Assert.Equal([BreakerState.Open, BreakerState.HalfOpen, BreakerState.Closed], _changes.Select(static change => change.State));
    }

    [Fact]
    public void EndTrial_ManyThreadsAndABadTrial_TurnsAllAwayAgain()
    {
        OpenAndWait();
        var passed = 0;
        InParallel(() =>
        {
            for (var call = 0; call < 1000; call++)
            {
                if (_gate.TryEnter(out var trial))
                {
                    Interlocked.Increment(ref passed);
                    _gate.EndTrial(trial, TrialVerdict.Bad, 1, FailureKind.Error, Break);
                }
            }
        });
        Assert.Equal((1, BreakerState.Open, Break), (passed, _gate.State, _gate.BreakLeft));
        Assert.Equal((Callers * 1000) - 1, _gate.TurnedAway);
        Assert.Equal(BreakerReason.TrialFailed, _changes[^1].Reason);
    }

    [Fact]
    public void Open_ManyThreadsAtOnce_IsOneEvent()
    {
        InParallel(() => _gate.Open(BreakerReason.Failures, FailureKind.Error, Break));
        Assert.Equal(BreakerState.Open, Assert.Single(_changes).State);
    }

    [Fact]
    public void Isolate_WhileThreadsTry_LetsNobodyInUntilClosed()
    {
        OpenAndWait();
        var isolated = 0;
        var late = 0;
        InParallel(() =>
        {
            for (var call = 0; call < 2000; call++)
            {
                var before = Volatile.Read(ref isolated);
                if (_gate.TryEnter(out var trial))
                {
                    Interlocked.Add(ref late, before);
                    _gate.EndTrial(trial, TrialVerdict.Good, int.MaxValue, FailureKind.None, Break);
                }

                if (call == 500)
                {
                    _gate.Isolate("ada");
                    Volatile.Write(ref isolated, 1);
                }
            }
        });
        Assert.Equal((0, BreakerState.Isolated), (late, _gate.State));
        Assert.Equal("ada", Assert.Single(_changes, static change => change.State == BreakerState.Isolated).Actor);
        _gate.Close("bob");
        Assert.True(_gate.TryEnter(out _));
        Assert.Equal(("bob", BreakerReason.Operator), (_changes[^1].Actor, _changes[^1].Reason));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void EndTrial_AnOperatorWasFaster_SaysNothing(bool good)
    {
        OpenAndWait();
        Assert.True(_gate.TryEnter(out var overtaken));
        _gate.Close("ada");
        OpenAndWait();
        Assert.True(_gate.TryEnter(out var current));
        var before = _changes.Count;
        _gate.EndTrial(overtaken, good ? TrialVerdict.Good : TrialVerdict.Bad, 1, FailureKind.None, Break);
        Assert.Equal((BreakerState.HalfOpen, before), (_gate.State, _changes.Count));
        _gate.EndTrial(current, TrialVerdict.Good, 1, FailureKind.None, Break);
        Assert.Equal(BreakerState.Closed, _gate.State);
    }

    [Fact]
    public void EndTrial_NoEvidence_LetsAnotherTry()
    {
        OpenAndWait();
        _gate.TryEnter(out var first);
        _gate.EndTrial(first, TrialVerdict.NoEvidence, 1, FailureKind.None, Break);
        Assert.Equal((BreakerState.HalfOpen, 0), (_gate.State, _gate.GoodTrials));
        Assert.True(_gate.TryEnter(out var second));
        _gate.EndTrial(second, TrialVerdict.Good, 1, FailureKind.None, Break);
        Assert.Equal(BreakerState.Closed, _gate.State);
    }

    public void Dispose() => _meter.Dispose();

    private void OpenAndWait()
    {
        _gate.Open(BreakerReason.Failures, FailureKind.Error, Break);
        _time.Advance(Break);
    }

    private static void Raise(ref int most, int value)
    {
        for (var seen = Volatile.Read(ref most); value > seen; seen = Volatile.Read(ref most))
        {
            Interlocked.CompareExchange(ref most, value, seen);
        }
    }

    private static void InParallel(Action work)
    {
        using var start = new Barrier(Callers);
        var threads = Enumerable.Range(0, Callers).Select(_ => new Thread(() =>
        {
            start.SignalAndWait();
            work();
        })).ToArray();
        Array.ForEach(threads, static thread => thread.Start());
        Array.ForEach(threads, static thread => thread.Join());
    }
}
