using SafetyFilter.Audit;
using SafetyFilter.Decisions;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Filtering;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Audit;

public sealed class WhatIfTests : IDisposable
{
    private readonly EngineBench _bench = new(AuditBench.Rich, measured: false);

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void WhatIf_AnotherThreshold_CountsAsARecountByHand(int workers)
    {
        AuditBench.Decide(_bench, 120);
        var proposed = AuditBench.Rich
            .Replace("numbers/alpha, at_least: 0.4", "numbers/alpha, at_least: 0.55", StringComparison.Ordinal)
            .Replace("demote: 0.5", "demote: 0.3", StringComparison.Ordinal)
            .Replace("age-restrict: 18", "age-restrict: 16", StringComparison.Ordinal);

        var report = Ask(proposed, _bench.Records(), workers: workers);

        var (changes, rules) = RecountByHand(proposed);
        Assert.Equal(changes.Count, report.Changed + report.Changes.Where(static one => one.Key.Direction == ChangeDirection.RuleOnly).Sum(static one => one.Value.Count));
        foreach (var group in changes.GroupBy(static change => change))
        {
            var found = report.Changes.Where(one => (one.Key.Surface, one.Key.OldRule, one.Key.NewRule, one.Key.OldAction, one.Key.NewAction) == group.Key).ToList();
            Assert.Equal(group.Count(), Assert.Single(found).Value.Count);
        }

        Assert.Equal(rules, report.Surfaces.Sum(static surface => surface.Value.After.Sum()));
        Assert.Empty(report.NotRecomputable);
        Assert.All(report.Changes, static change => Assert.InRange(change.Value.Examples.Count, 1, 2));
        var laxer = report.Changes.First(static one => one.Key is { OldRule: "both", NewAction: CandidateAction.Allow });
        Assert.Equal(ChangeDirection.Laxer, laxer.Key.Direction);
        Assert.Equal("numbers/alpha is at least 0.4 and roots/gamma is above 0.3", laxer.Value.Examples[0].OldCondition);
        Assert.Contains(laxer.Value.Examples[0].Scores, static score => score is { Classifier: "numbers/alpha", Score: >= 0.4f and < 0.55f });
        Assert.Equal(ChangeDirection.Stricter, report.Changes.First(static one => one.Key is { OldRule: "new-creator", NewRule: "new-creator" }).Key.Direction);
        Assert.Equal(ChangeDirection.Laxer, report.Changes.First(static one => one.Key is { OldRule: "young", NewRule: "young" }).Key.Direction);
    }

    [Fact]
    public void WhatIf_TheSamePolicy_ChangesNothing()
    {
        AuditBench.Decide(_bench, 30);

        var report = Ask(AuditBench.Rich, _bench.Records());

        Assert.Empty(report.Changes);
        Assert.Equal((30L, 0L), (report.Decisions, report.Changed));
        Assert.All(report.Surfaces.Values, static surface => Assert.Equal(surface.Before, surface.After));
    }

    [Fact]
    public void WhatIf_OneSurface_LeavesTheOthersOut()
    {
        AuditBench.Decide(_bench, 30);
        var records = _bench.Records();

        var report = Ask(AuditBench.Rich, records, surface: "home");

        Assert.Equal((records.Count(static one => one.Surface == "home"), records.Count(static one => one.Surface == "feed")), ((int)report.Decisions, (int)report.Elsewhere));
        Assert.Equal("home", Assert.Single(report.Surfaces).Key);
    }

    [Fact]
    public void WhatIf_ClassifierThatWasNotRecorded_IsToldAndNotGuessed()
    {
        AuditBench.Decide(_bench, 4);
        var proposed = AuditBench.Rich.Replace("roots/gamma", "roots/delta", StringComparison.Ordinal);

        var report = Ask(proposed, _bench.Records());

        Assert.Equal(("classifier roots/delta is not recorded", 4L), (report.NotRecomputable.Single().Key, report.NotRecomputable.Single().Value));
        Assert.Equal(0, report.Decisions);
    }

    [Fact]
    public void WhatIf_AttributeThatTheOldPolicyDidNotRead_IsNotTakenAsAbsent()
    {
        AuditBench.Decide(_bench, 4);
        var proposed = AuditBench.Rich.Replace("attribute: tier,", "attribute: topic,", StringComparison.Ordinal);

        var report = Ask(proposed, _bench.Records());

        Assert.Equal("attribute topic is not recorded", Assert.Single(report.NotRecomputable).Key);
    }

