using SafetyFilter.Decisions;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Scoring;
using Recorded = SafetyFilter.Lineage.V1.DecisionRecord.Types;

namespace SafetyFilter.Tests.Filtering;

/// <summary>Fail modes through the whole engine: answer, record and metrics of requests whose classifiers are isolated.</summary>
public sealed class FailModeEngineTests
{
    private const string Rules = """

          - { id: by-alpha, when: { score: numbers/alpha, at_least: 0.9 }, action: { demote: 0.5 }, reason: A }
          - { id: by-gamma, when: { score: roots/gamma, at_least: 0.9 }, action: block, reason: G }
        """;

    [Fact]
    public void Decide_ClassifierIsDown_ServesWhatItSaidLast()
    {
        using var bench = new EngineBench(EngineBench.Policy("{ numbers/alpha: { fail: open }, roots/gamma: { fail: { last-known: closed } } }", Rules));
        var (_, before) = bench.Decided(request => Page(request, [0.25f, 1f]).Versions("v1", "v1"), candidates: 2);
        bench.Bundles["roots"].Gate.Isolate("test");
        var (_, record) = bench.Decided(request => Page(request, [0f, 0f, 0f]).Versions("v1", "v1", "v1"), candidates: 3);

        Assert.Equal([Recorded.Basis.LastKnown, Recorded.Basis.LastKnown, Recorded.Basis.FailedClosed], record.Bases);
        Assert.Equal([Recorded.Action.Allow, Recorded.Action.Block, Recorded.Action.Block], record.Actions);
        var gamma = record.Classifiers.ToList().FindIndex(static one => one.Name == "roots/gamma");
        Assert.Equal(before.Scores.Skip(gamma * 2).Take(2), record.Scores.Skip(gamma * 3).Take(2));
        Assert.Equal(float.NaN, record.Scores[gamma * 3 + 2]);
        Assert.Equal(Recorded.FailMode.LastKnown, record.Classifiers[gamma].FailMode);
        Assert.Equal(
            [(Recorded.FailMode.Closed, "2"), (Recorded.FailMode.LastKnown, "0 1")],
            record.Degradations.Select(static mark => (mark.FailMode, string.Join(' ', mark.CandidateIndexes))));
        Assert.All(record.Degradations, mark => Assert.Equal(((uint)gamma, Recorded.FailureKind.BreakerOpen), (mark.ClassifierIndex, mark.Failure)));
        Assert.Equal(2, bench.Counts["safetyfilter.degraded_candidates surface=feed classifier=roots/gamma cause=breaker_open mode=last_known"]);
        Assert.Equal(1, bench.Counts["safetyfilter.degraded_candidates surface=feed classifier=roots/gamma cause=breaker_open mode=closed"]);
    }

    [Fact]
    public void Decide_ScoreWasOnlyRecalled_IsNotRememberedAsGiven()
    {
        // The other surface's classifier gives it once; what was recalled since must not make it younger or change it.
        using var bench = new EngineBench(EngineBench.Policy("{ numbers/alpha: { fail: open }, roots/gamma: { fail: { last-known: closed } } }", Rules));
        bench.Decided(request => Page(request, [0.25f]).Versions("v1"));
        bench.Bundles["roots"].Gate.Isolate("test");
        bench.Decided(request => Page(request, [1f]).Versions("v1"));
        bench.Bundles["roots"].Gate.Close("test");
        var (_, given) = bench.Decided(request => Page(request, [1f]).Versions("v1"));
        bench.Bundles["roots"].Gate.Isolate("test");
        var (_, recalled) = bench.Decided(request => Page(request, [0.25f]).Versions("v1"));

        Assert.Equal(Recorded.Basis.Evaluated, given.Bases[0]);
        Assert.Equal((Recorded.Basis.LastKnown, given.Scores[1]), (recalled.Bases[0], recalled.Scores[1]));
    }

