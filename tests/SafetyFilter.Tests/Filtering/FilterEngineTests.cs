using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Scoring;
using LineageBasis = SafetyFilter.Lineage.V1.DecisionRecord.Types.Basis;
using LineageFailure = SafetyFilter.Lineage.V1.DecisionRecord.Types.FailureKind;
using LineageMode = SafetyFilter.Lineage.V1.DecisionRecord.Types.FailMode;

namespace SafetyFilter.Tests.Filtering;

public sealed class FilterEngineTests
{
    private const string BothClassifiers = "{ numbers/alpha: { fail: open }, roots/gamma: { fail: closed } }";

    private const string Rules = """
        
          - { id: by-alpha, when: { score: numbers/alpha, at_least: 0.9 }, action: { demote: 0.5 }, reason: A }
          - { id: by-gamma, when: { score: roots/gamma, at_least: 0.9 }, action: block, reason: G }
        """;

    private static readonly string TwoRules = EngineBench.Policy(BothClassifiers, Rules);

    [Fact]
    public void Decide_AllClassifiersScore_IsEvaluatedAndRecorded()
    {
        using var bench = new EngineBench(TwoRules);
        var (decision, record) = bench.Decided(
            static request => request.Tensor("embedding", [1f, 0], [0f, 1], [0f, 0]).Tensor("root", [0f], [1f], [0.25f]), candidates: 3);

        Assert.Equal([CandidateAction.Demote, CandidateAction.Block, CandidateAction.Allow], decision.Verdicts.Actions.ToArray());
        Assert.Equal(["default", "by-alpha", "by-gamma"], record.Rules.Select(static rule => rule.Id));
        Assert.Equal([1u, 2, 0], record.RuleIndexes);
        Assert.All(record.Bases, static basis => Assert.Equal(LineageBasis.Evaluated, basis));
        Assert.Empty(record.Degradations);
        Assert.All(record.Bundles, static bundle => Assert.True(bundle is { Failure: LineageFailure.Unspecified, Micros: > 0 }));
        Assert.Equal(3, bench.Counts["safetyfilter.candidates surface=feed action=demote"] * 3);
        Assert.Equal(1, bench.Counts["safetyfilter.requests surface=feed outcome=ok"]);
    }

    [Fact]
    public void Decide_ClosedClassifierFails_BlocksAndMarksInTheRecord()
    {
        using var bench = new EngineBench(TwoRules, chaos: Failing("roots"));
        var (decision, record) = bench.Decided(static request => request.Tensor("embedding", [0f, 0], [1f, 0]).Tensor("root", [0f], [0f]), candidates: 2);

        Assert.Equal([CandidateAction.Block, CandidateAction.Block], decision.Verdicts.Actions.ToArray());
        Assert.Equal([LineageBasis.FailedClosed, LineageBasis.FailedClosed], record.Bases);
        var mark = Assert.Single(record.Degradations);
        Assert.Equal("roots/gamma", record.Classifiers[(int)mark.ClassifierIndex].Name);
        Assert.Equal((LineageFailure.Error, LineageMode.Closed, 0), (mark.Failure, mark.FailMode, mark.CandidateIndexes.Count));
        Assert.Equal(["by-gamma", "by-gamma"], record.RuleIndexes.Select(index => record.Rules[(int)index].Id));
        Assert.All(Row(record, "roots/gamma"), static score => Assert.Equal(float.NaN, score));
        Assert.All(Row(record, "numbers/alpha"), static score => Assert.InRange(score, 0, 1));
        Assert.All(record.Margins, static margin => Assert.Equal(float.NaN, margin));
        Assert.Equal(2, bench.Counts["safetyfilter.degraded_candidates surface=feed classifier=roots/gamma cause=error mode=closed"]);
    }

