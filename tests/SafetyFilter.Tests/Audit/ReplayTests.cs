using Google.Protobuf;
using SafetyFilter.Audit;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Filtering;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Audit;

public sealed class ReplayTests : IDisposable
{
    private readonly EngineBench _bench = new(AuditBench.Rich, measured: false);

    public void Dispose() => _bench.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public void Replay_WhatTheEngineDecided_IsEqual(int workers)
    {
        AuditBench.Decide(_bench, 300);
        Assert.True(SpoolSource.TryOpen(_bench.Ledger.StreamFolder, out var source, out _));

        var report = AuditBench.Replay(source, AuditBench.Archive(AuditBench.Rich), workers: workers);

        Assert.True(report.IsEqual(allowMissing: false), AuditBench.Describe(report));
        Assert.Equal((300L, 300L), (report.Decisions, report.Equal));
        Assert.Equal(_bench.Records().Sum(static record => record.CandidateCount), report.Candidates);
    }

    [Fact]
    public void Replay_EachKindOfInjectedDifference_IsListed()
    {
        AuditBench.Decide(_bench, 60);
        var victim = _bench.Records().First(static record => record.Rules.Count > 2 && record.Shadows.Count > 0 && record.CandidateCount > 20);
        var block = victim.Actions.IndexOf(DecisionRecord.Types.Action.Block);
        Assert.True(block >= 0);

        AssertDifference("action", block, record => record.Actions[block] = DecisionRecord.Types.Action.Allow);
        AssertDifference("rule", block, record => record.RuleIndexes[block] = 0);
        AssertDifference("margin", block, record => record.Margins[block] = MathF.BitIncrement(record.Margins[block]));
        AssertDifference("basis", 3, record => record.Bases[3] = record.Bases[3] == DecisionRecord.Types.Basis.Evaluated
            ? DecisionRecord.Types.Basis.FailedOpen
            : DecisionRecord.Types.Basis.Evaluated);
        AssertDifference("margin", block, record => record.Scores[block] = MathF.BitIncrement(record.Scores[block]), alsoOther: true);
        AssertDifference("action", block, record => record.Scores[block] = 0, alsoOther: true);
        AssertDifference("terms of rule both", -1, static record => record.Rules.Single(static rule => rule.Id == "both").ReasonCode = "OTHER", needs: "both");
        AssertDifference("shadow rehearsal", null, static record => record.Shadows[0].CandidateIndexes.RemoveAt(0));
        AssertDifference("policy", -1, static record => record.Policy = "q");
        AssertDifference("surface", -1, static record => record.Surface = "elsewhere");
        AssertDifference("classifiers", -1, static record => record.Classifiers[0].FailMode = DecisionRecord.Types.FailMode.Closed);

        void AssertDifference(string field, int? candidate, Action<DecisionRecord> change, bool alsoOther = false, string? needs = null)
        {
            var record = (needs is null ? victim : _bench.Records().First(one => one.Rules.Any(rule => rule.Id == needs))).Clone();
            change(record);
            var report = AuditBench.Replay(ListSource.Of(record), AuditBench.Archive(AuditBench.Rich));
            Assert.False(report.IsEqual(allowMissing: true));
            Assert.Equal((1L, 0L), (report.Different, report.Equal));
            Assert.Contains(report.Differences, one => one.Field == field && (candidate is null || one.Candidate == candidate));
            Assert.True(alsoOther || report.Differences.All(one => one.Field == field), AuditBench.Describe(report));
        }
    }

    [Fact]
    public void Replay_PolicyNotAtHand_IsNotRecomputableAndNotEqual()
    {
        AuditBench.Decide(_bench, 5);

        var report = AuditBench.Replay(ListSource.Of(_bench.Records()), new PolicyArchive());

        Assert.Equal((0L, 0L, 5L), (report.Equal, report.Different, report.NotRecomputable["policy not found"].Count));
        Assert.Equal((false, true), (report.IsEqual(allowMissing: false), report.IsEqual(allowMissing: true)));
    }

    [Fact]
    public void Replay_ActivationInTheStream_BringsThePolicy()
    {
        AuditBench.Decide(_bench, 5);
        var policy = _bench.Compile(AuditBench.Rich).Surfaces[0];
        var activation = new Activation { Policy = "p", PolicyRevision = policy.Revision, Canonical = policy.Canonical };

        var report = AuditBench.Replay(
            new ListSource([(RecordType.Activation, activation.ToByteArray()), .. _bench.Records().Select(static record => (RecordType.Decision, record.ToByteArray()))]),
            new PolicyArchive());

        Assert.True(report.IsEqual(allowMissing: false), AuditBench.Describe(report));
    }

