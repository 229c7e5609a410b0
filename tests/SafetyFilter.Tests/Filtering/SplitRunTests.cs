using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Scoring;
using Decision = SafetyFilter.Decisions.Decision;
using FailureKind = SafetyFilter.Decisions.FailureKind;

namespace SafetyFilter.Tests.Filtering;

/// <summary>Pages whose runs are split: what is decided and recorded.</summary>
public sealed class SplitRunTests : IDisposable
{
    private const int SplitAbove = 20;

    private static readonly string Policy = EngineBench.Policy(
        "{ numbers/alpha: { fail: open }, numbers/beta: { fail: closed }, roots/gamma: { fail: open } }",
        """

          - { id: alpha, when: { score: numbers/alpha, at_least: 0.6 }, action: block, reason: A }
        """);

    private readonly RunSplitter _splitter = new(4);

    public void Dispose() => _splitter.Dispose();

    [Theory]
    [InlineData(1, 0)]
    [InlineData(20, 0)]
    [InlineData(21, 2)]
    [InlineData(41, 3)]
    [InlineData(90, 4)]
    public void Decide_PageOfSomeSize_RecordsInHowManyPartsEachBundleRan(int candidates, int parts)
    {
        using var bench = new EngineBench(Policy, splitter: _splitter, splitAbove: SplitAbove);
        var (_, record) = bench.Decided(request => Fill(request, candidates), candidates);
        Assert.All(record.Bundles, run => Assert.Equal(((uint)parts, true), (run.Parts, run.Micros > 0)));
    }

    [Fact]
    public void Decide_SplitOrNot_DecidesTheSame()
    {
        using var split = new EngineBench(Policy, splitter: _splitter, splitAbove: SplitAbove);
        using var whole = new EngineBench(Policy, splitter: _splitter);
        foreach (var candidates in new[] { 19, 20, 21, 39, 40, 41, 100 })
        {
            var (_, one) = split.Decided(request => Fill(request, candidates), candidates);
            var (_, other) = whole.Decided(request => Fill(request, candidates), candidates);
            Assert.Equal(other.RuleIndexes, one.RuleIndexes);
            Assert.Equal(other.Degradations, one.Degradations);
            Assert.All(one.Scores.Zip(other.Scores), static pair => Assert.Equal(pair.Second, pair.First, 1e-6f));
            Assert.All(other.Bundles, static run => Assert.Equal(0u, run.Parts));
        }
    }

    [Fact]
    public void Decide_SomeRemembered_SplitsTheOthers()
    {
        using var cache = new VerdictCache(new VerdictCacheOptions(), TimeProvider.System);
        using var bench = new EngineBench(Policy + "\nverdict_cache: on\n", verdicts: cache, splitter: _splitter, splitAbove: SplitAbove);
        bench.Decided(request => Fill(request, 25, missing: false).Versions([.. Enumerable.Repeat("v", 25)]), 25);

        var (decision, record) = bench.Decided(request => Fill(request, 70, missing: false).Versions([.. Enumerable.Repeat("v", 70)]), 70);
        Assert.All(record.Bundles.Zip(decision.Runs.ToArray()), static run => Assert.Equal((3u, 25), (run.First.Parts, run.Second.Remembered)));

        // Of what is left, 15, nothing is split.
        var (_, third) = bench.Decided(request => Fill(request, 85, missing: false).Versions([.. Enumerable.Repeat("v", 85)]), 85);
        Assert.All(third.Bundles, static run => Assert.Equal((0u, true), (run.Parts, run.Micros > 0)));
        var (_, fourth) = bench.Decided(request => Fill(request, 85, missing: false).Versions([.. Enumerable.Repeat("v", 85)]), 85);
        Assert.All(fourth.Bundles, static run => Assert.Equal((0u, 0u), (run.Parts, run.Micros)));
        Assert.Equal(third.Scores, fourth.Scores);
    }

    [Fact]
    public void Decide_APartHangs_FailsTheWholeBundleAsOverBudget()
    {
        using var watchdog = new RunWatchdog();
        using var bench = new EngineBench(
            EngineBench.Policy("{ rounds/delta: { fail: closed } }", "[ { id: r, when: { score: rounds/delta, at_least: 0.9 }, action: block, reason: R } ]", budget: 2000), watchdog: watchdog, splitter: _splitter, splitAbove: SplitAbove, rounds: true);
        var (_, record) = bench.Decided(static request => request.Tensor("root", [.. Enumerable.Range(0, 60).Select(static candidate => new[] { candidate == 59 ? 1e12f : 0 })]), 60);
        var run = Assert.Single(record.Bundles);
        Assert.Equal((DecisionRecord.Types.FailureKind.OverBudget, 3u, true), (run.Failure, run.Parts, run.Micros >= 1000));
        Assert.Empty(Assert.Single(record.Degradations).CandidateIndexes);
        Assert.Equal(1, bench.Bundles["rounds"].Gate.Calls);
    }

    [Fact]
    public void Decide_RequestsOfASurfaceThatSplits_GiveTheirCoresBack()
    {
        using var bench = new EngineBench(Policy, splitter: _splitter, splitAbove: SplitAbove);
        for (var request = 0; request < 10; request++)
        {
            bench.Decided(builder => Fill(builder, 50), 50);
            bench.Decided(builder => Fill(builder, 5), 5);
        }

        // Helpers that were not needed may still be on their way.
        Assert.True(SpinWait.SpinUntil(
            () =>
            {
                var claimed = _splitter.Claim(100);
                for (var core = 0; core < claimed; core++)
                {
                    _splitter.Leave();
                }

                return claimed == _splitter.Cores;
            },
            TimeSpan.FromSeconds(30)));
    }

    [Fact]
    public void Decide_SteadyState_AllocatesNothing()
    {
        using var watchdog = new RunWatchdog();
        using var bench = new EngineBench(Policy, measured: false, watchdog: watchdog, splitter: _splitter, splitAbove: SplitAbove);
        var decision = EngineBench.Request(static request => Fill(request, 80), 80);
        Assert.Null(bench.Decide(decision, out _));
        Assert.Equal(4, decision.Runs[0].Parts);

        Assert.Equal(0, AllocatedBytes.Of(50, () => bench.Decide(decision, out _)));
    }

    [Fact]
    public void Rehearse_PlanSplits_GoesThatWayToo()
    {
        var asked = 0;
        using var splitter = new RunSplitter(4, run =>
        {
            Interlocked.Increment(ref asked);
            run.Execute();
        });
        using var bench = new EngineBench(Policy, splitter: splitter, splitAbove: 100);
        bench.Engine.Rehearse(bench.Serving.Current!);
        Assert.True(asked >= Rehearsal.Rounds);
    }

    private static BatchBuilder Fill(BatchBuilder request, int candidates, bool missing = true) => request
        .Tensor("embedding", [.. Enumerable.Range(0, candidates).Select(i => missing && i % 7 == 3 ? null : new[] { i * 0.01f, 0.2f })])
        .Tensor("root", [.. Enumerable.Range(0, candidates).Select(static i => new[] { i * 0.01f })]);
}
