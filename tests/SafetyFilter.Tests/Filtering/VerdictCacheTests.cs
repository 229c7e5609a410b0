using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Scoring;
using Basis = SafetyFilter.Lineage.V1.DecisionRecord.Types.Basis;
using Failure = SafetyFilter.Lineage.V1.DecisionRecord.Types.FailureKind;

namespace SafetyFilter.Tests.Filtering;

/// <summary>What is remembered, when it is taken, and how that is told.</summary>
public sealed class VerdictCacheTests : IDisposable
{
    private const string Rules = """

          - { id: by-alpha, when: { score: numbers/alpha, at_least: 0.9 }, action: { demote: 0.5 }, reason: A }
          - { id: by-gamma, when: { score: roots/gamma, at_least: 0.9 }, action: block, reason: G }
        """;

    private static readonly string Off = EngineBench.Policy("{ numbers/alpha: { fail: open }, roots/gamma: { fail: closed } }", Rules);
    private static readonly string On = Off + "\nverdict_cache: on\n";

    private readonly VerdictCache _cache = new(new VerdictCacheOptions { Entries = 1024 }, TimeProvider.System);

    public void Dispose() => _cache.Dispose();

    [Fact]
    public void Decide_SamePageAgain_RunsNothingAndSaysSo()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        var (_, first) = bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        var (decision, again) = bench.Decided(Page("v1", "v1", "v1"), candidates: 3);

