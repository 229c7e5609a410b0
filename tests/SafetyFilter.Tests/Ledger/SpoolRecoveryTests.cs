using CsCheck;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

public sealed class SpoolRecoveryTests
{
    [Fact]
    public void Open_AfterTornTail_CutsItKeepsACopyAndSaysSo()
    {
        using var killed = Killed(records: 20, segmentBytes: 64 << 10);
        var last = killed.ReadAll()[^1];
        var torn = new byte[] { 0, 0, 0, 0, 1, 2, 3, 4, 5 };
        WriteAt(last.Segment, EndOf(last.Segment, last.Offset), torn);

        using (var spool = killed.Open())
        {
            Assert.Equal(torn.Length, spool.Recovery.BytesCutOff);
            Assert.Equal(last.Sequence + 1, spool.LastSequence);
        }

        var start = EpochStarts(killed)[^1];
        Assert.Equal(((ulong)torn.Length, false, last.Sequence), (start.BytesCutOff, start.PreviousEndedCleanly, start.PreviousSequence));
        var copy = Assert.Single(Directory.GetFiles(Path.Combine(killed.Stream, "quarantine"), "*.torn"));
        Assert.Equal(torn, File.ReadAllBytes(copy));
        using var verifier = killed.Verify();
        Assert.True(verifier.IsVerified, LedgerFolder.Describe(verifier));
        Assert.Contains(verifier.Notes, note => note.Contains("did not end cleanly", StringComparison.Ordinal));
    }

    [Fact]
    public void Open_AfterDamageBetweenRecords_KeepsEveryOtherRecordAndACopy()
    {
        using var killed = Killed(records: 20, segmentBytes: 64 << 10);
        var before = killed.ReadAll();
        var victim = before[10];
        WriteAt(victim.Segment, victim.Offset + SegmentFormat.FrameHeaderLength + 3, [0xFF]);

        using (var spool = killed.Open())
        {
            Assert.Equal(before[^1].Sequence + 2, spool.LastSequence);
            Assert.Equal(DamageKind.Frame, Assert.Single(spool.Recovery.Damages).Kind);
        }

        var after = killed.ReadAll().Where(one => one.Damage is null && one.Epoch == 1).Select(one => one.Sequence);
        Assert.Equal(before.Select(one => one.Sequence).Where(sequence => sequence != victim.Sequence), after);
        Assert.Single(Directory.GetFiles(Path.Combine(killed.Stream, "quarantine"), "*.damaged"));
        using var verifier = killed.Verify();
        Assert.True(verifier.IsVerified, string.Join('\n', verifier.Findings));
        Assert.Contains(verifier.Notes, note => note.Contains($"admitted by {before[^1].Sequence + 2}: {victim.Sequence} to {victim.Sequence}", StringComparison.Ordinal));
    }

    [Fact]
    public void Open_AfterDamageToTheLastRecord_KeepsItAndNeverGivesItsNumberAgain()
    {
        using var killed = Killed(records: 20, segmentBytes: 64 << 10);
        var last = killed.ReadAll()[^1];
        killed.Damage(last.Sequence);

        using (var spool = killed.Open())
        {
            Assert.Equal((last.Sequence, 0L), (spool.Recovery.LastSequence, spool.Recovery.BytesCutOff));
            Assert.Equal((DamageKind.Frame, last.Sequence - 1), (spool.Recovery.Damages.Single().Kind, spool.Recovery.Damages[0].AfterSequence));
        }

        Assert.Single(Directory.GetFiles(Path.Combine(killed.Stream, "quarantine"), "*.damaged"));
        using var verifier = killed.Verify();
        Assert.True(verifier.IsVerified, string.Join('\n', verifier.Findings));
        Assert.Contains(verifier.Notes, note => note.Contains($": {last.Sequence} to {last.Sequence}", StringComparison.Ordinal));
    }

