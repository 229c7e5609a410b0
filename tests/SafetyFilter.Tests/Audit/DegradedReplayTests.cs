using CsCheck;
using SafetyFilter.Audit;
using SafetyFilter.Decisions;
using SafetyFilter.Tests.Filtering;
using SafetyFilter.Tests.Scoring;
using Recorded = SafetyFilter.Lineage.V1.DecisionRecord.Types;

namespace SafetyFilter.Tests.Audit;

/// <summary>Decisions that rest on fail modes are computed again from their records like all others.</summary>
public sealed class DegradedReplayTests
{
    private const string Rules = """

          - { id: alpha, when: { score: numbers/alpha, at_least: 0.6 }, action: { demote: 0.5 }, reason: A }
          - { id: beta, when: { all: [ { score: numbers/beta, at_least: 0.5 }, { not: { score: roots/gamma, below: 0.4 } } ] }, action: block, reason: B }
          - { id: rehearsal, when: { score: roots/gamma, above: 0.5 }, action: block, reason: S, shadow: true }
        """;

    private static readonly Gen<string> Mode = Gen.OneOf("closed", "open", "{ last-known: closed }", "{ last-known: open }");

    private static readonly Gen<string> Policies =
        from alpha in Mode
        from beta in Mode
        from gamma in Gen.OneOf("closed", "{ last-known: closed }")
        from hard in Gen.Bool
        from down in Gen.OneOf("classifiers", "block", "allow", "refuse")
        from first in Gen.Bool
        select EngineBench.Policy(
            $"{{ numbers/alpha: {{ fail: {alpha} }}, numbers/beta: {{ fail: {beta} }}, roots/gamma: {{ fail: {gamma}, hard: {(hard && down != "allow" ? "true" : "false")} }} }}", Rules)
            + $"\nall_down: {down}\nmatch: {(first ? "first" : "strongest")}\nrecord: {{ inputs: full }}\n";

    /// <param name="Down">Bit 0: bundle numbers, bit 1: bundle roots.</param>
    /// <param name="Version">0: the candidates have none.</param>
    private sealed record Call(int Down, int Version, bool SendsRoot, int First, float[] Roots);

    private static readonly Gen<Call> Calls =
        from down in Gen.Frequency((3, 0), (1, 1), (1, 2), (2, 3))
        from version in Gen.Int[0, 2]
        from sends in Gen.Frequency((5, true), (1, false))
        from first in Gen.Int[0, 40]
        from roots in Gen.Float[-0.4f, 1].Array[1, 70]
        select new Call(down, version, sends, first, roots);

    [Fact]
    public void Replay_RandomDegradedDecisions_ComesOutEqual()
    {
        var bases = new HashSet<Recorded.Basis>();
        var rules = new HashSet<string>(StringComparer.Ordinal);
        var refused = 0;
        Gen.Select(Policies, Calls.Array[5, 30]).Sample(
            (policy, calls) =>
            {
                using var bench = new EngineBench(policy, measured: false);
                foreach (var call in calls)
                {
                    Fail(bench, call.Down);
                    refused += bench.Decide(Request(call), out _) is null ? 0 : 1;
                }

                var records = bench.Records();
                bases.UnionWith(records.SelectMany(static record => record.Bases));
                rules.UnionWith(records.SelectMany(static record => record.RuleIndexes.Select(index => record.Rules[(int)index].Id)));
                using var bundles = new BundleArchive();
                bundles.AddFolder(bench.Folder);
                var report = AuditBench.Replay(ListSource.Of(records), AuditBench.Archive(policy), bundles);
                Assert.True(report.IsEqual(allowMissing: false), AuditBench.Describe(report));
                Assert.Equal((records.Count, records.Count), ((int)report.Decisions, (int)report.Rescored));

                // The same question asked as "what would it have done?".
                var whatIf = Ask(policy, records);
                Assert.Equal((records.Count, 0L), ((int)whatIf.Decisions, whatIf.Changed));
                Assert.Empty(whatIf.Changes);
            },
            iter: 60,
            threads: 1);

        // The random decisions were of every kind that there is.
        Assert.Equal(Enum.GetValues<Recorded.Basis>().Skip(1), bases.Order());
        Assert.Equal(["all-down", "alpha", "beta", "default", "unscored"], rules.Order(StringComparer.Ordinal));
        Assert.True(refused > 0);
    }

