using SafetyFilter.Breaker;
using SafetyFilter.Decisions;

namespace SafetyFilter.Tests.Breaker;

public sealed class SlowCallTests
{
    private static readonly TimeSpan Limit = TimeSpan.FromMilliseconds(5);
    private static readonly TimeSpan Over = Limit + TimeSpan.FromMicroseconds(1);

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
    [InlineData((int)BudgetBound.Policy, 4, true)]
    [InlineData((int)BudgetBound.Server, 4, true)]
    [InlineData((int)BudgetBound.Deadline, 0, false)]
    public void Judge_RunsCutShort_CountUnlessTheCallersDeadlineDidIt(int bound, int counted, bool opens)
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 4; call++)
        {
            bench.Guarded.Judge(new(FailureKind.OverBudget, 0, null), isSlow: true, trial: 0, (BudgetBound)bound);
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
        bench.Guarded.Judge(new(FailureKind.OverBudget, 0, null), isSlow: true, trial, BudgetBound.Deadline);
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
