using Google.Protobuf;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Tests.Ledger;

/// <summary>What somebody who can write to a ledger, but lacks its keys, might do to a stream that ended cleanly.</summary>
internal static class Tamper
{
    /// <summary>All of them, by name. Each gives other records than the forge's.</summary>
    public static IReadOnlyDictionary<string, Func<LedgerForge, Random, List<ForgedRecord>>> All { get; } =
        new Dictionary<string, Func<LedgerForge, Random, List<ForgedRecord>>>(StringComparer.Ordinal)
        {
            [nameof(FlipABit)] = FlipABit,
            [nameof(FlipABitInANote)] = FlipABitInANote,
            [nameof(DeleteARecord)] = DeleteARecord,
            [nameof(DeleteARecordAndRenumber)] = DeleteARecordAndRenumber,
            [nameof(InsertARecordAndRenumber)] = InsertARecordAndRenumber,
            [nameof(SwapTwoRecords)] = SwapTwoRecords,
            [nameof(SwapTwoContents)] = SwapTwoContents,
            [nameof(CutBeforeTheLastCheckpoint)] = CutBeforeTheLastCheckpoint,
            [nameof(ReplayAnEpoch)] = ReplayAnEpoch,
            [nameof(ForkTheTail)] = ForkTheTail,
            [nameof(SignWithAnOldKey)] = SignWithAnOldKey,
            [nameof(SignWithAFreshKey)] = SignWithAFreshKey,
            [nameof(SpliceInAnotherStream)] = SpliceInAnotherStream,
            [nameof(ChangeARootWithItsFrontier)] = ChangeARootWithItsFrontier,
            [nameof(ChangeARootWithFrontierAndNote)] = ChangeARootWithFrontierAndNote,
            [nameof(DropAnEpochAndRenumber)] = DropAnEpochAndRenumber,
            [nameof(HideRecordsBehindAGap)] = HideRecordsBehindAGap,
            [nameof(UnderstateALoss)] = UnderstateALoss,
            [nameof(RemoveAWithdrawal)] = RemoveAWithdrawal,
            [nameof(RelabelAWithdrawal)] = RelabelAWithdrawal,
            [nameof(ChangeATime)] = ChangeATime,
            [nameof(RepeatWithOtherBytes)] = RepeatWithOtherBytes,
            [nameof(StartACopyOfTheVolume)] = StartACopyOfTheVolume,
            [nameof(StripALaterEpochsSignatures)] = StripALaterEpochsSignatures,
            [nameof(ShowAnOlderCheckpointAgain)] = ShowAnOlderCheckpointAgain,
        };

    public static List<ForgedRecord> FlipABit(LedgerForge forge, Random random)
    {
        // The last record is the clean end, which only the next epoch covers.
        var index = random.Next(forge.Records.Count - 1);
        var bytes = forge.Records[index].Bytes.ToArray();
        bytes[random.Next(bytes.Length)] ^= (byte)(1 << random.Next(8));
        return Replace(forge, index, forge.Records[index] with { Bytes = bytes });
    }

    public static List<ForgedRecord> FlipABitInANote(LedgerForge forge, Random random)
    {
        var index = Any(forge, RecordType.Checkpoint, random);
        var checkpoint = forge.Records[index].Read(Checkpoint.Parser);
        var note = checkpoint.Note.ToCharArray();
        var at = random.Next(note.Length - 1);
        note[at] = note[at] == 'x' ? 'y' : 'x';
        checkpoint.Note = new string(note);
        return Replace(forge, index, forge.Records[index].With(checkpoint));
    }

    public static List<ForgedRecord> DeleteARecord(LedgerForge forge, Random random)
    {
        var records = forge.Records.ToList();
        records.RemoveAt(random.Next(1, records.Count - 1));
        return records;
    }

    public static List<ForgedRecord> DeleteARecordAndRenumber(LedgerForge forge, Random random) => Renumber(DeleteARecord(forge, random));

    public static List<ForgedRecord> InsertARecordAndRenumber(LedgerForge forge, Random random)
    {
        var records = forge.Records.ToList();
        var index = random.Next(1, records.Count - 1);
        records.Insert(index, Decision(forge, records[index - 1].Epoch, 0, "forged"));
        return Renumber(records);
    }

    public static List<ForgedRecord> SwapTwoRecords(LedgerForge forge, Random random)
    {
        var records = forge.Records.ToList();
        var index = random.Next(1, records.Count - 2);
        (records[index], records[index + 1]) = (records[index + 1], records[index]);
        return records;
    }

    public static List<ForgedRecord> SwapTwoContents(LedgerForge forge, Random random)
    {
        var (one, other) = (Any(forge, RecordType.Decision, random), Any(forge, RecordType.Decision, random));
        other = one == other ? forge.Records.FindIndex(record => record.Type == RecordType.Decision && record != forge.Records[one]) : other;
        var records = forge.Records.ToList();
        (records[one], records[other]) = (records[other], records[one]);
        return Renumber(records);
    }

