using SafetyFilter.Audit;
using SafetyFilter.Filtering;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Filtering;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Audit;

/// <summary>Records of decisions whose runs were split, in an auditor's hands. The model's scores depend on the largest number of their batch, so that they tell how it was cut.</summary>
public sealed class SplitReplayTests : IDisposable
{
    private static readonly string Policy =
        EngineBench.Policy("{ rounds/delta: { fail: open } }", "[ { id: r, when: { score: rounds/delta, at_least: 0.7 }, action: block, reason: R } ]") + "\nverdict_cache: on\nrecord: { inputs: full }\n";

    private readonly VerdictCache _cache = new(new VerdictCacheOptions(), TimeProvider.System);
    private readonly RunSplitter _splitter = new(4);
    private readonly EngineBench _bench;
    private readonly BundleArchive _bundles = new();

    public SplitReplayTests()
    {
        _bench = new EngineBench(Policy, measured: false, verdicts: _cache, splitter: _splitter, splitAbove: 10, rounds: true);
        _bundles.AddFolder(_bench.Folder);
        Decide(0);
    }

    public void Dispose()
    {
        _bundles.Dispose();
        _bench.Dispose();
        _splitter.Dispose();
        _cache.Dispose();
    }

    [Fact]
    public void Replay_SplitRun_IsScoredInTheSamePartsBitForBit()
    {
        var record = Assert.Single(_bench.Records());
        Assert.Equal(3u, record.Bundles[0].Parts);

        var report = Replay(record);

        Assert.True(report.IsEqual(allowMissing: false), AuditBench.Describe(report));
        Assert.Equal(1, report.Rescored);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public void Replay_RecordClaimsOtherParts_IsListed(uint parts)
    {
        var record = Assert.Single(_bench.Records());
        record.Bundles[0].Parts = parts;
        Assert.Contains(Replay(record).Differences, static one => one.Field == "score rounds/delta");
    }

    [Fact]
    public void Replay_SomeRemembered_SplitsTheOthersAsTheRunDid()
    {
        // 10 of these 30 were on the page before; 20 are left, in two parts.
        Decide(20);
        var record = _bench.Records()[^1];
        Assert.Equal((2u, 4), (record.Bundles[0].Parts, record.Bundles[0].Remembered.Length));

        var report = Replay(record);

        // The remembered ones are of other batches, and this model's scores are not the same in all.
        Assert.DoesNotContain(report.Differences, static one => one.Field == "score rounds/delta");
        record.Bundles[0].Parts = 0;
        Assert.Contains(Replay(record).Differences, static one => one.Field == "score rounds/delta");
    }

    [Theory]
    [InlineData(31, 30)]
    [InlineData(uint.MaxValue, 30)]
    public void TryRead_MorePartsThanCandidates_IsUnreadable(uint parts, int candidates)
    {
        var record = Assert.Single(_bench.Records());
        record.Bundles[0].Parts = parts;
        Assert.Equal($"bundle 'rounds' ran in {parts} parts over {candidates} candidates", new RecordedDecision().TryRead(Google.Protobuf.MessageExtensions.ToByteArray(record)));
    }

    [Fact]
    public void Show_SplitRun_SaysInHowManyParts()
    {
        var (_, text, _) = AuditRun.Run("show", "--request", "request-1", _bench.Ledger.StreamFolder);
        var (_, json, _) = AuditRun.Run("show", "--request", "request-1", "--json", _bench.Ledger.StreamFolder);
        Assert.Contains(" us, in 3 parts", text, StringComparison.Ordinal);
        using var document = System.Text.Json.JsonDocument.Parse(json);
        Assert.Equal(3, document.RootElement.GetProperty("decisions")[0].GetProperty("bundles")[0].GetProperty("parts").GetInt32());
    }

    private ReplayReport Replay(DecisionRecord record) => AuditBench.Replay(ListSource.Of([record]), AuditBench.Archive(Policy), _bundles);

    // Thirty contents from this one on, each with a larger number than the one before.
    private void Decide(int first)
    {
        var contents = Enumerable.Range(first, 30).ToArray();
        var decision = new SafetyFilter.Decisions.Decision();
        new BatchBuilder(decision.Batch, [.. contents.Select(static content => $"c{content}")]).Request(surface: "feed")
            .Versions([.. contents.Select(static _ => "v")])
            .Tensor("root", [.. contents.Select(static content => new[] { content / 6f })])
            .Build();
        Assert.Null(_bench.Decide(decision, out _));
    }
}