        Assert.All(first.Bundles, static run => Assert.True(run is { Micros: > 0, Remembered.IsEmpty: true }));
        Assert.All(again.Bundles, static run => Assert.Equal((Failure.Unspecified, 0u, "07"), (run.Failure, run.Micros, Bits(run))));
        Assert.Equal(first.Scores, again.Scores);
        Assert.Equal(first.Actions, again.Actions);
        Assert.All(again.Bases, static basis => Assert.Equal(Basis.Evaluated, basis));
        Assert.Empty(again.Degradations);
        Assert.Equal((3, 3), (decision.Runs[0].LookedUp, decision.Runs[0].Remembered));
        Assert.Equal(3, bench.Counts["safetyfilter.verdict_cache.lookups surface=feed bundle=numbers outcome=miss"]);
        Assert.Equal(3, bench.Counts["safetyfilter.verdict_cache.lookups surface=feed bundle=numbers outcome=hit"]);
        Assert.Equal(3, bench.Counts["safetyfilter.verdict_cache.lookups surface=feed bundle=roots outcome=hit"]);
    }

    [Fact]
    public void Decide_PolicySaysOff_RemembersNothing()
    {
        using var bench = new EngineBench(Off, verdicts: _cache);
        for (var i = 0; i < 2; i++)
        {
            var (_, record) = bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
            Assert.All(record.Bundles, static run => Assert.True(run is { Micros: > 0, Remembered.IsEmpty: true }));
        }

        Assert.Null(_cache.Scores);
        Assert.DoesNotContain(bench.Counts.Keys, static key => key.StartsWith("safetyfilter.verdict_cache", StringComparison.Ordinal));
    }

    [Fact]
    public void Decide_AnotherVersionOrNone_IsRun()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        bench.Decided(Page("v1", "", "v1"), candidates: 3);
        var (_, record) = bench.Decided(Page("v2", "", "v1"), candidates: 3);

        Assert.All(record.Bundles, static run => Assert.Equal("04", Bits(run)));
        Assert.Equal(2, bench.Counts["safetyfilter.verdict_cache.lookups surface=feed bundle=numbers outcome=none"]);
        Assert.Equal(1, bench.Counts["safetyfilter.verdict_cache.lookups surface=feed bundle=numbers outcome=hit"]);
    }

    [Fact]
    public void Decide_PageWithoutVersions_IsRun()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        for (var i = 0; i < 2; i++)
        {
            var (_, record) = bench.Decided(static request => request.Tensor("embedding", [1f, 0]).Tensor("root", [0f]));
            Assert.All(record.Bundles, static run => Assert.True(run is { Micros: > 0, Remembered.IsEmpty: true }));
        }

        Assert.Equal(0, _cache.Count);
    }

    [Fact]
    public void Decide_CallersDisagreeOnAVersion_EachGetsTheScoresOfItsOwnInput()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        bench.Decided(static request => request.Versions("v1").Tensor("embedding", [0f, 0]).Tensor("root", [0f]));
        var (decision, lied) = bench.Decided(static request => request.Versions("v1").Tensor("embedding", [1f, 0]).Tensor("root", [1f]));
        var (_, honest) = bench.Decided(static request => request.Versions("v1").Tensor("embedding", [0f, 0]).Tensor("root", [0f]));

        Assert.All(lied.Bundles, static run => Assert.True(run.Remembered.IsEmpty));
        Assert.Equal([CandidateAction.Block], decision.Verdicts.Actions.ToArray());
        Assert.All(honest.Bundles, static run => Assert.Equal("01", Bits(run)));
        Assert.Equal([DecisionRecord.Types.Action.Allow], honest.Actions);
    }

    [Fact]
    public void Decide_SomeAreKnown_RunsTheOthersAndPutsEachScoreInItsPlace()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        bench.Decided(static request => request.Versions("v", "v", "v", "v").Tensor("embedding", [0f, 0], [0f, 1], [1f, 0], [1f, 1]).Tensor("root", [0f], [0.25f], [1f], [0.0625f]), 4);
        var (_, record) = bench.Decided(
            static request => request.Versions("v", "w", "w", "v")
                .Tensor("embedding", [0f, 0], [-1f, 0], [0.5f, 0], [1f, 1]).Tensor("root", [0f], [0.04f], null, [0.0625f]), 4);

        Assert.All(record.Bundles, static run => Assert.Equal("09", Bits(run)));
        var alpha = record.Scores.Take(4).ToArray();
        Assert.Equal([0.5f, Sigmoid(-4), Sigmoid(2), Sigmoid(2)], alpha, static (expected, score) => Math.Abs(expected - score) < 1e-6f);
        Assert.Equal([0f, 0.2f, float.NaN, 0.25f], record.Scores.Skip(4));
        var missing = Assert.Single(record.Degradations);
        Assert.Equal((Failure.MissingFeature, "2"), (missing.Failure, string.Join(' ', missing.CandidateIndexes)));
    }

    [Fact]
    public void Decide_CandidatesWithoutAScoreOfTheBundle_AreNotRemembered()
    {
        using var bench = new EngineBench(On, verdicts: _cache);

        // Of "root" a negative number, which scores NaN, and none; of "embedding" one out of range.
        bench.Decided(static request => request.Versions("v", "v", "v").Tensor("embedding", [0f, 0], [101f, 1], [1f, 0]).Tensor("root", [-1f], null, [0f]), 3);
        var (_, record) = bench.Decided(
            static request => request.Versions("v", "v", "v").Tensor("embedding", [0f, 0], [101f, 1], [1f, 0]).Tensor("root", [-1f], null, [0f]), 3);

        Assert.Equal([("numbers", "05"), ("roots", "04")], record.Bundles.Select(static run => (run.Name, Bits(run))));
        Assert.Equal([Failure.FeatureMismatch, Failure.InvalidOutput, Failure.MissingFeature], record.Degradations.Select(static mark => mark.Failure));
    }

    [Fact]
    public void Decide_BundleFails_KeepsNothingOfIt()
    {
        using var bench = new EngineBench(
            On, verdicts: _cache, chaos: new ChaosOptions { Enabled = true, Bundles = { ["numbers"] = new BundleChaos { FaultRate = 1 } } });
        bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        var (_, record) = bench.Decided(Page("v1", "v1", "v1"), candidates: 3);

        Assert.Equal([("numbers", Failure.Error, ""), ("roots", Failure.Unspecified, "07")], record.Bundles.Select(static run => (run.Name, run.Failure, Bits(run))));
        Assert.Equal(3, _cache.Count);
    }

    [Fact]
    public void Decide_ResultAfterTheBudget_IsNotKept()
    {
        // 600 us for the first bundle, of a budget of 1000 of which 600 had gone.
        using var bench = new EngineBench(
            EngineBench.Policy("{ numbers/alpha: { fail: open } }", "[ { id: a, when: { score: numbers/alpha, at_least: 0.9 }, action: block, reason: A } ]", budget: 1000)
            + "\nverdict_cache: on\n",
            new SteppingTime(TimeSpan.FromMicroseconds(600)), verdicts: _cache);
        var (_, record) = bench.Decided(static request => request.Versions("v1").Tensor("embedding", [1f, 0]));

        Assert.Equal((Failure.OverBudget, 600u), (record.Bundles[0].Failure, record.Bundles[0].Micros));
        Assert.Equal(0, _cache.Count);
    }

    [Fact]
    public void Decide_NoBudgetLeft_ServesWhatIsKnownAndFailsTheRest()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        var decision = EngineBench.Request(Page("v1", "v2", "v1"), 3);
        decision.BudgetMicros = 0;
        Assert.Null(bench.Decide(decision, out _));

        var record = bench.Records()[^1];
        Assert.All(record.Bundles, static run => Assert.Equal((Failure.OverBudget, 0u, "05"), (run.Failure, run.Micros, Bits(run))));
        Assert.Equal([Basis.Evaluated, Basis.FailedClosed, Basis.Evaluated], record.Bases);
        Assert.All(record.Degradations, static mark => Assert.Equal([1u], mark.CandidateIndexes));
    }

    [Fact]
    public void Decide_BreakerIsOpen_ServesWhatIsKnownAsEvaluated()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        bench.Bundles["roots"].Gate.Open(BreakerReason.Failures, FailureKind.Error, TimeSpan.FromHours(1));
        var (_, known) = bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        var (_, half) = bench.Decided(Page("v1", "v2", "v1"), candidates: 3);

        Assert.Equal((Failure.Unspecified, "07", DecisionRecord.Types.BreakerState.Open), (known.Bundles[1].Failure, Bits(known.Bundles[1]), known.Bundles[1].Breaker));
        Assert.All(known.Bases, static basis => Assert.Equal(Basis.Evaluated, basis));
        Assert.Equal((Failure.BreakerOpen, "05"), (half.Bundles[1].Failure, Bits(half.Bundles[1])));
        Assert.Equal([Basis.Evaluated, Basis.FailedClosed, Basis.Evaluated], half.Bases);
    }

    [Fact]
    public void Decide_BundleIsIsolated_TakesNothingThatItSaidBefore()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        bench.Bundles["roots"].Gate.Isolate("somebody");
        var (_, record) = bench.Decided(Page("v1", "v1", "v1"), candidates: 3);

        Assert.Equal([(Failure.Unspecified, "07"), (Failure.BreakerOpen, "")], record.Bundles.Select(static run => (run.Failure, Bits(run))));
        Assert.All(record.Bases, static basis => Assert.Equal(Basis.FailedClosed, basis));
    }

    [Fact]
    public void Decide_Shed_AsksNeitherBundleNorMemory()
    {
        using var bench = new EngineBench(On + "overload: fail-mode\n", verdicts: _cache);
        bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        var decision = EngineBench.Request(Page("v1", "v1", "v1"), 3);
        decision.IsShed = true;
        Assert.Null(bench.Decide(decision, out _));

        Assert.All(bench.Records()[^1].Bundles, static run => Assert.Equal((Failure.Shed, ""), (run.Failure, Bits(run))));
    }

    [Fact]
    public void Decide_AnotherModelOfThatName_StartsWithNothing()
    {
        using var one = new EngineBench(On, verdicts: _cache);
        using var other = new EngineBench(On, verdicts: _cache, weights: [-4, 2, 2, -4]);
        var (_, first) = one.Decided(Page("v1", "v1", "v1"), candidates: 3);
        var (_, second) = other.Decided(Page("v1", "v1", "v1"), candidates: 3);

        Assert.Equal([("numbers", ""), ("roots", "07")], second.Bundles.Select(static run => (run.Name, Bits(run))));
        Assert.NotEqual(first.Scores[0], second.Scores[0]);
    }

    [Fact]
    public void Decide_PolicyThatReadsOtherClassifiers_SharesNothing()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        var other = On.Replace("numbers/alpha", "numbers/beta", StringComparison.Ordinal);
        bench.Serving.Swap(bench.Snapshot(other));
        var (_, record) = bench.Decided(Page("v1", "v1", "v1"), candidates: 3);

        Assert.Equal([("numbers", ""), ("roots", "07")], record.Bundles.Select(static run => (run.Name, Bits(run))));
    }

    [Fact]
    public void Reload_OffAndOnAgain_ForgetsAndKeepsServing()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        Reload(bench, On.Replace("0.9", "0.8", StringComparison.Ordinal));
        Assert.Equal("07", Bits(bench.Decided(Page("v1", "v1", "v1"), candidates: 3).Record.Bundles[0]));

        Reload(bench, Off);
        Assert.Null(_cache.Scores);
        Assert.Equal("", Bits(bench.Decided(Page("v1", "v1", "v1"), candidates: 3).Record.Bundles[0]));

        Reload(bench, On);
        Assert.Equal("", Bits(bench.Decided(Page("v1", "v1", "v1"), candidates: 3).Record.Bundles[0]));
        Assert.Equal("07", Bits(bench.Decided(Page("v1", "v1", "v1"), candidates: 3).Record.Bundles[0]));
    }

    [Fact]
    public void Rehearse_SurfaceWithCache_LeavesItEmptyAndTeachesTheCostOfRuns()
    {
        using var bench = new EngineBench(On, verdicts: _cache);
        bench.Engine.Rehearse(bench.Serving.Current!);

        Assert.Equal(0, _cache.Count);
        Assert.True(bench.Bundles["numbers"].Bundle.Cost.NanosOf(64) > 0);
    }

    [Fact]
    public void AddOrUpdate_MoreThanTheCapacity_StaysWithinItAndCountsWhatMadeRoom()
    {
        var time = new FakeTimeProvider();
        using var cache = new VerdictCache(new VerdictCacheOptions { Entries = 1024 }, time);
        cache.Open();
        for (var i = 0; i < 20_000; i++)
        {
            cache.Scores!.AddOrUpdate(cache.KeyOf(BitConverter.GetBytes(i), "v"u8, new byte[16]), [0.5f]);

            // No upkeep but what writers do themselves: the clock stands.
            Assert.InRange(cache.Scores.Policy.Eviction.Value!.Capacity, 1024, 1024);
        }

        Assert.InRange(cache.Count, 1, 1024 + 128 + 1);
        time.Advance(CacheUpkeep.Pause);
        Assert.InRange(cache.Count, 1, 1024);
        Assert.Equal(20_000 - cache.Count, cache.Evicted);
    }

    [Fact]
    public void Upkeep_WhatIsReadOften_OutlivesAFloodOfOthers()
    {
        var time = new FakeTimeProvider();
        using var cache = new VerdictCache(new VerdictCacheOptions { Entries = 1024 }, time);
        cache.Open();
        var scores = cache.Scores!;
        var favourites = Enumerable.Range(0, 64).Select(i => cache.KeyOf(BitConverter.GetBytes(-1 - i), "v"u8, new byte[16])).ToArray();
        foreach (var key in favourites)
        {
            scores.AddOrUpdate(key, [0.5f]);
        }

        for (var i = 0; i < 20_000; i++)
        {
            scores.AddOrUpdate(cache.KeyOf(BitConverter.GetBytes(i), "v"u8, new byte[16]), [0.5f]);
            if (i % 50 == 0)
            {
                Assert.All(favourites, key => scores.TryGet(key, out _));
                time.Advance(CacheUpkeep.Pause);
            }
        }

        Assert.All(favourites, key => Assert.True(scores.TryGet(key, out _)));
    }

    [Fact]
    public void KeyOf_AnyPartDiffers_IsAnother()
    {
        byte[] digest = [.. Enumerable.Range(0, 16).Select(static i => (byte)i)];
        byte[] other = [.. digest.Reverse()];
        var keys = new[]
        {
            _cache.KeyOf("a"u8, "bc"u8, digest), _cache.KeyOf("ab"u8, "c"u8, digest), _cache.KeyOf("a"u8, "bd"u8, digest), _cache.KeyOf("a"u8, "bc"u8, other),
            _cache.KeyOf("a"u8, "bc"u8, digest).With(new ScoreKey(1, 2)),
        };

        Assert.Equal(keys.Length, keys.Distinct().Count());
        Assert.Equal(_cache.KeyOf("a"u8, "bc"u8, digest), keys[0]);
    }

    [Fact]
    public void Lookup_AllKnown_AllocatesNothing()
    {
        _cache.Open();
        using var bench = new EngineBench(On, verdicts: _cache);
        var (decision, _) = bench.Decided(Page("v1", "v1", "v1"), candidates: 3);
        var step = bench.Serving.Current!.Plans.First().Steps[0];
        var least = long.MaxValue;
        for (var round = 0; round < 50; round++)
        {
            decision.Begin(decision.Terms);
            SafetyFilter.Scoring.InputDigest.Compute(decision.Batch, decision.InputDigests);
            var before = GC.GetAllocatedBytesForCurrentThread();
            var lookup = CacheLookup.Begin(decision, _cache)!;
            lookup.Recall(0, step);
            var found = lookup.Remembered;
            lookup.End();
            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
            Assert.Equal(3, found);
        }

        Assert.Equal(0, least);
    }

    [Fact]
    public void Keep_NewContent_AllocatesAtMost256BytesEach()
    {
        // Big enough not to grow its table meanwhile: a capacity's table is there from the start.
        using var cache = new VerdictCache(new VerdictCacheOptions { Entries = 1 << 14 }, TimeProvider.System);
        cache.Open();
        var least = long.MaxValue;
        for (var round = 0; round < 20; round++)
        {
            var keys = Enumerable.Range(0, 256).Select(i => cache.KeyOf(BitConverter.GetBytes(round * 256 + i), "v"u8, new byte[16])).ToArray();
            var before = GC.GetAllocatedBytesForCurrentThread();
            foreach (var key in keys)
            {
                cache.Scores!.AddOrUpdate(key, new float[4]);
            }

            least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
        }

        Assert.InRange(least / 256, 1, 256);
    }

    [Fact]
    public async Task Decide_ManyAtOnce_EveryoneGetsTheScoresOfItsOwnContent()
    {
        using var bench = new EngineBench(On, measured: false, verdicts: _cache, breaker: new BreakerThresholds { MinimumThroughput = int.MaxValue });
        await Task.WhenAll(Enumerable.Range(0, 4).Select(worker => Task.Run(() =>
        {
            var random = new Random(worker);
            var record = new SafetyFilter.Ledger.ProtoWriter();
            for (var i = 0; i < 300; i++)
            {
                var rows = Enumerable.Range(0, 20).Select(_ => random.Next(3000)).ToArray();
                var decision = new Decision();
                new BatchBuilder(decision.Batch, [.. rows.Select(static row => $"id-{row}")]).Request(surface: "feed")
                    .Versions([.. rows.Select(static row => $"v{row % 7}")])
                    .Tensor("embedding", [.. rows.Select(static row => new[] { row / 3000f, 0f })])
                    .Tensor("root", [.. rows.Select(static row => new[] { row / 3000f })])
                    .Build();
                Assert.Null(bench.Engine.Decide(decision, record, out _));
                for (var candidate = 0; candidate < rows.Length; candidate++)
                {
                    Assert.Equal(Sigmoid(4 * rows[candidate] / 3000f), decision.Scores.Row(0)[candidate], 1e-5f);
                    Assert.Equal(MathF.Sqrt(rows[candidate] / 3000f), decision.Scores.Row(1)[candidate], 1e-5f);
                }
            }
        })));

        Assert.InRange(_cache.Count, 1, 1024 + 128 + 4);
        Assert.Contains(bench.Records(), static record => record.Bundles[0].Remembered.Any(static bits => bits != 0));
    }

    private static void Reload(EngineBench bench, string policy)
    {
        var snapshot = bench.Snapshot(policy);
        bench.Engine.Prepare(snapshot);
        bench.Serving.Swap(snapshot);
        bench.Engine.Release(snapshot);
    }

    private static Action<BatchBuilder> Page(params string[] versions) => request => request.Versions(versions)
        .Tensor("embedding", [1f, 0], [0f, 1], [0f, 0]).Tensor("root", [0f], [1f], [0.25f]);

    private static float Sigmoid(float x) => 1 / (1 + MathF.Exp(-x));

    private static string Bits(DecisionRecord.Types.BundleRun run) => Convert.ToHexStringLower(run.Remembered.Span);
}
