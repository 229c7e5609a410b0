using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

/// <summary>Whatever became of the files: the next run's tree is the one that was signed, and every loss is admitted once.</summary>
public sealed class TreeRecoveryTests
{
    private const int CheckpointRecords = 10;

    [Fact]
    public void Open_AfterACleanEnd_GoesOnWithTheTree()
    {
        using var folder = Written(records: 35, clean: true);

        Reopen(folder);

        var audit = StreamAudit.Check(folder);
        Assert.Equal((2, 2, 0), (audit.Starts.Count, audit.Ends.Count, audit.Gaps.Count));
    }

    [Fact]
    public void Open_AfterAKill_GoesOnWithTheTree()
    {
        using var folder = Written(records: 35);

        Reopen(folder);
        Reopen(folder);

        var audit = StreamAudit.Check(folder);
        Assert.Equal((3, 0), (audit.Starts.Count, audit.Gaps.Count));
        Assert.NotEmpty(audit.Checkpoints);
    }

    [Fact]
    public void Checkpoint_TheFirstAfterARestart_GrowsFromTheLastBeforeIt()
    {
        using var folder = Written(records: 35);
        var before = StreamAudit.Check(folder).Checkpoints[^1].TreeSize;

        using (var spool = folder.Open(signing: Every(CheckpointRecords)))
        {
            Append(spool, 20);
            Assert.True(SpinWait.SpinUntil(() => spool.Notary.Checkpoints > 0, TimeSpan.FromSeconds(20)));
        }

        var checkpoints = StreamAudit.Check(folder).Checkpoints;
        Assert.Equal(before, checkpoints.First(one => one.Epoch == 2).PreviousSize);
    }

    [Fact]
    public void Open_AfterATornTail_AdmitsNothingBecauseNothingIsLost()
    {
        using var folder = Written(records: 35);
        var last = folder.ReadAll()[^1];
        using (var file = File.OpenHandle(last.Segment, FileMode.Open, FileAccess.ReadWrite))
        {
            var length = new byte[4];
            RandomAccess.Read(file, length, last.Offset);
            RandomAccess.Write(file, [0, 0, 0, 0, 1, 2, 3], last.Offset + SegmentFormat.FrameLength(BitConverter.ToInt32(length)));
        }

        Reopen(folder);

        Assert.Empty(StreamAudit.Check(folder).Gaps);
    }

    [Fact]
    public void Open_AfterDamageThatNoCheckpointCovers_CountsItAsEmptyAndAdmitsIt()
    {
        using var folder = Written(records: 35);
        var victim = LastDecision(folder);
        Assert.True(victim > StreamAudit.Check(folder).Checkpoints[^1].TreeSize);
        folder.Damage(victim);

        Reopen(folder);
        Reopen(folder);

        var gap = Assert.Single(StreamAudit.Check(folder).Gaps);
        Assert.Equal((victim, victim, Gap.Types.Cause.Damage, true), (gap.First, gap.Last, gap.Cause, gap.EmptyLeaves));
        Assert.True(File.Exists(Path.Combine(folder.Stream, "quarantine", gap.Evidence)));
    }

    [Fact]
    public void Open_AfterDamageThatACheckpointCovers_KeepsItsLeafAndAdmitsIt()
    {
        using var folder = Written(records: 35);
        var leaves = StreamAudit.LeavesOf(folder);
        folder.Damage(8);

        Reopen(folder);
        Reopen(folder);

        var gap = Assert.Single(StreamAudit.Check(folder, leaves).Gaps);
        Assert.Equal((8UL, 8UL, Gap.Types.Cause.Damage, false), (gap.First, gap.Last, gap.Cause, gap.EmptyLeaves));
    }

    [Fact]
    public void Open_AfterDamageThatOnlyTheEndsNoteCovers_KeepsItsLeaf()
    {
        using var folder = Written(records: 35, clean: true);
        var leaves = StreamAudit.LeavesOf(folder);
        var victim = LastDecision(folder);
        Assert.True(victim > StreamAudit.Check(folder).Checkpoints[^1].TreeSize);
        folder.Damage(victim);

        Reopen(folder);

        var audit = StreamAudit.Check(folder, leaves);
        Assert.False(Assert.Single(audit.Gaps).EmptyLeaves);
    }

