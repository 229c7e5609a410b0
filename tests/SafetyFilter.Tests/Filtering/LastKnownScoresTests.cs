using CsCheck;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Breaker;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Filtering;

public sealed class LastKnownScoresTests
{
    private static readonly LastKnownOptions Least = new() { MemoryBytes = LastKnownOptions.LeastBytes };

    [Fact]
    public void TryRecall_WhatWasRemembered_IsTheNewestScoreOfThatContentAndClassifier()
    {
        var scores = new LastKnownScores(Least);
        scores.Remember(Key(scores, "a", "bc", 1), 0.25f, 100);
        scores.Remember(Key(scores, "a", "bc", 2), 0.5f, 100);
        scores.Remember(Key(scores, "a", "bc", 1), 0f, 101);

        Assert.True(scores.TryRecall(Key(scores, "a", "bc", 1), out var first));
        Assert.True(scores.TryRecall(Key(scores, "a", "bc", 2), out var second));
        Assert.Equal((0f, 0.5f), (first, second));
        Assert.False(scores.TryRecall(Key(scores, "a", "bc", 3), out _));
        Assert.False(scores.TryRecall(Key(scores, "ab", "c", 1), out _));
        Assert.False(scores.TryRecall(Key(scores, "a", "bd", 1), out var none));
        Assert.Equal(float.NaN, none);
    }

    [Fact]
    public void Remember_MoreThanFit_ForgetsTheOldestFirst()
    {
        var scores = new LastKnownScores(Least);
        const int Entries = LastKnownOptions.LeastBytes / 16;
        for (var i = 0; i < Entries * 4; i++)
        {
            scores.Remember(Key(scores, $"{i}", "v", 1), 0.5f, (uint)(1000 + i));
        }

        bool Knows(int i) => scores.TryRecall(Key(scores, $"{i}", "v", 1), out _);
        Assert.Equal(LastKnownOptions.LeastBytes, scores.Allocate().Length * sizeof(ulong));
        Assert.True(Enumerable.Range(0, Entries * 4).Count(Knows) > Entries * 9 / 10);
        Assert.All(Enumerable.Range(Entries * 4 - 100, 100), i => Assert.True(Knows(i)));

        // What few others shared a set with stays longer.
        Assert.InRange(Enumerable.Range(0, Entries).Count(Knows), 0, Entries / 50);
    }

    [Fact]
    public void TryRecall_WhileOthersWrite_IsAScoreOfThatContentOrNone()
    {
        // Many contents for few places: entries are replaced all the time. The score says whose it is.
        var scores = new LastKnownScores(Least);
        const int Contents = 1 << 15;
        var recalled = 0;
        Parallel.For(0, 4, new ParallelOptions { MaxDegreeOfParallelism = 4 }, worker =>
        {
            var random = new Random(worker);
            for (var i = 0; i < 100_000; i++)
            {
                var content = random.Next(Contents);
                var key = scores.KeyOf(BitConverter.GetBytes(content), "v"u8);
                if (scores.TryRecall(key, out var score))
                {
                    Assert.Equal(content, (int)(score * Contents));
                    Interlocked.Increment(ref recalled);
                }

                scores.Remember(key, (float)content / Contents, (uint)(1 + i));
            }
        });
        Assert.True(recalled > 1000);
    }

    [Fact]
    public void Apply_AnotherBundleDigest_IsAnotherClassifier()
    {
        using var one = TestBundle.Linear([4, -2], 2, ["alpha"]);
        using var other = TestBundle.Linear([4, -3], 2, ["alpha"]);
        one.Write();
        other.Write();
        using var first = ClassifierSet.Load(Path.GetDirectoryName(Path.GetDirectoryName(one.Folder))!, BundleLimits.Default, one.Time).Value!;
        using var second = ClassifierSet.Load(Path.GetDirectoryName(Path.GetDirectoryName(other.Folder))!, BundleLimits.Default, other.Time).Value!;
        var known = new LastKnownScores(Least);
        var (before, after) = (Rows(first), Rows(second));

        before.Apply(Decision(0.75f), known);
        var failed = Decision(float.NaN);
        after.Apply(failed, known);
        Assert.Equal(float.NaN, failed.Scores.Row(0)[0]);
        before.Apply(failed, known);
        Assert.Equal((0.75f, FailureKind.Error), (failed.Scores.Row(0)[0], failed.Scores.Failures(0)[0]));
    }