    public static List<ForgedRecord> CutBeforeTheLastCheckpoint(LedgerForge forge, Random random)
    {
        var last = forge.Records.FindLastIndex(static record => record.Type == RecordType.Checkpoint);
        var count = random.Next(1, Math.Min(10, last));
        return [.. forge.Records.Take(last - count), .. forge.Records.Skip(last)];
    }

    public static List<ForgedRecord> ReplayAnEpoch(LedgerForge forge, Random random)
    {
        var epoch = (uint)random.Next(1, (int)forge.Epoch + 1);
        return Renumber([.. forge.Records, .. forge.Records.Where(record => record.Epoch == epoch)]);
    }

    /// <summary>The one with the key shows two tails, and both come into one topic.</summary>
    public static List<ForgedRecord> ForkTheTail(LedgerForge forge, Random random)
    {
        var from = random.Next(forge.Records.Count / 2, forge.Records.Count - 1);
        return [.. forge.Records, .. forge.Records.Skip(from).Select(record => record with { Bytes = [0x3A, 1, (byte)'f', .. record.Bytes] })];
    }

    public static List<ForgedRecord> SignWithAnOldKey(LedgerForge forge, Random random)
    {
        using var old = NoteKey.Generate(CheckpointText.KeyNameOf(forge.StreamId, 1));
        return Resign(forge, Any(forge, RecordType.Checkpoint, random), old);
    }

    /// <summary>A key of the attacker's under the right name, put into EpochStart too; its certificate cannot be made.</summary>
    public static List<ForgedRecord> SignWithAFreshKey(LedgerForge forge, Random random)
    {
        using var fresh = NoteKey.Generate(CheckpointText.KeyNameOf(forge.StreamId, forge.Epoch));
        var index = forge.Records.FindLastIndex(static record => record.Type == RecordType.EpochStart);
        var start = forge.Records[index].Read(EpochStart.Parser);
        start.EpochKey = fresh.Verifier.Text;
        var records = Resign(forge, index + 1, fresh);
        records[index] = records[index].With(start);
        return records;
    }

    public static List<ForgedRecord> SpliceInAnotherStream(LedgerForge forge, Random random)
    {
        using var other = LedgerForge.Whole(random.Next(), stream: forge.StreamId);
        var at = random.Next(2, Math.Min(forge.Records.Count, other.Records.Count) - 1);
        return [.. forge.Records.Take(at), .. other.Records.Skip(at)];
    }

    public static List<ForgedRecord> ChangeARootWithItsFrontier(LedgerForge forge, Random random)
    {
        var index = Any(forge, RecordType.Checkpoint, random);
        return Replace(forge, index, forge.Records[index].With(Reroot(forge.Records[index])));
    }

    public static List<ForgedRecord> ChangeARootWithFrontierAndNote(LedgerForge forge, Random random)
    {
        var index = Any(forge, RecordType.Checkpoint, random);
        var checkpoint = Reroot(forge.Records[index]);
        var root = TreeHash.Read(checkpoint.RootHash.Span);
        var signature = checkpoint.Note[checkpoint.Note.IndexOf("\n\n", StringComparison.Ordinal)..];
        var text = new CheckpointText(forge.StreamId, checkpoint.TreeSize, root, checkpoint.Epoch, checkpoint.TimeUnixNanos).ToString();
        checkpoint.Note = text[..^1] + signature;
        return Replace(forge, index, forge.Records[index].With(checkpoint));
    }

    public static List<ForgedRecord> DropAnEpochAndRenumber(LedgerForge forge, Random random)
    {
        var epoch = (uint)random.Next(1, (int)forge.Epoch);
        return Renumber([.. forge.Records.Where(record => record.Epoch != epoch)]);
    }

    /// <summary>Takes records out, and makes a record behind them into a Gap that admits just those.</summary>
    public static List<ForgedRecord> HideRecordsBehindAGap(LedgerForge forge, Random random)
    {
        var index = random.Next(4, forge.Records.Count - 2);
        var place = forge.Records[index];
        var gap = new Gap
        {
            StreamId = Id(forge),
            Epoch = place.Epoch,
            Sequence = place.Sequence,
            First = place.Sequence - 2,
            Last = place.Sequence - 1,
            EmptyLeaves = random.Next(2) == 0,
        };
        var records = Replace(forge, index, (place with { Type = RecordType.Gap }).With(gap));
        records.RemoveRange(index - 2, 2);
        return records;
    }

    public static List<ForgedRecord> UnderstateALoss(LedgerForge forge, Random random)
    {
        var index = Any(forge, RecordType.Loss, random);
        var loss = forge.Records[index].Read(Loss.Parser);
        loss.Decisions--;
        loss.TotalDecisions--;
        return Replace(forge, index, forge.Records[index].With(loss));
    }

    public static List<ForgedRecord> RemoveAWithdrawal(LedgerForge forge, Random random)
    {
        var records = forge.Records.ToList();
        records.RemoveAt(Any(forge, RecordType.Withdrawal, random));
        return Renumber(records);
    }