    [Fact]
    public void Open_AfterDamageToTheOnlyRecordOfASegment_DoesNotGiveItsNumberAgain()
    {
        using var killed = Killed(records: 0, segmentBytes: 64 << 10);
        killed.Damage(1);

        using var spool = killed.Open();

        Assert.Equal((1UL, 2U, 1U), (spool.Recovery.LastSequence, spool.Epoch, spool.Recovery.PreviousEpoch));
    }

    [Fact]
    public void Open_WithASpareOfTheLastRun_BeginsWithItsBlocks()
    {
        using var killed = Killed(records: 5, segmentBytes: 64 << 10);
        foreach (var other in Directory.GetFiles(killed.Stream, "*.spare"))
        {
            File.Delete(other);
        }

        var spare = Path.Combine(killed.Stream, "0000000009.spare");
        var second = Path.Combine(killed.Path, "second-name");
        File.WriteAllBytes(spare, new byte[64 << 10]);
        Assert.Equal(0, NativeFile.Link(spare, second));

        using var spool = killed.Open();

        Assert.False(File.Exists(spare));
        Assert.Equal("SFLEDGER"u8, ReadAt(second, 0, 8));
        Assert.Equal(7UL, spool.LastSequence);
    }

    [Fact]
    public void Open_WithASpareThatHoldsBytes_KeepsThemAside()
    {
        using var killed = Killed(records: 5, segmentBytes: 64 << 10);
        var bytes = new byte[64 << 10];
        bytes[9000] = 1;
        File.WriteAllBytes(Path.Combine(killed.Stream, "0000000009.spare"), bytes);

        killed.Open().Dispose();

        var kept = Assert.Single(Directory.GetFiles(Path.Combine(killed.Stream, "quarantine")));
        Assert.Equal(bytes, File.ReadAllBytes(kept));
    }