    [Fact]
    public void WhatIf_RuleThatHasExpiredSince_IsCountedApart()
    {
        var expiring = AuditBench.Rich.Replace("reason: B, severity: high", "reason: B, expires: 2030-01-01", StringComparison.Ordinal);
        using var bench = new EngineBench(expiring, measured: false);
        AuditBench.Decide(bench, 40);
        var records = bench.Records();
        var blocked = records.Sum(static record => record.RuleIndexes.Count(index => record.Rules[(int)index].Id == "both"));
        Assert.True(blocked > 0);
        var later = new DateTimeOffset(2031, 1, 1, 0, 0, 0, TimeSpan.Zero).ToUnixTimeMilliseconds();

        var atTheTime = Ask(expiring, records, now: later);
        var asOfLater = Ask(expiring, records, now: later, asOf: later);

        Assert.Equal((0L, (long)blocked), (atTheTime.Changed, atTheTime.ChangedByExpiry));
        Assert.Equal((long)blocked, asOfLater.Changes.Where(static one => one.Key.OldRule == "both").Sum(static one => one.Value.Count));
    }

    private static WhatIfReport Ask(
        string proposed, IEnumerable<DecisionRecord> records, string? surface = null, int workers = 1, long now = 0, long? asOf = null)
    {
        var (policies, errors) = ArchivedPolicy.Read(new SafetyFilter.Policy.PolicySource("new.yaml", proposed));
        Assert.Empty(errors);
        var recorded = AuditBench.Archive(AuditBench.Rich, AuditBench.Rich.Replace("reason: B, severity: high", "reason: B, expires: 2030-01-01", StringComparison.Ordinal));
        var question = new WhatIfQuestion(policies, recorded, surface, asOf, now, 2);
        var report = new WhatIfReport(2);
        var scan = new DecisionScan<WhatIfWork>(ListSource.Of(records), workers, () => new WhatIfWork(question, null), work => report.Take(work.Report));
        Assert.Null(scan.Run(CancellationToken.None));
        return report;
    }

    // By another way: generated messages, one decision of the compiled policy each, rule ids compared candidate by candidate.
    private (List<(string Surface, string Old, string New, CandidateAction OldAction, CandidateAction NewAction)> Changes, long Candidates) RecountByHand(string proposed)
    {
        var policy = _bench.Compile(proposed).Surfaces[0];
        var changes = new List<(string, string, string, CandidateAction, CandidateAction)>();
        var candidates = 0L;
        foreach (var record in _bench.Records())
        {
            var count = (int)record.CandidateCount;
            var batch = BatchBuilder.Of(count).Viewer(record.Territory, record.AgeBand, record.Experiment);
            foreach (var attribute in record.Attributes)
            {
                _ = attribute.Name == "language" ? batch.Languages([.. attribute.Strings])
                    : attribute.Strings.Count > 0 ? batch.Attribute(attribute.Name, [.. attribute.Strings])
                    : attribute.Numbers.Count > 0 ? batch.Attribute(attribute.Name, [.. attribute.Numbers])
                    : batch.Attribute(attribute.Name, [.. attribute.Flags]);
            }

            var scores = new ScoreTable();
            scores.Reset(record.Classifiers.Count, count);
            for (var cell = 0; cell < record.Scores.Count; cell++)
            {
                scores.Row(cell / count)[cell % count] = record.Scores[cell];
            }

            var verdicts = new Verdicts();
            policy.Decide(batch.Build(), scores, (long)(record.TimeUnixNanos / 1_000_000), verdicts);
            for (var candidate = 0; candidate < count; candidate++)
            {
                candidates++;
                var old = record.Rules[(int)record.RuleIndexes[candidate]];
                var now = policy.Rules[verdicts.Rules[candidate]];
                if (old.Id != now.Id || old.DemoteFactor != now.DemoteFactor || old.MinimumAge != (uint)now.MinimumAge)
                {
                    changes.Add((record.Surface, old.Id, now.Id, (CandidateAction)(int)old.Action, now.Action));
                }
            }
        }

        return (changes, candidates);
    }
}
