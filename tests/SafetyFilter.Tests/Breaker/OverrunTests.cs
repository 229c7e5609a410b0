using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Breaker;

public sealed class OverrunTests
{
    private static readonly TimeSpan Slow = TimeSpan.FromMilliseconds(6);

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public void Score_SlowAndOverTheLimit_CountsUnlessTheLimitIsTheCallers(bool isCallers, bool opens)
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 20; call++)
        {
            bench.Slow(Slow, limit: new RunLimit(50, isCallers, null));
        }

        Assert.Equal(opens ? BreakerState.Open : BreakerState.Closed, bench.Guarded.State);
    }

    [Fact]
    public void Score_ManyGoodRunsOverACallersLimit_DoNotKeepItFromOpening()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 20; call++)
        {
            bench.Slow(TimeSpan.FromMilliseconds(1), limit: new RunLimit(50, IsCallers: true, null));
        }

        bench.Open();
    }

    // 3 ms are not slow by the threshold; nobody cut them, which is for the watchdog's rhythm to say.
    [Theory]
    [InlineData(1000, false, true)]
    [InlineData(1000, true, false)]
    [InlineData(4000, false, false)]
    public void Score_EndsByItselfAfterThePolicysBudget_IsSlow(uint budget, bool isCallers, bool opens)
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 20; call++)
        {
            bench.Slow(TimeSpan.FromMilliseconds(3), limit: new RunLimit(budget, isCallers, null, WholeMicros: budget));
        }

        Assert.Equal(opens ? BreakerState.Open : BreakerState.Closed, bench.Guarded.State);
    }

    [Fact]
    public void Score_TrialOverACallersLimit_DecidesNothing()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(6));
        bench.Slow(Slow, limit: new RunLimit(50, IsCallers: true, null));
        Assert.Equal(BreakerState.HalfOpen, bench.Guarded.State);
        bench.Good();
        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
    }

    [Fact]
    public void Score_CutBeforeItWasSlow_CountsNeitherWay()
    {
        // A delayed run ends on the bench's clock or, while that stands still, by being cut.
        using var watchdog = new RunWatchdog();
        using var bench = new BreakerBench(BreakerBench.FourCalls, new BundleChaos { Latency = TimeSpan.FromMicroseconds(100), LatencyRate = 1 });
        for (var call = 0; call < 20; call++)
        {
            Assert.Equal(FailureKind.OverBudget, bench.Slow(TimeSpan.Zero, limit: new RunLimit(50, IsCallers: false, watchdog)).Failure);
        }

        bench.Time.Step = TimeSpan.FromMicroseconds(100);
        bench.Open();
    }
}
