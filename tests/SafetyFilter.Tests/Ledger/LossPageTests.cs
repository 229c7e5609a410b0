using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Ledger;

namespace SafetyFilter.Tests.Ledger;

public sealed class LossPageTests : IDisposable
{
    private readonly LedgerFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Open_AfterCounting_KnowsItAndWhatWasReported()
    {
        using (var page = Open())
        {
            Assert.True(page.TryCount(3, 100));
            Assert.True(page.TryCount(4, 200));
            Assert.True(page.TryBeginReport(9, out var first));
            Assert.Equal((2UL, 7UL, 0UL, 100UL, 200UL), (first.Decisions, first.Candidates, first.Reported, first.FirstTime, first.LastTime));
            Assert.True(page.TryCount(1, 300));
            page.EndReport();
        }

        using var again = Open();
        Assert.Equal(3UL, again.Total);
        Assert.True(again.TryBeginReport(10, out var second));
        Assert.Equal((3UL, 8UL, 2UL, 7UL, 300UL), (second.Decisions, second.Candidates, second.Reported, second.ReportedCandidates, second.FirstTime));
        again.EndReport();
        Assert.False(again.TryBeginReport(11, out _));
    }

    [Fact]
    public void Open_AnyByteOfTheNewerSlotChanged_KnowsWhatTheOlderSays()
    {
        using (var page = Open())
        {
            page.TryCount(1, 100);
            page.TryCount(1, 200);
        }

        var path = Path.Combine(_folder.Path, LossPage.FileName);
        var whole = File.ReadAllBytes(path);
        var slot = BitConverter.ToUInt64(whole, 8) > BitConverter.ToUInt64(whole, 2056) ? 0 : 2048;
        for (var offset = 0; offset < 160; offset++)
        {
            var torn = (byte[])whole.Clone();
            torn[slot + offset] ^= 0x40;
            File.WriteAllBytes(path, torn);
            using var page = Open();
            Assert.Equal(1UL, page.Total);
        }
    }

    [Theory]
    [InlineData(20, 5)]
    [InlineData(21, 4)]
    public void Open_RecordsWaitedInMemory_AreLostButForTheOneThatWasJustMoved(ulong lastOnDisk, ulong lost)
    {
        using (var page = Open())
        {
            for (ulong sequence = 21; sequence <= 25; sequence++)
            {
                page.Waits(new WaitingRecord(sequence, 1, 10), new WaitingRecord(21, 1, 10), 1000 + sequence);
            }
        }

        using var again = Open(lastOnDisk);
        Assert.Equal(lost, again.Total);
        Assert.True(again.TryBeginReport(1, out var report));
        Assert.Equal((lost * 10, 1021UL, 1025UL), (report.Candidates, report.FirstTime, report.LastTime));
        Assert.Equal(lost, again.Claim());
    }

    [Fact]
    public void Open_NoPageButRecordsThatTell_GoesOnFromTheirTotal()
    {
        var options = _folder.Options();
        using (var spool = _folder.Open(options))
        {
            var loss = new Lineage.V1.Loss
            {
                StreamId = Google.Protobuf.ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true)),
                Epoch = spool.Epoch,
                TotalDecisions = 12,
            };
            spool.Append(RecordType.Loss, Google.Protobuf.MessageExtensions.ToByteArray(loss), out _);
        }

        File.Delete(Path.Combine(_folder.Stream, LossPage.FileName));
        using var again = _folder.Open(options);
        Assert.Equal(12UL, again.LostTotal);
    }

    [Fact]
    public void Open_KilledBetweenALossRecordAndItsCount_DoesNotTellItAgain()
    {
        using (var spool = _folder.Open())
        {
            using var page = LossPage.Open(spool.StreamFolder + "/..", 0, NullLogger.Instance);
            page.TryCount(1, 5);
            Assert.True(page.TryBeginReport(spool.LastSequence, out var counts));
            var loss = new Lineage.V1.Loss
            {
                StreamId = Google.Protobuf.ByteString.CopyFrom(spool.StreamId.ToByteArray(bigEndian: true)),
                Epoch = spool.Epoch,
                TotalDecisions = counts.Decisions,
            };
            spool.Append(RecordType.Loss, Google.Protobuf.MessageExtensions.ToByteArray(loss), out _);
        }

        // As the kill leaves it: the intent in the page, the record in the stream.
        File.Copy(Path.Combine(_folder.Path, LossPage.FileName), Path.Combine(_folder.Stream, LossPage.FileName), overwrite: true);
        using var settled = LossPage.Open(_folder.Stream, 3, NullLogger.Instance);
        Assert.Equal(1UL, settled.Total);
        Assert.False(settled.TryBeginReport(3, out _));
    }

    private LossPage Open(ulong lastSequence = 0) => LossPage.Open(_folder.Path, lastSequence, NullLogger.Instance);
}
