using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Breaker;

public sealed class SlowCallTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan Over = Limit + TimeSpan.FromMicroseconds(1);

    // On the tests' clock, which stands still: it ends when it is cut, by the watchdog's own clock.
    private static readonly BundleChaos Hung = new() { Latency = TimeSpan.FromMinutes(1), LatencyRate = 1 };

    [Fact]
    public void Score_SlowCallsReachTheRatio_OpensAndTellsWhy()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 4; call++)
        {
            Assert.Equal(default, bench.Slow(Over));
        }

        Assert.Equal(BreakerState.Open, bench.Guarded.State);
        Assert.Equal(FailureKind.BreakerOpen, bench.Good().Failure);
        Assert.EndsWith("state=open reason=slow_calls", Assert.Single(bench.Transitions), StringComparison.Ordinal);
        Assert.Contains("after slow_calls", bench.Log.Entries[0].Text, StringComparison.Ordinal);
    }

    [Fact]
    public void Score_ThreeOfFourAreSlow_StaysClosed()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var round = 0; round < 5; round++)
        {
            bench.Good();
            for (var call = 0; call < 3; call++)
            {
                bench.Slow(Over);
            }
        }

        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
    }

    [Theory]
    [InlineData(1, 5000, false)]
    [InlineData(256, 5000, false)]
    [InlineData(256, 5001, true)]
    [InlineData(512, 10000, false)]
    [InlineData(512, 10001, true)]
    public void Score_RunOfAPage_IsSlowAboveItsShareOfTheLimit(int candidates, int micros, bool opens)
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 4; call++)
        {
            bench.Slow(TimeSpan.FromMicroseconds(micros), candidates);
        }

        Assert.Equal(opens ? BreakerState.Open : BreakerState.Closed, bench.Guarded.State);
    }

    [Fact]
    public void Score_CallsThatFailSlowly_AreOneOpeningByFailures()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Time.Step = Over;
        for (var call = 0; call < 4; call++)
        {
            bench.Bad();
        }

        Assert.EndsWith("state=open reason=failures", Assert.Single(bench.Transitions), StringComparison.Ordinal);
        Assert.Equal((4, 4, 4), (bench.Guarded.Gate.Calls, bench.Guarded.Gate.Failures, bench.Guarded.Gate.SlowCalls));
    }

    [Theory]
    [InlineData(1000, 1000, 1, true)]
    [InlineData(500, 1000, 256, true)]
    [InlineData(499, 1000, 256, false)]
    [InlineData(1000, 1000, 512, true)]
    [InlineData(999, 1000, 512, false)]
    [InlineData(2000, 2000, 513, false)]
    public void Score_ModelHangsUntilItIsCut_IsSlowIfItHadHalfOfTheBudget(uint micros, uint whole, int candidates, bool opens)
    {
        using var watchdog = new RunWatchdog();
        using var bench = new BreakerBench(BreakerBench.FourCalls, Hung);
        for (var call = 0; call < 4; call++)
        {
            Assert.Equal(FailureKind.OverBudget, bench.Slow(TimeSpan.Zero, candidates, new RunLimit(micros, IsCallers: false, watchdog, whole)).Failure);
        }

        Assert.Equal(opens ? BreakerState.Open : BreakerState.Closed, bench.Guarded.State);
        Assert.Equal(opens ? (4, 0, 4) : (0, 0, 0), (bench.Guarded.Gate.Calls, bench.Guarded.Gate.Failures, bench.Guarded.Gate.SlowCalls));
    }

    [Fact]
    public void Score_ModelHangsAndTheCallersDeadlineCutsIt_NeverCountsWhateverThatLeft()
    {
        var random = new Random(1);
        using var watchdog = new RunWatchdog();
        using var bench = new BreakerBench(BreakerBench.FourCalls, Hung);
        for (var call = 0; call < 200; call++)
        {
            var whole = (uint)random.Next(1, 3000);
            var limit = new RunLimit((uint)random.Next(1, (int)whole + 1), IsCallers: true, watchdog, whole);
            Assert.Equal(FailureKind.OverBudget, bench.Slow(TimeSpan.Zero, random.Next(1, 300), limit).Failure);
        }

        Assert.Equal((0, BreakerState.Closed), (bench.Guarded.Gate.Calls, bench.Guarded.State));
    }

    [Fact]
    public void Score_TrialHangsUntilItIsCut_OpensAgain()
    {
        using var watchdog = new RunWatchdog();
        using var bench = new BreakerBench(BreakerBench.FourCalls, Hung);
        var limit = new RunLimit(1000, IsCallers: false, watchdog, 1000);
        for (var call = 0; call < 4; call++)
        {
            bench.Slow(TimeSpan.Zero, candidates: 1, limit);
        }

        bench.Time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(FailureKind.OverBudget, bench.Slow(TimeSpan.Zero, candidates: 1, limit).Failure);
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
        Assert.EndsWith("state=open reason=trial_failed", bench.Transitions[^1], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true, 4, true)]
    [InlineData(false, 0, false)]
    public void Judge_SlowRunsCutShort_CountOnlyAsEvidence(bool isEvidence, int counted, bool opens)
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 4; call++)
        {
            bench.Guarded.Judge(new(FailureKind.OverBudget, 0, null), isSlow: true, trial: 0, isEvidence);
        }

        Assert.Equal((counted, opens ? BreakerState.Open : BreakerState.Closed), (bench.Guarded.Gate.Calls, bench.Guarded.State));
    }

    [Fact]
    public void Judge_ATrialCutShortByItsCallersDeadline_LeavesTheTrialToAnother()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        Assert.True(bench.Guarded.Gate.TryEnter(out var trial));
        bench.Guarded.Judge(new(FailureKind.OverBudget, 0, null), isSlow: true, trial, isEvidence: false);
        Assert.Equal(BreakerState.HalfOpen, bench.Guarded.State);
        bench.Good();
        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
    }

    [Fact]
    public void Score_SlowCallMicrosIsZero_NoCallIsSlow()
    {
        using var bench = new BreakerBench(new BreakerThresholds { MinimumThroughput = 4, SlowCallMicros = 0 });
        for (var call = 0; call < 20; call++)
        {
            bench.Slow(TimeSpan.FromMilliseconds(100));
        }

        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
    }

    [Theory]
    [InlineData(1, true)]
    [InlineData(0, false)]
    public void Score_ChaosLatency_MakesRunsSlowAtItsRate(double rate, bool opens)
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls, new BundleChaos { Latency = TimeSpan.FromMilliseconds(20), LatencyRate = rate });
        for (var call = 0; call < 4; call++)
        {
            bench.Slow(TimeSpan.FromMilliseconds(1));
        }

        Assert.Equal(opens ? BreakerState.Open : BreakerState.Closed, bench.Guarded.State);
    }
}
