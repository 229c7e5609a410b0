using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Breaker;

/// <summary>A run in parts is one call to its breaker.</summary>
public sealed class SplitCallTests : IDisposable
{
    private readonly RunSplitter _splitter = new(4, static run => run.Execute());

    public void Dispose() => _splitter.Dispose();

    [Fact]
    public void Score_SeveralPartsGiveNoScore_CountsOneFailure()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        Assert.Equal(new ScoringOutcome(FailureKind.None, 3, null) { Parts = 4 }, Score(bench, -1, 0.25f, -1, 0.25f, 0.25f, 0.25f, 0.25f, -1));
        Assert.Equal((1L, 1L), (bench.Guarded.Gate.Calls, bench.Guarded.Gate.Failures));
        Score(bench, -1, -1, -1, -1);
        Score(bench, -1, -1, -1, -1);
        Assert.Equal(BreakerState.Closed, bench.Guarded.State);
        Score(bench, -1, -1, -1, -1);
        Assert.Equal((4L, BreakerState.Open), (bench.Guarded.Gate.Calls, bench.Guarded.State));
        Assert.Equal(new ScoringOutcome(FailureKind.BreakerOpen, 0, null), Score(bench, 0.25f, 0.25f, 0.25f, 0.25f));
    }

    [Fact]
    public void Score_APartIsCutAtThePolicysBudget_CountsOneSlowCall()
    {
        using var watchdog = new RunWatchdog();
        using var bench = new BreakerBench(BreakerBench.FourCalls, files: Rounds());
        for (var call = 1; call <= 4; call++)
        {
            Assert.Equal(FailureKind.OverBudget, Score(bench, new RunLimit(1000, IsCallers: false, watchdog, WholeMicros: 1000), 1, 1, 1, 1e12f).Failure);
            Assert.Equal(((long)call, 0L, (long)call), (bench.Guarded.Gate.Calls, bench.Guarded.Gate.Failures, bench.Guarded.Gate.SlowCalls));
        }

        Assert.Equal(BreakerState.Open, bench.Guarded.State);
    }

    [Fact]
    public void Score_APartIsCutAtTheCallersDeadline_CountsNothing()
    {
        using var watchdog = new RunWatchdog();
        using var bench = new BreakerBench(BreakerBench.FourCalls, files: Rounds());
        Assert.Equal(FailureKind.OverBudget, Score(bench, new RunLimit(1000, IsCallers: true, watchdog, WholeMicros: 1000), 1e12f, 1, 1, 1).Failure);
        Assert.Equal(0, bench.Guarded.Gate.Calls);
    }

    [Fact]
    public void Score_NoPartIsReadable_CountsNothingAndIsNoTrial()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        var none = BatchBuilder.Of(4).Tensor("embedding", DataType.Float32, [1], null, null, null, null).Build();
        Assert.True(bench.Score(none, splitter: _splitter, splitAbove: 1).IsVain);
        Assert.Equal(0, bench.Guarded.Gate.Calls);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(6));
        Assert.True(bench.Score(none, splitter: _splitter, splitAbove: 1).IsVain);
        Assert.Equal(BreakerState.Open, bench.Guarded.State);
    }

    [Theory]
    [InlineData(0.25f, true)]
    [InlineData(-1f, false)]
    public void Score_Trial_IsSplitTooAndDecides(float number, bool closes)
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls);
        bench.Open();
        bench.Time.Advance(TimeSpan.FromSeconds(6));
        Assert.Equal(4, Score(bench, 0.25f, 0.25f, 0.25f, number).Parts);
        Assert.Equal(closes ? BreakerState.Closed : BreakerState.Open, bench.Guarded.State);
    }

    [Fact]
    public void Score_BundleHasChaos_IsScoredInOne()
    {
        using var bench = new BreakerBench(BreakerBench.FourCalls, new BundleChaos { FaultRate = 1 });
        Assert.Equal(new ScoringOutcome(FailureKind.Error, 0, null), Score(bench, 0.25f, 0.25f, 0.25f, 0.25f));
    }

    private ScoringOutcome Score(BreakerBench bench, params float[] numbers) => Score(bench, default(RunLimit), numbers);

    // In four parts.
    private ScoringOutcome Score(BreakerBench bench, RunLimit limit, params float[] numbers) =>
        bench.Score(BatchBuilder.Of(numbers.Length).Tensor("embedding", [.. numbers.Select(static number => new[] { number })]).Build(), limit, _splitter, splitAbove: numbers.Length / 4);

    private static TestBundle Rounds()
    {
        var rounds = new TestBundle(Onnx.Rounds(), TestBundle.EmbeddingFeature(1, "[0, 1e12]"), "roots");
        rounds.SetGoldenRow([0]);
        return rounds;
    }
}