    [Fact]
    public void Apply_WithoutAContentVersion_RemembersAndRecallsNothing()
    {
        using var bundle = TestBundle.Linear([4, -2], 2, ["alpha"]);
        bundle.Write();
        using var set = ClassifierSet.Load(Path.GetDirectoryName(Path.GetDirectoryName(bundle.Folder))!, BundleLimits.Default, bundle.Time).Value!;
        var known = new LastKnownScores(Least);
        var rows = Rows(set);
        foreach (var version in (string?[])[null, ""])
        {
            rows.Apply(Decision(0.75f, version), known);
            var failed = Decision(float.NaN, version);
            rows.Apply(failed, known);
            Assert.Equal(float.NaN, failed.Scores.Row(0)[0]);
        }

        Assert.False(known.Allocate().ContainsAnyExcept(0ul));
    }

    [Fact]
    public void Apply_SteadyState_AllocatesNothing()
    {
        using var bundle = TestBundle.Linear([4, -2], 2, ["alpha"]);
        bundle.Write();
        using var set = ClassifierSet.Load(Path.GetDirectoryName(Path.GetDirectoryName(bundle.Folder))!, BundleLimits.Default, bundle.Time).Value!;
        var known = new LastKnownScores(Least);
        var rows = Rows(set);
        var (scored, failed) = (Decision(0.75f), Decision(float.NaN));

        Assert.Equal(0, AllocatedBytes.Of(100, () =>
        {
            rows.Apply(scored, known);
            rows.Apply(failed, known);
        }));
    }

    [Theory]
    [InlineData(LastKnownOptions.LeastBytes - 1)]
    [InlineData((1 << 30) + 1)]
    public void Validate_MemoryOutOfRange_SaysTheRange(int bytes) => Assert.Equal(
        $"LastKnown:MemoryBytes is {bytes}; it must be 65536 to 1073741824.", Assert.Single(new LastKnownOptions { MemoryBytes = bytes }.Validate()));

    [Fact]
    public void Allocate_AnySize_IsTheLargestPowerOfTwoWithin() => Gen.Int[LastKnownOptions.LeastBytes, 1 << 22].Sample(
        static bytes => Assert.Equal((int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)bytes + 1) / 2, new LastKnownScores(new LastKnownOptions { MemoryBytes = bytes }).Allocate().Length * 8),
        iter: 50);

    private static ContentKey Key(LastKnownScores scores, string id, string version, ulong classifier) =>
        scores.KeyOf(System.Text.Encoding.UTF8.GetBytes(id), System.Text.Encoding.UTF8.GetBytes(version)).For(classifier * 0x9E3779B97F4A7C15);

    private static LastKnownRows Rows(ClassifierSet set)
    {
        var bundle = set.Bundles.Single();
        var events = new BreakerEvents(new EventLog(), new Observability.FilterMetrics(new System.Diagnostics.Metrics.Meter("last-known")));
        return LastKnownRows.Of(Terms(bundle), [new GuardedBundle(bundle, new BreakerGate(bundle.Name, "default", events, TimeProvider.System), new BreakerThresholds(), null, TimeProvider.System)])!;
    }

    private static DecisionTerms Terms(ModelBundle? bundle = null) => new(
        "feed", "p", new string('a', 64), new string('c', 64), "build",
        [new BundleSlot("numbers", "1.0.0", bundle?.ModelSha256 ?? new byte[32])], [new ClassifierSlot("numbers/alpha", 0, FailMode.LastKnown, FailMode.Closed)], [], [], [], false);

    private static Decision Decision(float score, string? version = "v1")
    {
        var decision = new Decision { TimeUnixNanos = 1_800_000_000_000_000_000 };
        var builder = BatchBuilder.Of(1, decision.Batch).Request(surface: "feed");
        _ = version is null ? builder : builder.Versions(version);
        builder.Build();
        decision.Begin(Terms());
        decision.Scores.Row(0)[0] = score;
        if (float.IsNaN(score))
        {
            decision.Scores.Fail(0, 0, FailureKind.Error);
        }

        return decision;
    }
}