    [Fact]
    public void Open_AfterDamageInAnOlderSegment_GoesOnWithTheTree()
    {
        using var folder = Written(records: 200, length: 3000);
        var leaves = StreamAudit.LeavesOf(folder);
        Assert.True(folder.Segments.Count > 3);
        folder.Damage(5);

        Reopen(folder);

        // Only who reads it finds it: the publisher admits it then.
        Assert.Empty(StreamAudit.Check(folder, leaves).Gaps);
    }

    [Fact]
    public void Open_AfterDamageToTheNewestCheckpoint_TakesTheOneBefore()
    {
        using var folder = Written(records: 200, length: 3000);
        var leaves = StreamAudit.LeavesOf(folder);
        var newest = folder.ReadAll().Last(one => one.Type == RecordType.Checkpoint).Sequence;
        folder.Damage(newest);

        Reopen(folder);

        // Its own leaf is not signed by anything that is left.
        var gap = Assert.Single(StreamAudit.Check(folder, leaves).Gaps);
        Assert.Equal((newest, true), (gap.First, gap.EmptyLeaves));
    }

    [Fact]
    public void Open_AfterEverySegmentButTheNewestWasPublishedAndDeleted_GoesOnWithTheTree()
    {
        using var folder = Written(records: 200, length: 3000);
        var leaves = StreamAudit.LeavesOf(folder);
        var anchor = StreamAudit.Check(folder).Checkpoints[^1].TreeSize;
        Assert.Equal(0, new PublishCursor(anchor, "t", 0).Write(folder.Stream));
        var segments = SpoolFolder.Segments(folder.Stream);
        for (var index = 0; index + 1 < segments.Count && segments[index + 1].FirstSequence - 1 <= anchor; index++)
        {
            File.Delete(segments[index].Path);
        }

        Assert.True(folder.Segments.Count < segments.Count);
        Reopen(folder);

        using var reader = SpoolReader.OpenStream(folder.Stream, from: leaves.Keys.Max() + 1);
        Assert.Equal((SpoolRead.Record, RecordType.EpochStart), (reader.Read(), reader.Type));
        var tree = leaves.OrderBy(leaf => leaf.Key).Select(leaf => leaf.Value).ToArray();
        Assert.Equal(Proof.Rfc6962.Root(tree), EpochStart.Parser.ParseFrom(reader.Payload).PreviousRoot.ToByteArray());
    }

    [Fact]
    public void Open_WhenKafkaKnowsMoreThanTheDisk_AdmitsWhatTheDiskLost()
    {
        using var folder = Written(records: 35);
        var last = folder.ReadAll()[^1].Sequence;
        Assert.Equal(0, new PublishCursor(last + 1000, "t", 0).Write(folder.Stream));

        Reopen(folder);
        Reopen(folder);

        var gap = Assert.Single(StreamAudit.Check(folder).Gaps);
        Assert.Equal((last + 1, last + 1000, Gap.Types.Cause.LostByDisk, true), (gap.First, gap.Last, gap.Cause, gap.EmptyLeaves));
    }

    [Fact]
    public void Open_WithoutACheckpointButEveryRecord_FindsTheTree()
    {
        using var folder = Written(records: 100, length: 3000, checkpoints: false);
        Assert.True(folder.Segments.Count > 1);

        Reopen(folder);

        Assert.Empty(StreamAudit.Check(folder).Gaps);
    }

    [Fact]
    public void Open_WithoutACheckpointAndWithoutTheFirstRecords_BeginsANewStreamThatNamesTheOld()
    {
        using var folder = Written(records: 100, length: 3000, checkpoints: false);
        var old = folder.Stream;
        var left = SpoolFolder.Segments(old)[1..];
        File.Delete(SpoolFolder.Segments(old)[0].Path);

        using var spool = folder.Open();

        Assert.NotEqual(old, spool.StreamFolder);
        Assert.Equal((1U, 1UL), (spool.Epoch, spool.LastSequence));
        Assert.Equal(left, SpoolFolder.Segments(old));
        Assert.Equal(spool.StreamId, SpoolFolder.ReadIdentity(folder.Path)!.Value.StreamId);
        using var reader = SpoolReader.OpenStream(spool.StreamFolder, follow: true);
        Assert.Equal(SpoolRead.Record, reader.Read());
        var start = EpochStart.Parser.ParseFrom(reader.Payload);
        Assert.Equal(Path.GetFileName(old), Convert.ToHexStringLower(start.ContinuesStream.Span));
    }

