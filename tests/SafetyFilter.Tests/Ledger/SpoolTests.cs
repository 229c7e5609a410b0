using System.Security.Cryptography;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

public sealed class SpoolTests : IDisposable
{
    private readonly LedgerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Append_SomeRecords_AreReadBackInOrderBetweenStartAndEnd()
    {
        using (var spool = _folder.Open())
        {
            LedgerFolder.Append(spool, "a");
            LedgerFolder.Append(spool, "b", length: 3000);
        }

        var read = _folder.ReadAll();
        Assert.Equal([RecordType.EpochStart, RecordType.Decision, RecordType.Decision, RecordType.EpochEnd], read.Select(one => one.Type));
        Assert.Equal([1UL, 2, 3, 4], read.Select(one => one.Sequence));
        Assert.Equal(["", "a", "b", ""], read.Select(one => one.RequestId));
    }

    [Fact]
    public void Append_OneRecord_ReceiptNamesTheLeafOfThePublishedBytes()
    {
        using var spool = _folder.Open();
        var body = LedgerFolder.Body(spool, "a");

        spool.Append(RecordType.Decision, body, out var receipt);

        byte[] published = [.. body, 0x19, 2, 0, 0, 0, 0, 0, 0, 0];
        Assert.Equal(SHA256.HashData([0, .. published]), ((ReadOnlySpan<byte>)receipt.LeafHash).ToArray());
        Assert.Equal((1U, 2UL, Durability.Process), (receipt.Epoch, receipt.Sequence, receipt.Durability));
        Assert.Equal(2UL, DecisionRecord.Parser.ParseFrom(published).Sequence);
    }

    [Fact]
    public void Append_LongerThanTheLimit_IsTooLargeAndLeavesNothing()
    {
        using (var spool = _folder.Open())
        {
            var limit = 16 << 10;
            Assert.Equal(AppendResult.TooLarge, spool.Append(RecordType.Decision, new byte[limit - SegmentFormat.TrailerLength + 1], out _));
            Assert.Equal(1UL, spool.LastSequence);
            Assert.Equal(AppendResult.Appended, spool.Append(RecordType.Decision, new byte[limit - SegmentFormat.TrailerLength], out _));
        }
    }

    [Fact]
    public void Append_AfterClose_IsRefused()
    {
        using var spool = _folder.Open();
        spool.Close();

        Assert.Equal(AppendResult.Closed, spool.Append(RecordType.Decision, [1], out _));
        Assert.Equal(spool.LastSequence, spool.DurableSequence);
    }

    [Fact]
    public void Append_ManySegments_AreContiguousNamedByFirstSequenceAndTruncated()
    {
        using (var spool = _folder.Open())
        {
            for (var index = 0; index < 500; index++)
            {
                LedgerFolder.Append(spool, $"r{index}", length: index * 7 % 2000);
            }
        }

        var read = _folder.ReadAll();
        Assert.Equal(Enumerable.Range(1, 502).Select(sequence => (ulong)sequence), read.Select(one => one.Sequence));
        Assert.True(_folder.Segments.Count > 5);
        foreach (var group in read.GroupBy(one => one.Segment))
        {
            Assert.Equal(SpoolFolder.SegmentName(group.First().Sequence), Path.GetFileName(group.Key));
            var bytes = File.ReadAllBytes(group.Key);
            var end = group.Last().Offset + SegmentFormat.FrameLength(BitConverter.ToInt32(bytes, (int)group.Last().Offset));
            Assert.Equal(end, bytes.Length);
        }

        Assert.Empty(Directory.GetFiles(_folder.Stream, "*.spare"));
        using var verifier = _folder.Verify();
        Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
    }

    [Fact]
    public async Task Append_FromManyThreads_IsContiguousAndEveryReceiptIsTrue()
    {
        const int Threads = 6;
        const int Each = 2000;
        var receipts = new (ulong Sequence, string Request, string Leaf)[Threads * Each];
        using (var spool = _folder.Open())
        {
            await Task.WhenAll(Enumerable.Range(0, Threads).Select(thread => Task.Run(() =>
            {
                for (var index = 0; index < Each; index++)
                {
                    var request = $"{thread}/{index}";
                    var result = spool.Append(RecordType.Decision, LedgerFolder.Body(spool, request, index % 300), out var receipt);
                    Assert.Equal(AppendResult.Appended, result);
                    receipts[thread * Each + index] = (receipt.Sequence, request, Convert.ToHexString(receipt.LeafHash));
                }
            }, TestContext.Current.CancellationToken)));
        }

        var read = _folder.ReadAll().ToDictionary(one => one.Sequence);
        Assert.Equal(Threads * Each, receipts.Select(receipt => receipt.Sequence).Distinct().Count());
        Assert.All(receipts, receipt => Assert.Equal(receipt.Request, read[receipt.Sequence].RequestId));
        Assert.Equal((ulong)read.Count, read.Keys.Max());
        Assert.Equal(receipts.Length, receipts.Select(receipt => receipt.Leaf).Distinct(StringComparer.Ordinal).Count());
    }

