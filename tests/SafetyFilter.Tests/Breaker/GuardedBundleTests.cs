using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Breaker;

public sealed class GuardedBundleTests
{
    private static readonly ScoringOutcome Refused = new(FailureKind.BreakerOpen, 0, null);

    [Fact]
    public void Score_FailuresReachTheRatioAtMinimumThroughput_Opens()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Good();
        bench.Good();
        bench.Bad();
        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
        bench.Bad();
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
    }

    [Fact]
    public void Score_EveryCallFailsButTooFew_StaysClosed()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 3; call++)
        {
            bench.Bad();
        }

        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
    }

    [Fact]
    public void Score_FailuresBelowTheRatio_StaysClosed()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var round = 0; round < 20; round++)
        {
            bench.Good();
            bench.Good();
            bench.Bad();
        }

        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
    }

    [Fact]
    public void Score_FailuresFurtherApartThanTheWindow_StaysClosed()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 20; call++)
        {
            bench.Bad();
            bench.Time.Advance(TimeSpan.FromSeconds(4));
        }

        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
    }

    [Fact]
    public void Score_Open_RefusesWithoutCallingTheModel()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();

        // The model would give these a score, and would fail those.
        Assert.Equal(Refused, bench.Good());
        Assert.Equal(Refused, bench.Bad());
        bench.Time.Advance(TimeSpan.FromSeconds(4.9));
        Assert.Equal(Refused, bench.Good());
    }

    [Fact]
    public void Score_AfterTheBreakAndTheModelWorks_Closes()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(default, bench.Good());
        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
        Assert.Equal(default, bench.Good());
    }

    [Fact]
    public void Score_AfterTheBreakAndTheModelFails_OpensForAnotherBreak()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(1, bench.Bad().InvalidOutputs);
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
        bench.Time.Advance(TimeSpan.FromSeconds(4.9));
        Assert.Equal(Refused, bench.Good());
        bench.Time.Advance(TimeSpan.FromSeconds(0.1));
        Assert.Equal(default, bench.Good());
    }

    [Fact]
    public void Score_HalfOpen_LetsOneCallThrough()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        var meanwhile = new List<ScoringOutcome>();
        bench.Log.OnEvent = id =>
        {
            if (id == EventIds.BreakerHalfOpened)
            {
                meanwhile.Add(bench.Good());
                meanwhile.Add(bench.Good());
            }
        };
        Assert.Equal(default, bench.Good());
        Assert.Equal([Refused, Refused], meanwhile);
    }

    [Fact]
    public void Score_CallersWithoutTheFeature_NeverOpenIt()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var caller = 0; caller < 1000; caller++)
        {
            Assert.Equal(FailureKind.MissingFeature, bench.Score(BatchBuilder.Of(1).Text("text", "no numbers").Build()).Failure);
            Assert.Equal(FailureKind.FeatureMismatch, bench.Score(BatchBuilder.Of(1).Tensor("embedding", [1f, 2, 3]).Build()).Failure);
            Assert.Equal(default, bench.Score(BatchBuilder.Of(1).Tensor("embedding", [1e9f]).Build()));
        }

        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
        Assert.Empty(bench.Transitions);
    }

    [Fact]
    public void Score_CallersWithoutTheFeature_DoNotKeepItClosed()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var caller = 0; caller < 1000; caller++)
        {
            bench.Score(BatchBuilder.Of(1).Build());
        }

        bench.Open();
    }

    [Fact]
    public void Score_AfterTheBreakAndNoCandidateIsReadable_IsNoProbe()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(6));
        bench.Score(BatchBuilder.Of(1).Tensor("embedding", [1e9f]).Build());
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
        bench.Bad();
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
        Assert.Equal(FailureKind.BreakerOpen, bench.Good().Failure);
    }

    [Fact]
    public void Score_OpenAndTheFeatureIsMissing_TellsTheCallerAndTriesNothing()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        Assert.Equal(FailureKind.MissingFeature, bench.Score(BatchBuilder.Of(1).Build()).Failure);
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(FailureKind.MissingFeature, bench.Score(BatchBuilder.Of(1).Build()).Failure);
        Assert.Equal(FailureKind.FeatureMismatch, bench.Score(BatchBuilder.Of(1).Tensor("embedding", [1f, 2]).Build()).Failure);
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
    }

    [Fact]
    public void Score_NaNForOneCandidateOfMany_Counts()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 4; call++)
        {
            var outcome = bench.Score(BatchBuilder.Of(3).Tensor("embedding", [0.25f], [-1f], [0.5f]).Build());
            Assert.Equal(new ScoringOutcome(FailureKind.None, 1, null), outcome);
        }

        Assert.Equal(BreakerState.Open, bench.Guarded.State);
    }

    [Theory]
    [InlineData(1, 0, (int)FailureKind.Error)]
    [InlineData(0, 1, (int)FailureKind.InvalidOutput)]
    public void Score_ChaosAtRateOne_FailsEveryCallAndCounts(double faults, double invalid, int expected)
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls, new BundleChaos { FaultRate = faults, InvalidOutputRate = invalid });
        for (var call = 0; call < 4; call++)
        {
            Assert.Equal((FailureKind)expected, bench.Good().Failure);
        }

        Assert.Equal(Refused, bench.Good());
    }

    [Fact]
    public void Score_StateChanges_ReachMetricsAndLog()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        bench.Good();

        Assert.Equal(
            ["open reason=failures", "half_open reason=break_ended", "closed reason=trials_succeeded"],
            bench.Transitions.Select(static line => line["1 safetyfilter.breaker.transitions bundle=roots group=shorts state=".Length..]));
        Assert.Equal(
            [EventIds.BreakerOpened, EventIds.BreakerHalfOpened, EventIds.BreakerClosed], bench.Log.Entries.Select(static entry => entry.Id));
        Assert.Equal(
            "Breaker of bundle roots, group shorts, opened for 00:00:05 after failures (last failure: InvalidOutput); its classifiers take their fail modes", bench.Log.Entries[0].Text);
    }
}