    [Fact]
    public void Open_WhenAFileCannotBeWritten_SaysSoWithARemedy()
    {
        using var killed = Killed(records: 1, segmentBytes: 64 << 10);
        Directory.CreateDirectory(Path.Combine(killed.Path, "spool.json.tmp"));

        var error = Assert.Throws<LedgerException>(() => killed.Open());

        Assert.Contains(killed.Path, error.Message, StringComparison.Ordinal);
        Assert.Contains("permissions", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_AfterKillBeforeASpareWasNamed_AdoptsItsRecords()
    {
        using var killed = Killed(records: 60, segmentBytes: 64 << 10, length: 3000);
        var last = killed.Segments[^1];
        var records = killed.ReadAll().Count;
        File.Move(last, Path.Combine(killed.Stream, "0000000007.spare"));

        using (killed.Open())
        {
            Assert.Equal(last, killed.Segments[^2]);
        }

        Assert.Equal(records + 2, killed.ReadAll().Count);
    }

    [Fact]
    public void Open_WhenKafkaKnowsMoreThanTheDisk_NeverGivesANumberTwice()
    {
        using var killed = Killed(records: 5, segmentBytes: 64 << 10);
        Assert.Equal(0, new PublishCursor(1000, "t", 0).Write(killed.Stream));

        using var spool = killed.Open();

        Assert.Equal(1000UL, spool.Recovery.LastSequence);
        Assert.Equal([(1001UL, RecordType.EpochStart), (1002UL, RecordType.Gap)], killed.ReadAll()[^2..].Select(one => (one.Sequence, one.Type)));
    }

    [Fact]
    public void Open_AfterTruncationAnywhereInTheNewestSegment_KeepsExactlyTheWholeRecordsBeforeIt()
    {
        using var original = Killed(records: 40, segmentBytes: 32 << 10);
        var before = original.ReadAll();
        var newest = original.Segments[^1];
        var end = EndOf(newest, before[^1].Offset);

        Gen.Long[0, end].Sample(
            cut =>
            {
                using var copy = original.CopyAsKilled();
                var segment = copy.Segments[^1];
                using (var file = File.OpenWrite(segment))
                {
                    file.SetLength(cut);
                }

                var expected = before.Where(one => one.Segment != newest || EndOfRecord(newest, one.Offset) <= cut).Select(one => one.Sequence).ToList();

                // Its length is there, so it was acknowledged: it must show, and its number must not come again.
                var lost = before.Any(one => one.Segment == newest && one.Offset < cut && EndOfRecord(newest, one.Offset) > cut) ? 1 : 0;
                using (copy.Open())
                {
                }

                var after = copy.ReadAll();
                Assert.Equal(lost, after.Count(one => one.Damage is not null));
                Assert.Equal(expected, after.Where(one => one.Damage is null && one.Epoch == 1).Select(one => one.Sequence));

                // EpochStart, EpochEnd; and for a loss the place itself and the Gap that admits it.
                Assert.Equal(expected.Count + 2 + 2 * lost, after.Count);
                Assert.Equal((ulong)after.Count, after[^1].Sequence);
                using var verifier = copy.Verify();
                Assert.True(verifier.IsVerified, string.Join('\n', verifier.Findings));
                Assert.Equal(lost, verifier.Notes.Count(note => note.Contains("admitted by", StringComparison.Ordinal)));
            },
            iter: 40, threads: 1);
    }

    [Fact]
    public void Read_AfterChangingAnyByteOfARecord_LosesOnlyThatRecordAndVerifyFindsIt()
    {
        using var original = Killed(records: 120, segmentBytes: 32 << 10, length: 1500);
        var before = original.ReadAll();
        Assert.True(original.Segments.Count > 2);

        Gen.Select(Gen.Int[0, before.Count - 1], Gen.Double.Unit, Gen.Byte[1, 255]).Sample(
            (index, where, flip) =>
            {
                using var copy = original.CopyAsKilled();
                var victim = before[index];
                var segment = Path.Combine(copy.Stream, Path.GetFileName(victim.Segment));
                var length = (int)BitConverter.ToUInt32(ReadAt(segment, victim.Offset, 4)) + SegmentFormat.FrameHeaderLength;
                var at = victim.Offset + (int)(where * (length - 1));
                WriteAt(segment, at, [(byte)(ReadAt(segment, at, 1)[0] ^ flip)]);

                var after = copy.ReadAll();

                Assert.Equal(
                    before.Select(one => one.Sequence).Where(sequence => sequence != victim.Sequence),
                    after.Where(one => one.Damage is null).Select(one => one.Sequence));
                using var verifier = copy.Verify();
                Assert.False(verifier.IsVerified);
            },
            iter: 150, threads: 1);
    }

    [Fact]
    public void Read_AnyBytesAsASegment_EndsWithoutAnException() =>
        Gen.Byte.Array[0, 2000].Sample(
            bytes =>
            {
                using var folder = new LedgerFolder();
                var stream = Directory.CreateDirectory(Path.Combine(folder.Path, Guid.CreateVersion7().ToString("N"))).FullName;
                File.WriteAllBytes(Path.Combine(stream, SpoolFolder.SegmentName(1)), bytes);

                var read = folder.ReadAll();

                Assert.All(read, one => Assert.NotNull(one.Damage));
                Assert.True(read.Count <= 2);
            },
            iter: 100, threads: 1);

    [Fact]
    public void Read_TextThatLooksLikeAFrame_IsNotTakenForOneWhileItsRecordIsWhole()
    {
        using var folder = new LedgerFolder();
        byte[] forged;
        using (var spool = folder.Open())
        {
            LedgerFolder.Append(spool, "real");
            using var reader = SpoolReader.OpenStream(folder.Stream, from: 2, follow: true);
            Assert.Equal(SpoolRead.Record, reader.Read());
            forged = ReadAt(reader.SegmentPath, reader.Offset, (int)(reader.Position - reader.Offset));
            spool.Append(RecordType.Decision, [.. new byte[64], .. forged], out _);
        }

        Assert.Equal([1UL, 2, 3, 4], ReadSequences(folder));
    }

    [Fact]
    public void Read_AFrameOfAnotherStreamInADamagedRecord_IsNotTakenForARecord()
    {
        using var other = Killed(records: 5, segmentBytes: 64 << 10);
        var foreign = other.ReadAll()[4];
        var forged = ReadAt(foreign.Segment, foreign.Offset, (int)(EndOf(foreign.Segment, foreign.Offset) - foreign.Offset));
        using var folder = new LedgerFolder();
        using (var spool = folder.Open())
        {
            LedgerFolder.Append(spool, "real");
            spool.Append(RecordType.Decision, [.. new byte[64], .. forged], out _);
            LedgerFolder.Append(spool, "real");
        }

        var victim = OffsetOf(folder, 3);
        WriteAt(folder.Segments[0], victim, [0xFF, 0xFF, 0xFF, 0x7F]);

        var read = folder.ReadAll();

        Assert.Equal([1UL, 2, 4, 5], read.Where(one => one.Damage is null).Select(one => one.Sequence));
        Assert.Equal(DamageKind.Frame, Assert.Single(read, one => one.Damage is not null).Damage!.Value.Kind);
    }

    private static long OffsetOf(LedgerFolder folder, ulong sequence)
    {
        using var reader = SpoolReader.OpenStream(folder.Stream, from: sequence);
        Assert.Equal(SpoolRead.Record, reader.Read());
        return reader.Offset;
    }

    private static IEnumerable<ulong> ReadSequences(LedgerFolder folder)
    {
        using var reader = SpoolReader.OpenStream(folder.Stream);
        var found = new List<ulong>();
        while (reader.Read() == SpoolRead.Record)
        {
            found.Add(reader.Sequence);
        }

        return found;
    }

    private static LedgerFolder Killed(int records, long segmentBytes, int length = 700)
    {
        using var folder = new LedgerFolder();
        using var spool = folder.Open(folder.Options(segmentBytes, maxRecord: 16 << 10));
        ulong last = 1;
        for (var index = 0; index < records; index++)
        {
            last = LedgerFolder.Append(spool, $"r{index}", index * 37 % length);
        }

        // Segments have their names once they are durable.
        Assert.True(SpinWait.SpinUntil(() => spool.DurableSequence >= last, TimeSpan.FromSeconds(20)));
        return folder.CopyAsKilled();
    }

    private static List<EpochStart> EpochStarts(LedgerFolder folder)
    {
        var found = new List<EpochStart>();
        using var reader = SpoolReader.OpenStream(folder.Stream);
        while (reader.Read() == SpoolRead.Record)
        {
            if (reader.Type == RecordType.EpochStart)
            {
                found.Add(EpochStart.Parser.ParseFrom(reader.Payload));
            }
        }

        return found;
    }

    /// <summary>Without the padding after it, which nobody misses.</summary>
    private static long EndOfRecord(string segment, long offset) =>
        offset + SegmentFormat.FrameHeaderLength + BitConverter.ToUInt32(ReadAt(segment, offset, 4));

    private static long EndOf(string segment, long offset) =>
        offset + SegmentFormat.FrameLength((int)BitConverter.ToUInt32(ReadAt(segment, offset, 4)));

    private static byte[] ReadAt(string path, long offset, int count)
    {
        using var file = File.OpenHandle(path, share: FileShare.ReadWrite | FileShare.Delete);
        var bytes = new byte[count];
        Assert.Equal(count, RandomAccess.Read(file, bytes, offset));
        return bytes;
    }

    private static void WriteAt(string path, long offset, byte[] bytes)
    {
        using var file = File.OpenHandle(path, FileMode.Open, FileAccess.Write);
        RandomAccess.Write(file, bytes, offset);
    }
}