    [Fact]
    public void Decide_OpenClassifierFails_AllowsAndMarksInTheRecord()
    {
        using var bench = new EngineBench(TwoRules, chaos: Failing("numbers"));
        var (decision, record) = bench.Decided(static request => request.Tensor("embedding", [1f, 0], [1f, 0]).Tensor("root", [0f], [1f]), candidates: 2);

        Assert.Equal([CandidateAction.Allow, CandidateAction.Block], decision.Verdicts.Actions.ToArray());
        Assert.Equal([LineageBasis.FailedOpen, LineageBasis.FailedOpen], record.Bases);
        var mark = Assert.Single(record.Degradations);
        Assert.Equal("numbers/alpha", record.Classifiers[(int)mark.ClassifierIndex].Name);
        Assert.Equal((LineageFailure.Error, LineageMode.Open, 0), (mark.Failure, mark.FailMode, mark.CandidateIndexes.Count));
        Assert.Equal(2, bench.Counts["safetyfilter.degraded_candidates surface=feed classifier=numbers/alpha cause=error mode=open"]);
    }

    [Fact]
    public void Decide_NaNForOneCandidate_FailsThatCandidateOnly()
    {
        using var bench = new EngineBench(TwoRules);
        var (_, record) = bench.Decided(
            static request => request.Tensor("embedding", [0f, 0], [0f, 0], [0f, 0]).Tensor("root", [0f], [-1f], [0f]), candidates: 3);

        Assert.Equal([LineageBasis.Evaluated, LineageBasis.FailedClosed, LineageBasis.Evaluated], record.Bases);
        var mark = Assert.Single(record.Degradations);
        Assert.Equal(LineageFailure.InvalidOutput, mark.Failure);
        Assert.Equal([1u], mark.CandidateIndexes);
        Assert.Equal(["default", "by-gamma", "default"], record.RuleIndexes.Select(index => record.Rules[(int)index].Id));
    }

