using CsCheck;
using SafetyFilter.Breaker;
using SafetyFilter.Filtering;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Filtering;

/// <summary>The same requests with the cache and without: the same decisions.</summary>
public sealed class VerdictCachePropertyTests
{
    private static readonly string Off = EngineBench.Policy(
        "{ numbers/alpha: { fail: open }, numbers/beta: { fail: closed }, roots/gamma: { fail: open } }",
        """

          - { id: both, when: { all: [ { score: numbers/alpha, at_least: 0.4 }, { score: roots/gamma, above: 0.3 } ] }, action: block, reason: B }
          - { id: one, when: { score: numbers/beta, at_least: 0.6 }, action: { demote: 0.5 }, reason: N }
          - { id: rehearsal, when: { score: numbers/alpha, at_least: 0.2 }, action: block, reason: S, shadow: true }
        """);

    // Neither slow runs on a busy machine nor scores that are none may open a breaker here.
    private static readonly BreakerThresholds Patient = new() { MinimumThroughput = int.MaxValue };

    // Of a page: which contents, in which versions. A content's features follow from both.
    private static readonly Gen<(int Content, int Version)[]> Rows = Gen.Select(Gen.Int[0, 30], Gen.Int[0, 2]).Array[1, 40];

    [Fact]
    public void Decide_CachedAndNot_DecidesTheSame()
    {
        using var cache = new VerdictCache(new VerdictCacheOptions { Entries = 1024 }, TimeProvider.System);
        using var plain = new EngineBench(Off, measured: false, breaker: Patient);
        using var cached = new EngineBench(Off + "\nverdict_cache: on\n", measured: false, verdicts: cache, breaker: Patient);
        var remembered = 0;
        Rows.Sample(
            rows =>
            {
                var (_, expected) = plain.Decided(Page(rows), rows.Length);
                var (_, record) = cached.Decided(Page(rows), rows.Length);

                Assert.Equal(expected.Actions, record.Actions);
                Assert.Equal(Rules(expected), Rules(record));
                Assert.Equal(expected.Bases, record.Bases);
                Assert.Equal(expected.Degradations, record.Degradations);
                Assert.Equal(expected.Shadows, record.Shadows);
                Assert.Equal(expected.InputDigests, record.InputDigests);

                // Vector code treats the end of a batch differently, so another batch is as near as last bits.
                Assert.Equal(expected.Scores, record.Scores, static (one, other) => (float.IsNaN(one) && float.IsNaN(other)) || Math.Abs(one - other) <= 1e-6f);
                remembered += record.Bundles.Count(static run => !run.Remembered.IsEmpty);
            },
            iter: 150,
            threads: 1);
        Assert.True(remembered > 100);
    }

    [Fact]
    public void Decide_BatchesOfOne_GivesTheSameBits()
    {
        using var cache = new VerdictCache(new VerdictCacheOptions { Entries = 1024 }, TimeProvider.System);
        using var plain = new EngineBench(Off, measured: false, breaker: Patient);
        using var cached = new EngineBench(Off + "\nverdict_cache: on\n", measured: false, verdicts: cache, breaker: Patient);
        var remembered = 0;
        Rows.Where(static rows => rows.Length > 0).Select(static rows => rows[..1]).Sample(
            rows =>
            {
                var (_, expected) = plain.Decided(Page(rows), 1);
                var (_, record) = cached.Decided(Page(rows), 1);

                Assert.Equal(expected.Scores.Select(BitConverter.SingleToUInt32Bits), record.Scores.Select(BitConverter.SingleToUInt32Bits));
                Assert.Equal(expected.Margins.Select(BitConverter.SingleToUInt32Bits), record.Margins.Select(BitConverter.SingleToUInt32Bits));
                Assert.Equal(Rules(expected), Rules(record));
                remembered += record.Bundles.Count(static run => !run.Remembered.IsEmpty);
            },
            iter: 300,
            threads: 1);
        Assert.True(remembered > 100);
    }

    private static IEnumerable<string> Rules(DecisionRecord record) => record.RuleIndexes.Select(index => record.Rules[(int)index].Id);

    // Version 2 has no "root", or one that scores nothing. Every third content has no version.
    private static Action<BatchBuilder> Page((int Content, int Version)[] rows) => request => request
        .Versions([.. rows.Select(static row => row.Content % 3 == 0 ? "" : $"c{row.Content}-v{row.Version}")])
        .Tensor("embedding", [.. rows.Select(static row => new[] { row.Content / 8f - 2, row.Version / 2f })])
        .Tensor("root", SafetyFilter.Decisions.DataType.Float32, [1], [.. rows.Select(static row => row.Version < 2 ? new[] { row.Content / 32f } : row.Content % 2 == 0 ? null : new[] { -1f })]);
}