    [Fact]
    public void Replay_ActivationWhoseTextIsNotItsRevision_IsNotBelieved()
    {
        AuditBench.Decide(_bench, 1);
        var policy = _bench.Compile(AuditBench.Rich).Surfaces[0];
        var activation = new Activation { PolicyRevision = policy.Revision, Canonical = policy.Canonical.Replace("0.4", "0.5", StringComparison.Ordinal) };
        var archive = new PolicyArchive();
        archive.AddActivation(activation.ToByteArray());

        Assert.Equal(0, archive.Count);
        Assert.Contains(policy.Revision, Assert.Single(archive.Problems), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("attributes.tier")]
    [InlineData("viewer.age_band")]
    [InlineData("languages")]
    public void Replay_FieldThatRulesReadIsMasked_IsNotRecomputable(string path)
    {
        AuditBench.Decide(_bench, 1);
        var record = _bench.Records().Single();
        record.Masked.Add(path);

        var report = AuditBench.Replay(ListSource.Of(record), AuditBench.Archive(AuditBench.Rich));

        Assert.Equal($"withheld: {path}", Assert.Single(report.NotRecomputable).Key);
        Assert.Equal(0, report.DifferenceCount);
    }

    [Fact]
    public void Replay_MaskedIdsAndTerritory_AreNoneOfItsBusiness()
    {
        AuditBench.Decide(_bench, 3);
        var records = _bench.Records();
        foreach (var record in records)
        {
            record.Masked.Add(["candidate_ids", "viewer.territory", "request_id"]);
            record.CandidateIds.Clear();
            (record.Territory, record.RequestId) = ("", "");
        }

        var report = AuditBench.Replay(ListSource.Of(records), AuditBench.Archive(AuditBench.Rich));

        Assert.True(report.IsEqual(allowMissing: false), AuditBench.Describe(report));
    }

    [Fact]
    public void Replay_BytesThatAreNoRecord_AreUnreadableAndNoException()
    {
        AuditBench.Decide(_bench, 20);
        var random = new Random(1);
        var broken = new List<(RecordType, byte[])>();
        foreach (var record in _bench.Records())
        {
            var bytes = record.ToByteArray();
            for (var hit = 0; hit < 200; hit++)
            {
                var copy = bytes.AsSpan(0, hit % 3 == 0 ? random.Next(bytes.Length) : bytes.Length).ToArray();
                for (var i = random.Next(1, 4); i > 0 && copy.Length > 0; i--)
                {
                    copy[random.Next(copy.Length)] = (byte)random.Next(256);
                }

                broken.Add((RecordType.Decision, copy));
            }
        }

        var report = AuditBench.Replay(new ListSource(broken), AuditBench.Archive(AuditBench.Rich));

        Assert.True(report.NotRecomputable["unreadable"].Count > 100);
        Assert.False(report.IsEqual(allowMissing: false));
    }

    [Fact]
    public void Replay_TheSameRecordsAgain_AreTakenOnce()
    {
        AuditBench.Decide(_bench, 5);

        var report = AuditBench.Replay(ListSource.Of([.. _bench.Records(), .. _bench.Records()]), AuditBench.Archive(AuditBench.Rich));

        Assert.Equal(5, report.Decisions);
    }

    [Fact]
    public void Replay_SequencesGivenAgainByALaterEpoch_AreOtherRecords()
    {
        AuditBench.Decide(_bench, 5);
        var again = _bench.Records();
        again.ForEach(static record => record.Epoch++);

        var report = AuditBench.Replay(ListSource.Of([.. _bench.Records(), .. again]), AuditBench.Archive(AuditBench.Rich));

        Assert.Equal(10, report.Decisions);
    }

    [Fact]
    public void TryRead_SteadyState_AllocatesNothing()
    {
        AuditBench.Decide(_bench, 20);
        var records = _bench.Records().ConvertAll(static record => record.ToByteArray());
        using var bundles = new BundleArchive();
        var work = new ReplayWork(AuditBench.Archive(AuditBench.Rich), bundles, null, 10);

        // A policy's name as bytes per decision, nothing per candidate.
        Assert.InRange(AllocatedBytes.Of(1, () => records.ForEach(record => work.Take(record))) / records.Count, 0, 64);
    }
}
