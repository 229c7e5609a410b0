using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Sidecar.Grpc;
using SafetyFilter.Tests.Scoring;
using SafetyFilter.V1;
using Durability = SafetyFilter.Decisions.Durability;

namespace SafetyFilter.Tests.Filtering;

/// <summary>The levels of a surface's policy from the engine to the answer's bytes.</summary>
public sealed class RecordLevelTests
{
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(20);

    [Fact]
    public async Task Confirm_LevelDisk_IsOnTheDiskAndCountedOnlyThen()
    {
        using var bench = new EngineBench(Policy("durability: disk"));
        var decision = Request();
        Assert.Null(bench.Decide(decision, out var receipt));
        Assert.True(FilterEngine.IsUnconfirmed(decision, receipt));
        Assert.False(bench.Counts.ContainsKey("safetyfilter.requests surface=feed outcome=ok"));

        var (refusal, confirmed) = await bench.Engine.Confirm(decision, receipt);

        Assert.Null(refusal);
        Assert.Equal((Durability.Disk, false), (confirmed.Durability, confirmed.Pending));
        Assert.True(bench.Ledger.DurableSequence >= receipt.Sequence);
        Assert.Equal(1, bench.Counts["safetyfilter.requests surface=feed outcome=ok"]);
        Assert.False(FilterEngine.IsUnconfirmed(decision, confirmed));
    }

    [Fact]
    public async Task Confirm_DiskIsLate_IsPendingAndSaysWhatItReached()
    {
        using var bench = new EngineBench(Policy("durability: disk"), spool: LateDisk);
        var decision = Request();
        Assert.Null(bench.Decide(decision, out var receipt));

        var (refusal, confirmed) = await bench.Engine.Confirm(decision, receipt);

        Assert.Null(refusal);
        Assert.Equal((Durability.Process, true), (confirmed.Durability, confirmed.Pending));
        Assert.Equal(1, bench.Counts["safetyfilter.answers.pending surface=feed reached=process"]);
        var answer = Answer(bench, decision, confirmed);
        Assert.Equal((V1.Durability.Process, true, 32), (answer.Receipt.Durability, answer.Receipt.Pending, answer.Receipt.LeafHash.Length));
    }

    [Fact]
    public async Task Confirm_DiskIsLateAndThePolicyRefuses_WithdrawsTheRecord()
    {
        using var bench = new EngineBench(Policy("durability: disk, late: refuse"), spool: LateDisk);
        var decision = Request();
        Assert.Null(bench.Decide(decision, out var receipt));

        var (refusal, _) = await bench.Engine.Confirm(decision, receipt);

        Assert.Equal(RefusalKind.LedgerUnavailable, refusal?.Kind);
        Assert.Contains("late", refusal!.Message, StringComparison.Ordinal);
        Assert.Equal(1, bench.Counts["safetyfilter.answers.withdrawn surface=feed"]);
        Assert.False(bench.Counts.ContainsKey("safetyfilter.requests surface=feed outcome=ok"));
        using var reader = SpoolReader.OpenStream(bench.Ledger.StreamFolder, from: receipt.Sequence + 1, follow: true);
        Assert.Equal((SpoolRead.Record, RecordType.Withdrawal), (reader.Read(), reader.Type));
        Assert.Equal(receipt.Sequence, Withdrawal.Parser.ParseFrom(reader.Payload).WithdrawnSequence);
    }

    [Fact]
    public void Decide_NoRoomAndThePolicyServes_IsLostOnTheWireAndToldByTheNextRecord()
    {
        SpoolOptions options = null!;
        using var bench = new EngineBench(Policy("full: serve"), spool: spool =>
        {
            spool.SegmentBytes = 1 << 20;
            spool.MaxBytes = (2 << 20) + (16 << 10);
            spool.MemoryBacklogBytes = 0;
            spool.AppendPatience = TimeSpan.Zero;
            options = spool;
        });
        var filler = new byte[200];
        Assert.True(SpinWait.SpinUntil(
            () => bench.Ledger.Append(RecordType.Decision, filler, new RecordTerms { RefuseWhenLate = true }, 1, out _) == AppendResult.Unavailable, Deadline));

        var decision = Request();
        for (var index = 0; index < 3; index++)
        {
            Assert.Null(bench.Decide(decision, out var lost));
            var answer = Answer(bench, decision, lost);
            Assert.Equal((V1.Durability.Lost, 0UL, 0), (answer.Receipt.Durability, answer.Receipt.Sequence, answer.Receipt.LeafHash.Length));
            Assert.Equal(16, answer.Receipt.StreamId.Length);
        }

        Assert.Equal(3, bench.Counts["safetyfilter.answers.lost surface=feed"]);
        options.MaxBytes = 0;
        var receipt = default(LedgerReceipt);
        Assert.True(SpinWait.SpinUntil(() => bench.Decide(decision, out receipt) is null && receipt.Sequence != 0, Deadline));
        var told = bench.Counts["safetyfilter.answers.lost surface=feed"];
        Assert.Equal((ulong)told, DecisionRecordOf(bench, receipt.Sequence).LostSinceLast);
        Assert.Equal((ulong)told, bench.Ledger.LostTotal);
    }

    [Fact]
    public void Decide_NoRoomAndThePolicyRefuses_IsRefused()
    {
        using var bench = new EngineBench(Policy("full: refuse"), spool: static spool =>
        {
            spool.SegmentBytes = 1 << 20;
            spool.MaxBytes = (2 << 20) + (16 << 10);
            spool.MemoryBacklogBytes = 0;
            spool.AppendPatience = TimeSpan.Zero;
        });
        var filler = new byte[200];
        Assert.True(SpinWait.SpinUntil(
            () => bench.Ledger.Append(RecordType.Decision, filler, new RecordTerms { RefuseWhenLate = true }, 1, out _) == AppendResult.Unavailable, Deadline));

        Assert.Equal(RefusalKind.LedgerUnavailable, bench.Decide(Request(), out var receipt)?.Kind);
        Assert.Equal((0UL, 0UL), (receipt.Sequence, bench.Ledger.LostTotal));
        Assert.True(bench.Ledger.IsRefusing);
    }

    private static string Policy(string record) => EngineBench.Policy("{ numbers/alpha: { fail: open } }", $$"""

          - { id: by-alpha, when: { score: numbers/alpha, at_least: 0.9 }, action: block, reason: A }
        record: { {{record}} }
        """);

    private static void LateDisk(SpoolOptions spool)
    {
        spool.SyncInterval = TimeSpan.FromMinutes(10);
        spool.DiskPatience = TimeSpan.Zero;
    }

    private static Decision Request() => EngineBench.Request(static request => request.Tensor("embedding", [1f, 0]));

    private static FilterResponse Answer(EngineBench bench, Decision decision, in LedgerReceipt receipt)
    {
        var writer = new ProtoWriter();
        FilterResponseWriter.Write(decision, receipt, bench.Engine.StreamId, writer);
        return FilterResponse.Parser.ParseFrom(writer.Written);
    }

    private static DecisionRecord DecisionRecordOf(EngineBench bench, ulong sequence)
    {
        // A new segment has its name once it was brought to the disk.
        Assert.True(SpinWait.SpinUntil(() => bench.Ledger.DurableSequence >= sequence, Deadline));
        using var reader = SpoolReader.OpenStream(bench.Ledger.StreamFolder, from: sequence, follow: true);
        Assert.Equal((SpoolRead.Record, sequence), (reader.Read(), reader.Sequence));
        return DecisionRecord.Parser.ParseFrom(reader.Payload);
    }
}