    public static List<ForgedRecord> RelabelAWithdrawal(LedgerForge forge, Random random)
    {
        var index = Any(forge, RecordType.Withdrawal, random);
        var types = new[] { RecordType.Decision, RecordType.EpochStart, RecordType.EpochEnd, RecordType.Checkpoint, RecordType.Gap, RecordType.Loss, RecordType.Activation, RecordType.BreakerChange, RecordType.Change, RecordType.Shed, RecordType.SecurityEvent, (RecordType)200 };
        return Replace(forge, index, forge.Records[index] with { Type = types[random.Next(types.Length)] });
    }

    public static List<ForgedRecord> ChangeATime(LedgerForge forge, Random random)
    {
        var index = Any(forge, RecordType.Decision, random);
        var decision = forge.Records[index].Read(DecisionRecord.Parser);
        decision.TimeUnixNanos -= 3_600_000_000_000;
        return Replace(forge, index, forge.Records[index].With(decision));
    }

    public static List<ForgedRecord> RepeatWithOtherBytes(LedgerForge forge, Random random)
    {
        var records = forge.Records.ToList();
        var index = Any(forge, RecordType.Decision, random);
        records.Insert(index + random.Next(2), Decision(forge, records[index].Epoch, records[index].Sequence, "other"));
        return records;
    }

    public static List<ForgedRecord> StartACopyOfTheVolume(LedgerForge forge, Random random)
    {
        var index = Any(forge, RecordType.EpochStart, random);
        var start = forge.Records[index].Read(EpochStart.Parser);
        start.BootNonce = ByteString.CopyFrom(Guid.NewGuid().ToByteArray());
        return [.. forge.Records, forge.Records[index].With(start)];
    }

    public static List<ForgedRecord> StripALaterEpochsSignatures(LedgerForge forge, Random random)
    {
        var index = forge.Records.FindLastIndex(static record => record.Type == RecordType.EpochStart);
        var start = forge.Records[index].Read(EpochStart.Parser);
        start.Identity = start.EpochKey = start.Certificate = "";
        return Replace(forge, index, forge.Records[index].With(start));
    }

    public static List<ForgedRecord> ShowAnOlderCheckpointAgain(LedgerForge forge, Random random)
    {
        var last = forge.Records.FindLastIndex(static record => record.Type == RecordType.Checkpoint);
        var checkpoint = forge.Records.First(record => record.Type == RecordType.Checkpoint && record.Epoch == forge.Epoch).Read(Checkpoint.Parser);
        checkpoint.Sequence = forge.Records[last].Sequence;
        return Replace(forge, last, forge.Records[last].With(checkpoint));
    }

    /// <summary>Gives every record the number of its place.</summary>
    public static List<ForgedRecord> Renumber(IEnumerable<ForgedRecord> records) => [.. records.Select(static (record, index) =>
    {
        var bytes = record.Bytes.ToArray();
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(bytes.Length - 8), (ulong)index + 1);
        return record with { Sequence = (ulong)index + 1, Bytes = bytes };
    })];

    private static ByteString Id(LedgerForge forge) => ByteString.CopyFrom(forge.StreamId.ToByteArray(bigEndian: true));

    private static ForgedRecord Decision(LedgerForge forge, uint epoch, ulong sequence, string request) =>
        new(RecordType.Decision, epoch, sequence, LedgerForge.Trailed(new DecisionRecord
        {
            StreamId = Id(forge),
            Epoch = epoch,
            Sequence = sequence,
            RequestId = request,
        }));

    private static int Any(LedgerForge forge, RecordType type, Random random)
    {
        var found = Enumerable.Range(0, forge.Records.Count - 1).Where(index => forge.Records[index].Type == type).ToList();
        return found[random.Next(found.Count)];
    }

    private static List<ForgedRecord> Replace(LedgerForge forge, int index, ForgedRecord record)
    {
        var records = forge.Records.ToList();
        records[index] = record;
        return records;
    }

    private static Checkpoint Reroot(ForgedRecord record)
    {
        var checkpoint = record.Read(Checkpoint.Parser);
        var frontier = checkpoint.Frontier.ToByteArray();
        frontier[0] ^= 1;
        checkpoint.Frontier = ByteString.CopyFrom(frontier);
        var root = CompactRange.TryRead(0, checkpoint.TreeSize, frontier)!.Root();
        checkpoint.RootHash = ByteString.CopyFrom(root);
        return checkpoint;
    }

    private static List<ForgedRecord> Resign(LedgerForge forge, int from, NoteKey key) => [.. forge.Records.Select((record, index) =>
    {
        if (index < from || record.Type != RecordType.Checkpoint)
        {
            return record;
        }

        var checkpoint = record.Read(Checkpoint.Parser);
        _ = SignedNote.TryParse(checkpoint.Note, out var note);
        checkpoint.Note = SignedNote.Sign(note!.Text, key).ToString();
        return record.With(checkpoint);
    })];
}