    [Fact]
    public void Show_DegradedCandidates_TellsWhatStoodInForTheirScores()
    {
        var policy = EngineBench.Policy("{ numbers/alpha: { fail: open }, numbers/beta: { fail: closed, hard: true }, roots/gamma: { fail: { last-known: closed } } }", Rules);
        using var bench = new EngineBench(policy, measured: false);
        bench.Decide(Request(new Call(0, 1, SendsRoot: true, 0, [0.5f])), out _);
        Fail(bench, 3);
        bench.Decide(Request(new Call(3, 1, SendsRoot: true, 0, [0.5f, 0.5f])), out var receipt);
        var policies = Directory.CreateDirectory(Path.Combine(bench.Folder, "policies"));
        File.WriteAllText(Path.Combine(policies.FullName, "p.yaml"), policy);

        var (code, text, error) = AuditRun.Run(
            "show", "--sequence", $"{receipt.Sequence}", "--policies", policies.FullName, bench.Ledger.StreamFolder);

        // Nothing has signed it yet.
        Assert.True(code == 1, error);
        foreach (var fact in (string[])[
            "unscored: a hard classifier gave no score", "reason:    UNSCORED, severity medium", "basis:     failed closed",
            "numbers/alpha: none, breaker open; it fails open", "numbers/beta: none, breaker open; it fails closed",
            "(remembered: breaker open)", "roots/gamma: none, breaker open; it fails closed"])
        {
            Assert.Contains(fact, text, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Replay_MarkThatWasTakenOff_IsADifference()
    {
        var policy = EngineBench.Policy("{ numbers/alpha: { fail: open }, numbers/beta: { fail: open }, roots/gamma: { fail: { last-known: closed } } }", Rules);
        using var bench = new EngineBench(policy, measured: false);
        bench.Decide(Request(new Call(0, 1, SendsRoot: true, 0, [0.5f])), out _);
        Fail(bench, 2);
        bench.Decide(Request(new Call(2, 1, SendsRoot: true, 0, [0.5f])), out _);
        var record = bench.Records()[^1];
        record.Degradations.Clear();

        var report = AuditBench.Replay(ListSource.Of(record), AuditBench.Archive(policy));

        Assert.Equal(("basis", "LastKnown", "Evaluated"), Assert.Single(report.Differences.Select(static one => (one.Field, one.Recorded, one.Recomputed))));
    }

    [Fact]
    public void WhatIf_PolicyWithoutLastKnown_DoesNotUseWhatWasRemembered()
    {
        const string Classifiers = "{ numbers/alpha: { fail: open }, numbers/beta: { fail: open }, roots/gamma: { fail: { last-known: closed } } }";
        const string Rule = """

              - { id: gamma, when: { score: roots/gamma, at_least: 0.9 }, action: block, reason: G }
            """;
        using var bench = new EngineBench(EngineBench.Policy(Classifiers, Rule), measured: false);
        bench.Decide(Request(new Call(0, 1, SendsRoot: true, 0, [0.25f])), out _);
        Fail(bench, 2);
        bench.Decide(Request(new Call(2, 1, SendsRoot: true, 0, [0.25f])), out _);

        var report = Ask(EngineBench.Policy(Classifiers.Replace("{ last-known: closed }", "closed", StringComparison.Ordinal), Rule), bench.Records());

        var change = Assert.Single(report.Changes);
        Assert.Equal(("default", "gamma", ChangeDirection.Stricter, 1L), (change.Key.OldRule, change.Key.NewRule, change.Key.Direction, (long)change.Value.Count));
    }

    [Fact]
    public void WhatIf_PolicyThatRefusesWhenAllAreDown_SaysThatItWouldGiveNoAnswer()
    {
        var policy = EngineBench.Policy("{ numbers/alpha: { fail: open }, numbers/beta: { fail: open }, roots/gamma: { fail: open } }", Rules);
        using var bench = new EngineBench(policy, measured: false);
        Fail(bench, 3);
        bench.Decide(Request(new Call(3, 0, SendsRoot: true, 0, [0.5f])), out _);

        var report = Ask(policy + "\nall_down: refuse\n", bench.Records());

        Assert.Equal("every classifier was down, and the policy gives no answer then", Assert.Single(report.NotRecomputable).Key);
    }

    private static void Fail(EngineBench bench, int down)
    {
        foreach (var (name, bit) in new[] { ("numbers", 1), ("roots", 2) })
        {
            var bundle = bench.Bundles[name];
            if ((down & bit) != 0)
            {
                bundle.Gate.Isolate("test");
            }
            else if (bundle.State != BreakerState.Closed)
            {
                bundle.Gate.Close("test");
            }
        }
    }

    private static Decision Request(Call call)
    {
        var rows = Enumerable.Range(0, call.Roots.Length).ToArray();
        var decision = new Decision();
        var builder = new BatchBuilder(decision.Batch, [.. rows.Select(row => $"content-{call.First + row}")])
            .Request(surface: "feed")
            .Tensor("embedding", [.. rows.Select(row => new[] { call.Roots[row], -call.Roots[^(row + 1)] })]);
        _ = call.SendsRoot ? builder.Tensor("root", [.. rows.Select(row => row % 7 == 6 ? null : new[] { call.Roots[row] })]) : builder;
        _ = call.Version == 0 ? builder : builder.Versions([.. rows.Select(row => row % 5 == 4 ? "" : $"v{call.Version}")]);
        builder.Build();
        return decision;
    }

    private static WhatIfReport Ask(string proposed, IEnumerable<Lineage.V1.DecisionRecord> records)
    {
        var (policies, errors) = ArchivedPolicy.Read(new SafetyFilter.Policy.PolicySource("new.yaml", proposed));
        Assert.Empty(errors);
        var question = new WhatIfQuestion(policies, AuditBench.Archive(proposed), null, null, 0, 2);
        var report = new WhatIfReport(2);
        var scan = new DecisionScan<WhatIfWork>(ListSource.Of(records), 1, () => new WhatIfWork(question, null), work => report.Take(work.Report));
        Assert.Null(scan.Run(CancellationToken.None));
        return report;
    }
}