    [Fact]
    public void Append_InSteadyState_AllocatesNothing()
    {
        using var spool = _folder.Open(_folder.Options(segmentBytes: 16 << 20));
        var body = LedgerFolder.Body(spool, "a", length: 300);

        Assert.Equal(0, AllocatedBytes.Of(2000, () => spool.Append(RecordType.Decision, body, out _)));
    }

    [Fact]
    public void Append_WhenNoNextSegmentCanBeMade_IsUnavailableWithinThePatience()
    {
        var options = _folder.Options();
        options.AppendPatience = TimeSpan.FromMilliseconds(20);
        options.MemoryBacklogBytes = 0;
        using var spool = _folder.Open(options);
        var trap = Path.Combine(spool.StreamFolder, "0000000000.spare");
        var body = LedgerFolder.Body(spool, "a", length: 8000);
        SpinWait.SpinUntil(() => File.Exists(trap), TimeSpan.FromSeconds(10));

        // The folder goes away below the spool: the spare that is ready serves, then none can be made.
        var moved = spool.StreamFolder + "-moved";
        Directory.Move(spool.StreamFolder, moved);
        var results = Enumerable.Range(0, 40).Select(_ => spool.Append(RecordType.Decision, body, out var _)).ToList();
        var (wasRefusing, trouble) = (spool.IsRefusing, spool.Trouble);
        Directory.Move(moved, spool.StreamFolder);

        Assert.Contains(AppendResult.Unavailable, results);
        Assert.True(wasRefusing);
        Assert.True(SpinWait.SpinUntil(() => !spool.IsRefusing, TimeSpan.FromSeconds(20)));
        Assert.Equal(results.Count(result => result == AppendResult.Unavailable), spool.RefusedAppends);
        Assert.NotNull(trouble);
        Assert.True(SpinWait.SpinUntil(() => spool.Trouble is null, TimeSpan.FromSeconds(20)));
        Assert.Equal(AppendResult.Appended, spool.Append(RecordType.Decision, body, out _));
    }

    [Fact]
    public void Open_AfterCleanEnd_ContinuesSequenceInTheNextEpoch()
    {
        Guid stream;
        using (var spool = _folder.Open())
        {
            stream = spool.StreamId;
            LedgerFolder.Append(spool, "a");
        }

        using (var spool = _folder.Open())
        {
            Assert.Equal((stream, 2U, 4UL), (spool.StreamId, spool.Epoch, spool.LastSequence));
        }

        var start = StartOf(sequence: 4);
        Assert.Equal((1U, 3UL, true, 0UL), (start.PreviousEpoch, start.PreviousSequence, start.PreviousEndedCleanly, start.BytesCutOff));
        Assert.NotEqual(StartOf(sequence: 1).BootNonce, start.BootNonce);
    }

    [Fact]
    public void Open_WhileAnotherHasIt_NamesFolderAndRemedy()
    {
        using var spool = _folder.Open();

        var error = Assert.Throws<LedgerException>(() => _folder.Open());

        Assert.Contains(_folder.Path, error.Message, StringComparison.Ordinal);
        Assert.Contains($"process {Environment.ProcessId}", error.Message, StringComparison.Ordinal);
        Assert.Contains("Ledger:Spool:Folder", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_WithoutIdentityFile_AdoptsTheStreamAndRaisesTheEpoch()
    {
        Guid stream;
        using (var spool = _folder.Open())
        {
            stream = spool.StreamId;
        }

        File.Delete(Path.Combine(_folder.Path, "spool.json"));
        using var again = _folder.Open();
        Assert.Equal((stream, 2U, 3UL), (again.StreamId, again.Epoch, again.LastSequence));
    }

    [Fact]
    public void Open_WithDamagedIdentityFile_SaysWhatToDo()
    {
        _folder.Open().Dispose();
        File.WriteAllText(Path.Combine(_folder.Path, "spool.json"), "{");

        var error = Assert.Throws<LedgerException>(() => _folder.Open());

        Assert.Contains("spool.json", error.Message, StringComparison.Ordinal);
        Assert.Contains("Remove it", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void DurableSequence_AfterAppends_ReachesTheLastOne()
    {
        using var spool = _folder.Open();
        var last = LedgerFolder.Append(spool, "a");

        Assert.True(SpinWait.SpinUntil(() => spool.DurableSequence >= last, TimeSpan.FromSeconds(10)));
        Assert.Equal((0L, null), (spool.SyncFailures, spool.Trouble));
    }

    private EpochStart StartOf(ulong sequence)
    {
        using var reader = SpoolReader.OpenStream(_folder.Stream, from: sequence);
        Assert.Equal(SpoolRead.Record, reader.Read());
        return EpochStart.Parser.ParseFrom(reader.Payload);
    }
}
