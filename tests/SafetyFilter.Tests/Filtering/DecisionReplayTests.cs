using CsCheck;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Filtering;

/// <summary>What a record must be good for: deciding again, and telling which policy decided.</summary>
public sealed class DecisionReplayTests
{
    private static readonly string Rich = EngineBench.Policy(
        "{ numbers/alpha: { fail: open }, numbers/beta: { fail: closed }, roots/gamma: { fail: open } }",
        """
        
          - { id: both, when: { all: [ { score: numbers/alpha, at_least: 0.4 }, { score: roots/gamma, above: 0.3 } ] }, action: block, reason: B }
          - { id: new-creator, when: { all: [ { score: numbers/beta, at_least: 0.5 }, { attribute: tier, in: [new] } ] }, action: { demote: 0.5 }, reason: N }
          - { id: young, when: { all: [ { score: numbers/beta, at_least: 0.3 }, { viewer: age_band, in: ["13-17"] } ] }, action: { age-restrict: 18 }, reason: Y }
          - { id: english, when: { all: [ { language: [en] }, { score: roots/gamma, at_least: 0.6 } ] }, action: { label: loud }, reason: E }
          - { id: aged, when: { all: [ { attribute: age_days, below: 7 }, { attribute: verified, is: true } ] }, action: { label: fresh }, reason: A }
          - { id: rehearsal, when: { score: numbers/alpha, at_least: 0.2 }, action: block, reason: S, shadow: true }
        """);

    private sealed record Row(float X, float Y, float Root, bool HasRoot, string Tier, string Language, double Age, bool Verified);

    [Fact]
    public void Decide_RecordedScoresAttributesAndViewer_GiveTheRecordedVerdictsAgain()
    {
        using var bench = new EngineBench(Rich);
        var policy = bench.Compile(Rich).Surfaces[0];
        var row = from x in Gen.Float[-1, 1]
                  from y in Gen.Float[-1, 1]
                  from root in Gen.Float[-0.3f, 1]
                  from hasRoot in Gen.Int[0, 5]
                  from tier in Gen.OneOf("new", "old", "")
                  from language in Gen.OneOf("en", "de", "")
                  from age in Gen.OneOf(1, 30, double.NaN)
                  from verified in Gen.Bool
                  select new Row(x, y, root, hasRoot > 0, tier, language, age, verified);
        Gen.Select(row.Array[1, 70], Gen.OneOf("13-17", "adult", "")).Sample(
            (rows, age) =>
            {
                var (decision, record) = bench.Decided(
                    request => request
                        .Tensor("embedding", [.. rows.Select(static r => new[] { r.X, r.Y })])
                        .Tensor("root", DataType.Float32, [1], [.. rows.Select(static r => r.HasRoot ? new[] { r.Root } : null)])
                        .Attribute("tier", [.. rows.Select(static r => r.Tier)])
                        .Attribute("age_days", [.. rows.Select(static r => r.Age)])
                        .Attribute("verified", [.. rows.Select(static r => r.Verified)])
                        .Languages([.. rows.Select(static r => r.Language)])
                        .Viewer(ageBand: age),
                    rows.Length);
                var (batch, scores) = Replay(record);
                var verdicts = new Verdicts();
                policy.Decide(batch, scores, (long)(record.TimeUnixNanos / 1_000_000), verdicts);

                Assert.Equal(record.Actions.Select(static action => (int)action), verdicts.Actions.ToArray().Select(static action => (int)action));
                Assert.Equal(record.Bases.Select(static basis => (int)basis), verdicts.Bases.ToArray().Select(static basis => (int)basis));
                Assert.Equal(
                    record.RuleIndexes.Select(index => record.Rules[(int)index].Id), verdicts.Rules.ToArray().Select(rule => policy.Rules[rule].Id));
                Assert.Equal(record.Margins.Select(BitConverter.SingleToUInt32Bits), verdicts.Margins.ToArray().Select(BitConverter.SingleToUInt32Bits));
                Assert.Equal(
                    record.Shadows.SelectMany(static shadow => shadow.CandidateIndexes).Select(static index => (int)index),
                    Enumerable.Range(0, rows.Length).Where(candidate => Bitmap.Get(verdicts.Shadow(0), candidate)));
                Assert.Equal(policy.Revision, record.PolicyRevision);
                Assert.Equal((uint)rows.Length, record.CandidateCount);
            },
            iter: 60,
            threads: 1);
    }

