using Google.Protobuf;
using SafetyFilter.Audit;
using SafetyFilter.Filtering;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Filtering;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Audit;

/// <summary>Records of decisions for which some scores were remembered, in an auditor's hands.</summary>
public sealed class RememberedReplayTests : IDisposable
{
    private static readonly string Policy = EngineBench.Policy(
        "{ numbers/alpha: { fail: open }, numbers/beta: { fail: closed }, roots/gamma: { fail: open } }",
        """

          - { id: both, when: { all: [ { score: numbers/alpha, at_least: 0.4 }, { score: roots/gamma, above: 0.3 } ] }, action: block, reason: B }
        """) + "\nverdict_cache: on\nrecord: { inputs: full }\n";

    private readonly VerdictCache _cache = new(new VerdictCacheOptions(), TimeProvider.System);
    private readonly EngineBench _bench;
    private readonly BundleArchive _bundles = new();

    public RememberedReplayTests()
    {
        _bench = new EngineBench(Policy, measured: false, verdicts: _cache);
        _bundles.AddFolder(_bench.Folder);
        for (var page = 0; page < 4; page++)
        {
            Decide(page * 5);
        }
    }

    public void Dispose()
    {
        _bundles.Dispose();
        _bench.Dispose();
        _cache.Dispose();
    }

    [Fact]
    public void Replay_SomeRemembered_RunsTheOthersAgainBitForBitAndChecksTheRemembered()
    {
        var report = Replay(_bench.Records());

        Assert.True(report.IsEqual(allowMissing: false), AuditBench.Describe(report));

        // 15 of a page's 20 were on the one before, under three classifiers.
        Assert.Equal((4L, 4L, 3L * (15 + 15 + 15)), (report.Rescored, report.Equal, report.Remembered));
    }

    [Fact]
    public void Replay_ScoreOfTheRunOffByOneBit_IsListed()
    {
        var record = _bench.Records()[^1];
        record.Scores[17] = MathF.BitIncrement(record.Scores[17]);

        var report = Replay([record]);

        Assert.Contains(report.Differences, static one => one is { Field: "score numbers/alpha", Candidate: 17 });
    }

    [Fact]
    public void Replay_RememberedScoreOfAnotherContent_IsListed()
    {
        var record = _bench.Records()[^1];
        record.Scores[3] = 0.123f;

        var report = Replay([record]);

        Assert.Contains(report.Differences, static one => one is { Field: "remembered score numbers/alpha", Candidate: 3 });
    }

    [Fact]
    public void Replay_RememberedBesideABreakerThatWasOpen_AreCheckedAllTheSame()
    {
        _bench.Bundles["numbers"].Gate.Open(SafetyFilter.Decisions.BreakerReason.Failures, SafetyFilter.Decisions.FailureKind.Error, TimeSpan.FromHours(1));
        Decide(20);
        var record = _bench.Records()[^1];

        Assert.Equal(DecisionRecord.Types.FailureKind.BreakerOpen, record.Bundles[0].Failure);
        Assert.True(Replay([record]).IsEqual(allowMissing: false));
        record.Scores[0] = 0.123f;
        Assert.False(Replay([record]).IsEqual(allowMissing: false));
    }

    [Fact]
    public void Replay_RememberedWithoutAContentVersion_IsListed()
    {
        var record = _bench.Records()[^1];
        record.ContentVersions[3] = "";

        var report = Replay([record]);

        Assert.Equal(["numbers", "roots"], report.Differences.Where(static one => one is { Field: "remembered", Candidate: 3 }).Select(static one => one.Recorded.Split(' ')[^1]));
        Assert.Equal(2, report.DifferenceCount);
    }

