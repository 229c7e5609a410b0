using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Breaker;

public sealed class TrialTests
{
    private static readonly ScoringOutcome Refused = new(FailureKind.BreakerOpen, 0, null);

    private static BreakerThresholds ThreeTrials => new() { MinimumThroughput = 4, TrialCalls = 3 };

    [Fact]
    public void Score_TrialsGoWell_ClosesAfterTheLast()
    {
        using var bench = OpenAndWait();
        var states = new List<BreakerState>();
        for (var call = 0; call < 3; call++)
        {
            Assert.Equal(default, bench.Good());
            states.Add(bench.Guarded.State);
        }

        Assert.Equal([BreakerState.HalfOpen, BreakerState.HalfOpen, BreakerState.Closed], states);
        Assert.Equal([EventIds.BreakerOpened, EventIds.BreakerHalfOpened, EventIds.BreakerClosed], bench.Log.Entries.Select(static entry => entry.Id));
    }

    [Theory]
    [InlineData(0, false)]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(0, true)]
    [InlineData(1, true)]
    [InlineData(2, true)]
    public void Score_ATrialIsBad_OpensForAWholeBreakAndStartsOver(int good, bool slow)
    {
        using var bench = OpenAndWait();
        for (var call = 0; call < good; call++)
        {
            bench.Good();
        }

        _ = slow ? bench.Slow(TimeSpan.FromMilliseconds(6)) : bench.Bad();
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
        Assert.EndsWith("state=open reason=trial_failed", bench.Transitions[^1], StringComparison.Ordinal);
        Assert.Contains(slow ? "(last failure: None)" : "(last failure: InvalidOutput)", bench.Log.Entries[^1].Text, StringComparison.Ordinal);
        bench.Time.Advance(TimeSpan.FromSeconds(4.9));
        Assert.Equal(Refused, bench.Good());
        bench.Time.Advance(TimeSpan.FromSeconds(0.1));
        bench.Good();
        bench.Good();
        Assert.Equal(BreakerState.HalfOpen, bench.Guarded.State);
        bench.Good();
        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
    }

    [Fact]
    public void Score_ATrialFailsAfterSlowCallsOpenedIt_OpensAgain()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        for (var call = 0; call < 4; call++)
        {
            bench.Slow(TimeSpan.FromMilliseconds(6));
        }

        bench.Time.Advance(TimeSpan.FromSeconds(5));
        bench.Bad();
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
        Assert.Equal(Refused, bench.Good());
    }

    [Fact]
    public void Score_WhileATrialRuns_OthersAreTurnedAway()
    {
        using var bench = OpenAndWait();
        var meanwhile = new List<ScoringOutcome>();
        bench.Log.OnEvent = id =>
        {
            if (id == EventIds.BreakerHalfOpened)
            {
                meanwhile.Add(bench.Good());
            }
        };
        Assert.Equal(default, bench.Good());
        Assert.Equal([Refused], meanwhile);
    }

    [Fact]
    public void Isolate_Closed_TurnsCallsAwayUntilClosedByHand()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Guarded.Gate.Isolate("ada");
        Assert.Equal(BreakerState.Isolated, bench.Guarded.State);
        bench.Time.Advance(TimeSpan.FromDays(2));
        Assert.Equal(Refused, bench.Good());
        bench.Guarded.Gate.Close("ada");
        Assert.Equal((BreakerState.Closed, default), (bench.Guarded.State, bench.Good()));
        Assert.Equal(
            ["isolated reason=operator", "closed reason=operator"],
            bench.Transitions.Select(static line => line["1 safetyfilter.breaker.transitions bundle=roots group=shorts state=".Length..]));
    }

    [Fact]
    public void Isolate_DuringATrial_HoldsWhateverTheTrialSays()
    {
        using var bench = OpenAndWait();
        bench.Log.OnEvent = id =>
        {
            if (id == EventIds.BreakerHalfOpened)
            {
                bench.Guarded.Gate.Isolate("ada");
            }
        };
        bench.Bad();
        Assert.Equal((BreakerState.Isolated, Refused), (bench.Guarded.State, bench.Good()));
    }

    [Fact]
    public void Close_Open_LetsCallsThroughAndForgetsTheFailures()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        bench.Guarded.Gate.Close("ada");
        Assert.Equal(default, bench.Good());
        bench.Bad();
        bench.Bad();
        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
        bench.Bad();
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
    }

    private static BreakerBench OpenAndWait()
    {
        var bench = new BreakerBench(ThreeTrials);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(5));
        return bench;
    }
}