    [Theory]
    [InlineData(true)] // noted in gaps.json, not recorded
    [InlineData(false)] // not even noted
    public void Open_AfterACrashBetweenEpochStartAndItsGap_AdmitsItThen(bool noted)
    {
        using var folder = Written(records: 35);
        var victim = LastDecision(folder);
        folder.Damage(victim);
        using var crashed = CrashedAfterOpen(folder);
        var gap = Assert.Single(crashed.ReadAll(), one => one.Type == RecordType.Gap);
        using (var file = File.OpenHandle(gap.Segment, FileMode.Open, FileAccess.Write))
        {
            RandomAccess.SetLength(file, gap.Offset);
        }

        Forget(crashed, delete: !noted);
        Reopen(crashed);
        Reopen(crashed);

        Assert.Equal(victim, Assert.Single(StreamAudit.Check(crashed).Gaps).First);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Open_AfterACrashBetweenAGapAndItsMark_DoesNotAdmitItAgain(bool delete)
    {
        using var folder = Written(records: 35);
        folder.Damage(LastDecision(folder));
        using var crashed = CrashedAfterOpen(folder);
        Forget(crashed, delete);

        Reopen(crashed);

        Assert.Single(StreamAudit.Check(crashed).Gaps);
    }

    [Fact]
    public void Run_ALargeBacklog_ReadsOnlyTheNewestSegments()
    {
        using var folder = Written(records: 2000, length: 3000);
        foreach (var older in folder.Segments.SkipLast(2))
        {
            // Whoever opened it would fail.
            File.Delete(older);
            File.CreateSymbolicLink(older, older);
        }

        Reopen(folder);
    }

    private static void Forget(LedgerFolder folder, bool delete)
    {
        var book = Path.Combine(folder.Stream, "gaps.json");
        Assert.Contains("\"admitted\":true", File.ReadAllText(book), StringComparison.Ordinal);
        if (delete)
        {
            File.Delete(book);
            return;
        }

        File.WriteAllText(book, File.ReadAllText(book).Replace("\"admitted\":true", "\"admitted\":false", StringComparison.Ordinal));
    }

    private static LedgerFolder CrashedAfterOpen(LedgerFolder folder)
    {
        using var spool = folder.Open();
        return folder.CopyAsKilled();
    }

    private static ulong LastDecision(LedgerFolder folder) => folder.ReadAll().Last(one => one.Type == RecordType.Decision).Sequence;

    private static void Reopen(LedgerFolder folder) => folder.Open(signing: Every(CheckpointRecords)).Dispose();

    /// <summary>A stream with a checkpoint every few records and at least three decisions behind the last of them.</summary>
    private static LedgerFolder Written(int records, int length = 100, bool clean = false, bool checkpoints = true)
    {
        var folder = new LedgerFolder();
        var spool = folder.Open(folder.Options(), checkpoints ? Every(CheckpointRecords) : null);
        try
        {
            Append(spool, records, length);
            Assert.True(SpinWait.SpinUntil(
                () => !checkpoints || spool.LastSequence - spool.Notary.SignedSize < CheckpointRecords, TimeSpan.FromSeconds(20)));
            Append(spool, Math.Max(1, CheckpointRecords - 1 - (int)(spool.LastSequence - spool.Notary.SignedSize)), length);
            Assert.True(SpinWait.SpinUntil(() => spool.DurableSequence == spool.LastSequence, TimeSpan.FromSeconds(20)));
            if (clean)
            {
                spool.Dispose();
                return folder;
            }

            var copy = folder.CopyAsKilled();
            spool.Dispose();
            folder.Dispose();
            return copy;
        }
        catch
        {
            spool.Dispose();
            folder.Dispose();
            throw;
        }
    }

    private static void Append(Spool spool, int records, int length = 100)
    {
        for (var index = 0; index < records; index++)
        {
            LedgerFolder.Append(spool, $"r{index}", index * 37 % length);
        }
    }

    private static SigningOptions Every(int records) => new()
    {
        CheckpointInterval = TimeSpan.FromDays(1),
        CheckpointRecords = records,
        HeartbeatInterval = TimeSpan.FromDays(1),
    };
}