    [Fact]
    public void Replay_RememberedUnderAPolicyWithoutTheCache_IsListed()
    {
        var off = Policy.Replace("verdict_cache: on", "verdict_cache: off", StringComparison.Ordinal);
        var record = _bench.Records()[^1];
        record.PolicyRevision = _bench.Compile(off).Policies[0].Revision;

        var report = AuditBench.Replay(ListSource.Of([record]), AuditBench.Archive(off), _bundles);

        Assert.Equal(2 * 15, report.DifferenceCount);
        Assert.All(report.Differences, static one => Assert.Equal(("remembered", "none, because the policy does not say verdict_cache: on"), (one.Field, one.Recomputed)));
    }

    [Fact]
    public void Replay_VersionsAreMasked_RememberedAreTakenAsTheyAre()
    {
        var record = _bench.Records()[^1];
        record.ContentVersions.Clear();
        record.Masked.Add("content_versions");

        Assert.True(Replay([record]).IsEqual(allowMissing: false));
    }

    [Fact]
    public void TryRead_RememberedPastTheLastCandidate_IsUnreadable()
    {
        var record = _bench.Records()[^1];
        var bits = record.Bundles[0].Remembered.ToByteArray();
        bits[^1] |= 0x10;
        record.Bundles[0].Remembered = ByteString.CopyFrom(bits);

        var problem = new RecordedDecision().TryRead(record.ToByteArray());

        Assert.Contains("past the last of 20: its last byte is 0x10", problem, StringComparison.Ordinal);
    }

    [Fact]
    public void TryRead_RememberedOfAnotherLength_IsUnreadable()
    {
        var record = _bench.Records()[^1];
        record.Bundles[0].Remembered = ByteString.CopyFrom(1, 2);

        var problem = new RecordedDecision().TryRead(record.ToByteArray());

        Assert.Contains("2 bytes of remembered candidates for 20 candidates", problem, StringComparison.Ordinal);
    }

    [Fact]
    public void Show_RememberedScore_IsToldBesideIt()
    {
        var record = _bench.Records()[^1];

        var (_, text, _) = AuditRun.Run("show", "--sequence", $"{record.Sequence}", "--candidate", "c15", _bench.Ledger.StreamFolder);
        var (_, fresh, _) = AuditRun.Run("show", "--sequence", $"{record.Sequence}", "--candidate", "c33", _bench.Ledger.StreamFolder);
        var (_, json, _) = AuditRun.Run("show", "--sequence", $"{record.Sequence}", "--json", _bench.Ledger.StreamFolder);

        const string Told = "score remembered from an earlier run of the same content version and bundle";
        Assert.Equal(3, text.Split('\n').Count(static line => line.Contains(Told, StringComparison.Ordinal)));
        Assert.Contains("the scores of 15 candidates are remembered; for the others it ran", text, StringComparison.Ordinal);
        Assert.DoesNotContain(Told, fresh, StringComparison.Ordinal);
        using var document = System.Text.Json.JsonDocument.Parse(json);
        var remembered = document.RootElement.GetProperty("decisions")[0].GetProperty("bundles")[0].GetProperty("remembered");
        Assert.Equal(Enumerable.Range(0, 15), remembered.EnumerateArray().Select(static one => one.GetInt32()));
    }

    private ReplayReport Replay(IEnumerable<DecisionRecord> records) => AuditBench.Replay(ListSource.Of(records), AuditBench.Archive(Policy), _bundles);

    // Twenty contents from this one on.
    private void Decide(int first)
    {
        var contents = Enumerable.Range(first, 20).ToArray();
        var decision = new SafetyFilter.Decisions.Decision();
        new BatchBuilder(decision.Batch, [.. contents.Select(static content => $"c{content}")]).Request(surface: "feed")
            .Versions([.. contents.Select(static _ => "v")])
            .Tensor("embedding", [.. contents.Select(static content => new[] { content / 40f, 0.3f })])
            .Tensor("root", [.. contents.Select(static content => new[] { content / 50f })])
            .Build();
        Assert.Null(_bench.Decide(decision, out _));
    }
}