    [Fact]
    public void Decide_BreakerOpen_RecordsThatNothingRan()
    {
        using var bench = new EngineBench(TwoRules, chaos: Failing("roots"));
        DecisionRecord record = null!;
        for (var call = 0; call <= new BreakerOptions().MinimumThroughput; call++)
        {
            (_, record) = bench.Decided(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
        }

        var run = record.Bundles.Single(static bundle => bundle.Name == "roots");
        Assert.Equal((LineageFailure.BreakerOpen, DecisionRecord.Types.BreakerState.Open, 0u), (run.Failure, run.Breaker, run.Micros));
        Assert.Equal(LineageFailure.BreakerOpen, Assert.Single(record.Degradations).Failure);
    }

    [Fact]
    public void Decide_ShedWhereAllDownRefuses_IsAnsweredByEachClassifiersFailMode()
    {
        using var bench = new EngineBench(TwoRules + "\noverload: fail-mode\nall_down: refuse");
        var decision = EngineBench.Request(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
        decision.IsShed = true;

        Assert.Null(bench.Decide(decision, out _));

        Assert.Equal([CandidateAction.Block], decision.Verdicts.Actions.ToArray());
        Assert.DoesNotContain(bench.Counts.Keys, static count => count.StartsWith("safetyfilter.all_down", StringComparison.Ordinal));
    }

    [Fact]
    public void Decide_ShedUnderAPolicyThatMeanwhileRefusesThen_IsRefusedAndNotRecorded()
    {
        using var bench = new EngineBench(TwoRules);
        var decision = EngineBench.Request(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
        decision.IsShed = true;
        var before = bench.Ledger.LastSequence;

        Assert.Equal(Refusal.Overloaded, bench.Decide(decision, out _));

        Assert.Equal(before, bench.Ledger.LastSequence);
    }

    [Fact]
    public void Decide_ShedMoreOftenThanABreakerBears_IsAnsweredByFailModeAndNoBreakerOpens()
    {
        using var bench = new EngineBench(TwoRules + "\noverload: fail-mode");
        for (var call = 0; call < 50; call++)
        {
            var decision = EngineBench.Request(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
            (decision.IsShed, decision.QueueMicros) = (true, 1234);
            Assert.Null(bench.Decide(decision, out _));
            Assert.Equal([CandidateAction.Block], decision.Verdicts.Actions.ToArray());
        }

        Assert.All(bench.Records(), static record =>
        {
            Assert.Equal(1234u, record.QueueMicros);
            Assert.All(record.Bundles, static run => Assert.Equal(
                (LineageFailure.Shed, DecisionRecord.Types.BreakerState.Closed, 0u), (run.Failure, run.Breaker, run.Micros)));
            Assert.All(record.Degradations, static mark => Assert.Equal(LineageFailure.Shed, mark.Failure));
        });
        Assert.Equal(50, bench.Counts["safetyfilter.degraded_candidates surface=feed classifier=roots/gamma cause=shed mode=closed"]);
        Assert.All(bench.Bundles.Values, static bundle => Assert.Equal(BreakerState.Closed, bundle.State));
    }

    [Fact]
    public void Decide_BudgetSpentByTheFirstBundle_FailsTheNextAsOverBudget()
    {
        // Every reading of the clock takes 400 us: one before the first bundle, one after it, one before the second.
        using var bench = new EngineBench(
            EngineBench.Policy(BothClassifiers, Rules, budget: 1000), new SteppingTime(TimeSpan.FromMicroseconds(400)));
        var (_, record) = bench.Decided(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));

        Assert.Equal(1000u, record.BudgetMicros);
        Assert.Equal(("numbers", LineageFailure.Unspecified, 400u), (record.Bundles[0].Name, record.Bundles[0].Failure, record.Bundles[0].Micros));
        Assert.Equal(("roots", LineageFailure.OverBudget, 0u), (record.Bundles[1].Name, record.Bundles[1].Failure, record.Bundles[1].Micros));
        Assert.Equal(LineageFailure.OverBudget, Assert.Single(record.Degradations).Failure);
        Assert.Equal([LineageBasis.FailedClosed], record.Bases);
        Assert.Equal(1, bench.Counts["safetyfilter.degraded_candidates surface=feed classifier=roots/gamma cause=over_budget mode=closed"]);
    }

    [Fact]
    public void Decide_ResultAfterTheBudget_IsIgnoredAndMarked()
    {
        // 600 us before the first bundle, as much for it.
        using var bench = new EngineBench(
            EngineBench.Policy(BothClassifiers, Rules, budget: 1000), new SteppingTime(TimeSpan.FromMicroseconds(600)));
        var (decision, record) = bench.Decided(static request => request.Tensor("embedding", [1f, 0]).Tensor("root", [0f]));

        Assert.Equal(
            [("numbers", LineageFailure.OverBudget, 600u), ("roots", LineageFailure.OverBudget, 0u)],
            record.Bundles.Select(static run => (run.Name, run.Failure, run.Micros)));
        Assert.All(record.Scores, static score => Assert.Equal(float.NaN, score));
        Assert.Equal([LineageBasis.FailedClosed], record.Bases);
        Assert.Equal(["by-gamma"], record.RuleIndexes.Select(index => record.Rules[(int)index].Id));
        Assert.Equal([CandidateAction.Block], decision.Verdicts.Actions.ToArray());
        Assert.Equal(1, bench.Counts["safetyfilter.degraded_candidates surface=feed classifier=numbers/alpha cause=over_budget mode=open"]);
    }

    [Fact]
    public void Decide_BundleThatTakesLongerThanWhatIsLeft_IsNotStarted()
    {
        using var bench = new EngineBench(EngineBench.Policy(BothClassifiers, Rules, budget: 500_000));
        for (var run = 0; run < RunCost.Trusted; run++)
        {
            bench.Bundles["numbers"].Bundle.Cost.Ended(1, 600_000, 1_000_000);
        }

        var (_, record) = bench.Decided(static request => request.Tensor("embedding", [1f, 0]).Tensor("root", [0f]));
        Assert.Equal((LineageFailure.OverBudget, 0u), (record.Bundles[0].Failure, record.Bundles[0].Micros));
        Assert.True(record.Bundles[1] is { Failure: LineageFailure.Unspecified, Micros: > 0 });
    }

    [Fact]
    public void Decide_BundleThatTakesTooLongAndItsBreakerIsIsolated_IsMarkedAsTheBreakers()
    {
        using var bench = new EngineBench(EngineBench.Policy(BothClassifiers, Rules, budget: 500_000));
        bench.Bundles["numbers"].Gate.Isolate("test");
        for (var run = 0; run < RunCost.Trusted; run++)
        {
            bench.Bundles["numbers"].Bundle.Cost.Ended(1, 600_000, 1_000_000);
        }

        var (_, record) = bench.Decided(static request => request.Tensor("embedding", [1f, 0]).Tensor("root", [0f]));
        Assert.Equal((LineageFailure.BreakerOpen, 0u), (record.Bundles[0].Failure, record.Bundles[0].Micros));
    }

    [Fact]
    public void Decide_PagesThatNobodyCanRead_TeachNothingOfWhatRunsTake()
    {
        using var bench = new EngineBench(TwoRules);
        for (var run = 0; run < RunCost.Trusted; run++)
        {
            bench.Decided(static request => request.Tensor("embedding", DataType.Float32, [2], (float[]?)null).Tensor("root", [0f]));
        }

        Assert.Equal(0, bench.Bundles["numbers"].Bundle.Cost.NanosOf(1));
        Assert.True(bench.Bundles["roots"].Bundle.Cost.NanosOf(1) > 0);
    }

    [Theory]
    [InlineData("{ fail: open }", "{ fail: closed }", "numbers", "roots")]
    [InlineData("{ fail: open }", "{ fail: closed, priority: 99 }", "roots", "numbers")]
    [InlineData("{ fail: open, priority: 101 }", "{ fail: closed }", "roots", "numbers")]
    [InlineData("{ fail: open, priority: 101 }, numbers/beta: { fail: open, priority: 1 }", "{ fail: closed, priority: 99 }", "numbers", "roots")]
    public void Decide_PrioritiesAndTooLittleBudget_TheMostImportantRunsFirst(string alpha, string gamma, string first, string second)
    {
        using var bench = new EngineBench(
            EngineBench.Policy($"{{ numbers/alpha: {alpha}, roots/gamma: {gamma} }}", Rules, budget: 1000), new SteppingTime(TimeSpan.FromMicroseconds(400)));
        var (_, record) = bench.Decided(static request => request.Tensor("embedding", [1f, 0]).Tensor("root", [0f]));

        Assert.Equal(
            [(first, LineageFailure.Unspecified), (second, LineageFailure.OverBudget)], record.Bundles.Select(static run => (run.Name, run.Failure)));
        Assert.Equal("numbers/alpha", record.Classifiers[0].Name);
        Assert.Equal("numbers", record.Bundles[(int)record.Classifiers[0].BundleIndex].Name);
        Assert.Equal(second, record.Bundles[(int)record.Classifiers[(int)record.Degradations[0].ClassifierIndex].BundleIndex].Name);
    }

    [Fact]
    public void Decide_HungModel_IsCutAndMarked()
    {
        // The engine's clock is not the watchdog's, which alone ends the minute.
        using var watchdog = new RunWatchdog();
        var chaos = new ChaosOptions { Enabled = true, Bundles = { ["numbers"] = new BundleChaos { Latency = TimeSpan.FromMinutes(1), LatencyRate = 1 } } };
        using var bench = new EngineBench(
            EngineBench.Policy(BothClassifiers, Rules, budget: 1000), new SteppingTime(TimeSpan.FromMicroseconds(100)), chaos, watchdog: watchdog);
        var (_, record) = bench.Decided(static request => request.Tensor("embedding", [1f, 0]).Tensor("root", [0f]));

        Assert.Equal(
            [("numbers", LineageFailure.OverBudget, 100u), ("roots", LineageFailure.Unspecified, 100u)],
            record.Bundles.Select(static run => (run.Name, run.Failure, run.Micros)));
    }

    [Theory]
    [InlineData(uint.MaxValue, 1000, BudgetBound.Policy)]
    [InlineData(1000, 1000, BudgetBound.Policy)]
    [InlineData(300, 300, BudgetBound.Deadline)]
    [InlineData(0, 0, BudgetBound.Deadline)]
    internal void Decide_CallerAllowsAnyBudget_TheSmallerOfItAndThePolicysApplies(uint allowed, uint applied, BudgetBound bound)
    {
        using var bench = new EngineBench(EngineBench.Policy(BothClassifiers, Rules, budget: 1000));
        var decision = EngineBench.Request(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
        (decision.BudgetMicros, decision.BudgetBound) = (allowed, BudgetBound.Deadline);
        Assert.Null(bench.Decide(decision, out _));

        var record = Assert.Single(bench.Records());
        Assert.Equal((applied, (DecisionRecord.Types.BudgetBound)bound), (record.BudgetMicros, record.BudgetBound));
        Assert.Equal(applied == 0, record.Bundles.All(static run => run.Failure == LineageFailure.OverBudget && run.Micros == 0));
    }

    [Theory]
    [InlineData(500, 2000, 500, BudgetBound.Server)]
    [InlineData(500, 500, 500, BudgetBound.Policy)]
    [InlineData(500, 400, 400, BudgetBound.Policy)]
    internal void Decide_TheSnapshotHasACap_TheSmallestApplies(uint cap, int policy, uint applied, BudgetBound bound)
    {
        using var bench = new EngineBench(TwoRules);
        bench.Serving.Swap(ServingSnapshot.Bind(
            bench.Compile(EngineBench.Policy(BothClassifiers, Rules, budget: policy)), bench.Bundles, new string('c', 64), "build", cap));
        var decision = EngineBench.Request(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
        (decision.BudgetMicros, decision.BudgetBound) = (1_000_000, BudgetBound.Deadline);
        Assert.Null(bench.Decide(decision, out _));

        Assert.Equal((applied, bound), (decision.BudgetMicros, decision.BudgetBound));
    }

    [Fact]
    public void Decide_UnknownSurface_ListsTheServedOnes()
    {
        using var bench = new EngineBench(TwoRules);
        var refusal = bench.Refused(static request => request.Request(surface: "foryou"));
        Assert.Equal(
            new Refusal(RefusalKind.UnknownSurface, "surface 'foryou' is not served by any loaded policy. Send one of: feed, home."), refusal);
    }

    [Fact]
    public void Decide_PurposeOfNoPolicy_IsRefusedWithTheServedOnes()
    {
        using var bench = new EngineBench(TwoRules);
        var refusal = bench.Refused(static request => request.Request(surface: "feed", purpose: "advertising"));
        Assert.Equal(
            new Refusal(RefusalKind.PurposeNotAllowed, "purpose 'advertising' is not one that policy 'p' serves. Send one of: recommendation."), refusal);
    }

    [Fact]
    public void Decide_EmptyPurpose_MeansRecommendation()
    {
        using var bench = new EngineBench(TwoRules);
        bench.Decided(static request => request.Request(surface: "feed", purpose: "").Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
    }

    [Fact]
    public void Decide_NothingLoaded_IsUnavailable()
    {
        using var bench = new EngineBench(TwoRules);
        bench.Serving.Swap(null);
        Assert.Equal(RefusalKind.Unavailable, bench.Refused(static request => request.Tensor("embedding", [0f, 0])).Kind);
    }

    [Fact]
    public void Decide_NoFeatureThatAnyClassifierReads_IsRefusedWithTheirNames()
    {
        using var bench = new EngineBench(TwoRules);
        var refusal = bench.Refused(static request => request.Text("text", "a title"));
        Assert.Equal(
            new Refusal(
                RefusalKind.InvalidArgument,
                "The request has no feature that a classifier of surface 'feed' can read. Send at least one of: tensors['embedding'] of shape [candidates, 2] in FLOAT32 or FLOAT16 (numbers); tensors['root'] of shape [candidates, 1] in FLOAT32 or FLOAT16 (roots)."),
            refusal);
    }

    [Fact]
    public void Decide_NoFeatureAndTheBreakerIsOpen_IsStillTheCallersMistake()
    {
        using var bench = new EngineBench(TwoRules, chaos: Failing("roots"));
        for (var call = 0; call < new BreakerOptions().MinimumThroughput; call++)
        {
            bench.Decided(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
        }

        Assert.Equal(BreakerState.Open, bench.Bundles["roots"].State);
        Assert.Equal(RefusalKind.InvalidArgument, bench.Refused(static request => request.Text("text", "a title")).Kind);
    }

    [Fact]
    public void Decide_OneBundleWithoutItsFeature_DecidesByFailMode()
    {
        using var bench = new EngineBench(TwoRules);
        var (_, record) = bench.Decided(static request => request.Tensor("root", [0f]));
        Assert.Equal([LineageBasis.FailedOpen], record.Bases);
        Assert.Equal(LineageFailure.MissingFeature, Assert.Single(record.Degradations).Failure);
    }

    [Fact]
    public void Decide_LedgerClosed_RefusesAndCountsNothingAsDecided()
    {
        using var bench = new EngineBench(TwoRules);
        bench.Ledger.Close();
        var refusal = bench.Refused(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
        Assert.Equal(RefusalKind.LedgerUnavailable, refusal.Kind);
        Assert.Contains("ranker's own fail mode", refusal.Message, StringComparison.Ordinal);
        Assert.Empty(bench.Counts);
    }

    [Fact]
    public void Decide_RecordTooLarge_RefusesAndCountsNothingAsDecided()
    {
        using var bench = new EngineBench(TwoRules, maxRecordBytes: 1024);
        var rows = Enumerable.Repeat(new float[] { 0, 0 }, 100).ToArray();
        var refusal = bench.Refused(request => request.Tensor("embedding", rows), candidates: 100);
        Assert.Equal(
            new Refusal(RefusalKind.InvalidArgument, "The decision's record is larger than Ledger:Spool:MaxRecordBytes. Split the page over several requests."),
            refusal);
        Assert.Empty(bench.Counts);
    }

    [Fact]
    public void Decide_AttributeThatRulesReadIsAbsentOrOfAnotherKind_IsCounted()
    {
        using var bench = new EngineBench(EngineBench.Policy(BothClassifiers, """
            
              - { id: r, when: { all: [ { attribute: tier, in: [new] }, { attribute: age_days, below: 7 } ] }, action: block, reason: R }
            """));
        bench.Decided(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]).Attribute("age_days", "3"));
        Assert.Equal(1, bench.Counts["safetyfilter.attribute_gaps surface=feed attribute=tier gap=absent"]);
        Assert.Equal(1, bench.Counts["safetyfilter.attribute_gaps surface=feed attribute=age_days gap=mismatched"]);
    }

    [Fact]
    public void Decide_AsManyAttributesAsAPolicyMayReadAreAbsent_DecidesAndCountsEach()
    {
        var comparisons = string.Join(", ", Enumerable.Range(0, 32).Select(static i => $"{{ attribute: a{i:D2}, is: true }}"));
        using var bench = new EngineBench(EngineBench.Policy(BothClassifiers, $$"""
            
              - { id: r, when: { any: [ {{comparisons}} ] }, action: block, reason: R }
            """));
        bench.Decided(static request => request.Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
        Assert.Equal(32, bench.Counts.Keys.Count(static key => key.StartsWith("safetyfilter.attribute_gaps", StringComparison.Ordinal)));
    }

    [Fact]
    public void Decide_EveryFeatureOfTheWrongShape_IsTheCallersMistake()
    {
        using var bench = new EngineBench(TwoRules);
        Assert.Equal(RefusalKind.InvalidArgument, bench.Refused(static request => request.Tensor("embedding", [0f, 0, 0]).Tensor("root", [0f, 0])).Kind);
    }

    private static ChaosOptions Failing(string bundle) => new() { Enabled = true, Bundles = { [bundle] = new BundleChaos { FaultRate = 1 } } };

    private static IEnumerable<float> Row(DecisionRecord record, string classifier)
    {
        var row = record.Classifiers.ToList().FindIndex(run => run.Name == classifier);
        return record.Scores.Skip(row * (int)record.CandidateCount).Take((int)record.CandidateCount);
    }
}