    [Fact]
    public void Decide_SnapshotSwappedBetweenRequests_RecordsTheOneThatDecided()
    {
        var (first, second) = (Naming("one"), Naming("two"));
        using var bench = new EngineBench(first);
        var (_, before) = bench.Decided(static request => request.Tensor("embedding", [1f, 0]));
        bench.Serving.Swap(bench.Snapshot(second));
        var (_, after) = bench.Decided(static request => request.Tensor("embedding", [1f, 0]));

        Assert.Equal((bench.Compile(first).Surfaces[0].Revision, "one"), (before.PolicyRevision, before.Rules[1].Id));
        Assert.Equal((bench.Compile(second).Surfaces[0].Revision, "two"), (after.PolicyRevision, after.Rules[1].Id));
        Assert.NotEqual(before.PolicyRevision, after.PolicyRevision);
    }

    [Fact]
    public void Decide_SnapshotSwappedUnderRequests_NeverMixesTwo()
    {
        var (first, second) = (Naming("one"), Naming("two"));
        using var bench = new EngineBench(first);
        ServingSnapshot[] snapshots = [bench.Snapshot(first), bench.Snapshot(second)];
        var ruleOf = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            [bench.Compile(first).Surfaces[0].Revision] = "one",
            [bench.Compile(second).Surfaces[0].Revision] = "two",
        };
        var swapping = true;
        var callers = Enumerable.Range(0, 2).Select(_ => new Thread(() =>
        {
            var record = new ProtoWriter();
            var decision = EngineBench.Request(static request => request.Tensor("embedding", [1f, 0]));
            while (Volatile.Read(ref swapping))
            {
                bench.Engine.Decide(decision, record, out var receipt);
            }
        })).ToList();
        callers.ForEach(static caller => caller.Start());
        for (var swap = 0; swap < 100; swap++)
        {
            bench.Serving.Swap(snapshots[swap % 2]);

            // Of four more records at least two began after the swap.
            var enough = bench.Ledger.LastSequence + 4;
            Assert.True(SpinWait.SpinUntil(() => bench.Ledger.LastSequence >= enough, TimeSpan.FromSeconds(30)));
        }

        Volatile.Write(ref swapping, false);
        callers.ForEach(static caller => caller.Join());
        var records = bench.Records();
        Assert.All(records, record => Assert.Equal(ruleOf[record.PolicyRevision], record.Rules[1].Id));
        Assert.Equal(2, records.Select(static record => record.PolicyRevision).Distinct(StringComparer.Ordinal).Count());
    }

    [Fact]
    public void Decide_SteadyState_AllocatesNothing()
    {
        // Without listeners on the meter, as a listener's tags are its own cost.
        using var watchdog = new RunWatchdog();
        using var bench = new EngineBench(Rich, measured: false, watchdog: watchdog);
        var decision = EngineBench.Request(
            static request => request
                .Tensor("embedding", [.. Enumerable.Range(0, 100).Select(static i => new[] { i * 0.01f, 0 })])
                .Tensor("root", [.. Enumerable.Range(0, 100).Select(static i => new[] { i * 0.01f })]),
            candidates: 100);
        Assert.Null(bench.Decide(decision, out _));

        Assert.Equal(0, AllocatedBytes.Of(50, () => bench.Decide(decision, out _)));
    }

    private static string Naming(string rule) => EngineBench.Policy(
        "{ numbers/alpha: { fail: open } }",
        $$"""
        
          - { id: {{rule}}, when: { score: numbers/alpha, at_least: 0.9 }, action: block, reason: R }
        """);

    // From the record alone, as an auditor would.
    private static (CandidateBatch Batch, ScoreTable Scores) Replay(DecisionRecord record)
    {
        var builder = BatchBuilder.Of((int)record.CandidateCount).Viewer(record.Territory, record.AgeBand, record.Experiment);
        foreach (var attribute in record.Attributes)
        {
            _ = attribute switch
            {
                { Name: "language" } => builder.Languages([.. attribute.Strings]),
                { Strings.Count: > 0 } => builder.Attribute(attribute.Name, [.. attribute.Strings]),
                { Numbers.Count: > 0 } => builder.Attribute(attribute.Name, [.. attribute.Numbers]),
                _ => builder.Attribute(attribute.Name, [.. attribute.Flags]),
            };
        }

        var scores = new ScoreTable();
        scores.Reset(record.Classifiers.Count, (int)record.CandidateCount);
        for (var cell = 0; cell < record.Scores.Count; cell++)
        {
            var (classifier, candidate) = (cell / (int)record.CandidateCount, cell % (int)record.CandidateCount);
            scores.Row(classifier)[candidate] = record.Scores[cell];
            if (float.IsNaN(record.Scores[cell]))
            {
                scores.Fail(classifier, candidate, FailureKind.Error);
            }
        }

        return (builder.Build(), scores);
    }
}
