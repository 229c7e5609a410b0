using CsCheck;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Filtering;

public sealed class RecentDecisionsTests
{
    [Fact]
    public void Offer_RecordsOfAnySize_KeepsTheNewestUnchanged() =>
        Gen.Select(Gen.Int[1, 8], Gen.Int[16, 64], Gen.Int[0, 40].Array[1, 200]).Sample((capacity, bytes, lengths) =>
        {
            var ring = new RecentDecisions(capacity, bytes);
            var offered = new List<byte[]>();
            foreach (var length in lengths)
            {
                var record = Enumerable.Repeat((byte)offered.Count, length).ToArray();
                offered.Add(record);
                ring.Offer("r", record, (ulong)offered.Count);
            }

            var kept = ring.Of(["r"]);
            Assert.Equal(ring.Count, kept.Count);
            Assert.InRange(kept.Count, 0, capacity);
            Assert.InRange(kept.Sum(static record => record.Length - SegmentFormat.TrailerLength), 0, bytes);

            // Each is one that was offered, whole, and they are in order.
            var last = 0;
            foreach (var record in kept)
            {
                var sequence = (int)RecordFields.Trailer(record);
                Assert.InRange(sequence, last + 1, offered.Count);
                Assert.Equal(offered[sequence - 1], record[..^SegmentFormat.TrailerLength]);
                last = sequence;
            }
        });

    [Fact]
    public void Offer_UntilItIsFull_TakesEveryOneAndThenSome()
    {
        var ring = new RecentDecisions(10, 1 << 10);
        for (var i = 0; i < 10; i++)
        {
            ring.Offer("r", [(byte)i], 1);
        }

        Assert.Equal(Enumerable.Range(0, 10), ring.Of(["r"]).Select(static record => (int)record[0]));
        for (var i = 10; i < 11 + 3 * RecentDecisions.OneOf; i++)
        {
            ring.Offer("r", [(byte)i], 1);
        }

        Assert.Equal([4, 5, 6, 7, 8, 9, 10, 26, 42, 58], ring.Of(["r"]).Select(static record => (int)record[0]));
    }

    [Fact]
    public void Of_OtherPolicies_LeavesTheirsOut()
    {
        var ring = new RecentDecisions(10, 1 << 10);
        ring.Offer("a", [1], 1);
        ring.Offer("b", [2], 2);
        ring.Offer("a", [3], 3);

        Assert.Equal([1, 3], ring.Of(["a", "c"]).Select(static record => (int)record[0]));
    }

    [Fact]
    public void Offer_NoRoomAtAll_KeepsNothing()
    {
        var ring = new RecentDecisions(0, 1 << 20);
        ring.Offer("a", [1], 1);
        Assert.Equal(0, ring.Count);
    }

    [Fact]
    public void Offer_SteadyState_AllocatesNothing()
    {
        var ring = new RecentDecisions(4, 1 << 10);
        var record = new byte[100];

        Assert.Equal(0, AllocatedBytes.Of(1000, () => ring.Offer("a", record, 1)));
    }

    [Fact]
    public void Decide_Recorded_IsKeptWithItsPolicy()
    {
        using var bench = new EngineBench(EngineBench.Policy("{ numbers/alpha: { fail: open } }", """

              - { id: by-alpha, when: { score: numbers/alpha, at_least: 0.9 }, action: block, reason: A }
            """));
        bench.Decided(static request => request.Tensor("embedding", [0f, 0]));
        var kept = Assert.Single(bench.Recent.Of([bench.Serving.Current!.Plans.First().Policy.Revision]));
        Assert.Equal(Assert.Single(bench.Records()), Lineage.V1.DecisionRecord.Parser.ParseFrom(kept));
    }
}