    [Fact]
    public void Decide_HardClassifierIsDown_BlocksByTheUnwrittenRule()
    {
        using var bench = new EngineBench(EngineBench.Policy("{ numbers/alpha: { fail: closed, hard: true }, roots/gamma: { fail: closed } }", Rules));
        bench.Bundles["numbers"].Gate.Isolate("test");
        var (_, record) = bench.Decided(request => Page(request, [0f]));

        Assert.Equal(Recorded.Action.Block, record.Actions[0]);
        var rule = record.Rules[(int)record.RuleIndexes[0]];
        Assert.Equal(("unscored", "UNSCORED", Recorded.Action.Block), (rule.Id, rule.ReasonCode, rule.Action));
        Assert.Equal(("numbers/alpha", Recorded.FailMode.Closed), (record.Classifiers[(int)record.Degradations[0].ClassifierIndex].Name, record.Degradations[0].FailMode));
    }

    [Theory]
    [InlineData("block")]
    [InlineData("allow")]
    public void Decide_EveryClassifierIsDown_DoesWhatThePolicySaysOfThatAndMarksIt(string mode)
    {
        var (action, basis, marked) = mode == "block"
            ? (Recorded.Action.Block, Recorded.Basis.FailedClosed, Recorded.FailMode.Closed)
            : (Recorded.Action.Allow, Recorded.Basis.FailedOpen, Recorded.FailMode.Open);
        using var bench = new EngineBench(AllDown(mode));
        Isolate(bench);
        var (_, record) = bench.Decided(request => Page(request, [0f, 0f]), candidates: 2);

        Assert.Equal([action, action], record.Actions);
        Assert.Equal([basis, basis], record.Bases);
        Assert.All(record.RuleIndexes, index => Assert.Equal(("all-down", "ALL_DOWN"), (record.Rules[(int)index].Id, record.Rules[(int)index].ReasonCode)));
        Assert.All(record.Degradations, mark => Assert.Equal((marked, 0), (mark.FailMode, mark.CandidateIndexes.Count)));
        Assert.Equal(1, bench.Counts[$"safetyfilter.all_down surface=feed mode={mode}"]);
    }

    [Fact]
    public void Decide_EveryClassifierIsDown_RefusesWhereThePolicySaysSoAndRecordsNothing()
    {
        using var bench = new EngineBench(AllDown("refuse"));
        bench.Decided(request => Page(request, [0f]));
        Isolate(bench);
        var refusal = bench.Refused(request => Page(request, [0f]));

        Assert.Equal(RefusalKind.ClassifiersDown, refusal.Kind);
        Assert.Equal(
            "Every classifier of surface 'feed' is down, and its policy 'p' gives no answer then. Apply the ranker's own fail mode and try again, or ask another instance.",
            refusal.Message);
        Assert.Equal(1, bench.Counts["safetyfilter.all_down surface=feed mode=refuse"]);
        bench.Bundles["numbers"].Gate.Close("test");
        bench.Decided(request => Page(request, [0f]));
        Assert.Equal(1, bench.Counts["safetyfilter.all_down surface=feed mode=refuse"]);
    }

    [Fact]
    public void Decide_EveryClassifierIsDownAndThePolicySaysNothing_IsCountedAllTheSame()
    {
        using var bench = new EngineBench(EngineBench.Policy("{ numbers/alpha: { fail: open }, roots/gamma: { fail: closed } }", Rules));
        Isolate(bench);
        var (_, record) = bench.Decided(request => Page(request, [0f]));
        Assert.Equal("by-gamma", record.Rules[(int)record.RuleIndexes[0]].Id);
        Assert.Equal(1, bench.Counts["safetyfilter.all_down surface=feed mode=classifiers"]);
    }

    private static string AllDown(string mode) =>
        EngineBench.Policy("{ numbers/alpha: { fail: open }, roots/gamma: { fail: closed } }", Rules) + $"\nall_down: {mode}\n";

    private static void Isolate(EngineBench bench)
    {
        foreach (var bundle in bench.Bundles.Values)
        {
            bundle.Gate.Isolate("test");
        }
    }

    private static BatchBuilder Page(BatchBuilder request, float[] roots) => request
        .Tensor("embedding", [.. roots.Select(static _ => new[] { 0f, 0f })])
        .Tensor("root", [.. roots.Select(static root => new[] { root })]);
}
