using System.Security.Cryptography;
using Google.Protobuf;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

internal enum FindingKind
{
    /// <summary>Sequences that are not there.</summary>
    Gap,

    /// <summary>Two different records with the same stream and sequence.</summary>
    Conflict,

    /// <summary>A record that came after a later one.</summary>
    OutOfOrder,

    /// <summary>Epochs that do not follow each other as their first and last records say.</summary>
    EpochChain,

    /// <summary>A frame or header that says something else than its record.</summary>
    Mismatch,

    /// <summary>Bytes under a valid checksum that are no record of lineage.proto.</summary>
    Malformed,

    /// <summary>Bytes in a segment that are no record.</summary>
    Damage,

    /// <summary>Bytes after the last record. The sidecar's next start cuts them off and says so in its EpochStart.</summary>
    TornTail,
}

/// <param name="Source">The segment file, or topic and partition.</param>
/// <param name="Position">The byte offset in the file, or the message's offset in the partition.</param>
internal readonly record struct LedgerFinding(FindingKind Kind, string Source, long Position, Guid StreamId, ulong Sequence, string Text);

/// <summary>
/// Reads records in the order in which they lie and finds what is missing, doubled, out of order or damaged. Keeps a bounded
/// memory of leaf hashes, so that ledgers of any length can be read. Not thread-safe.
/// </summary>
/// <remarks>
/// It cannot see that records are missing at the newest end, nor a ledger that was rewritten as a whole: receipts and
/// checkpoints are for that.
/// </remarks>
internal sealed class LedgerVerifier(int maxFindings = 1000, int repeatWindow = 1 << 18) : IDisposable
{
    private readonly Dictionary<Guid, StreamState> _streams = [];
    private readonly List<LedgerFinding> _findings = [];
    private readonly List<string> _notes = [];
    private readonly IncrementalHash _sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public long Records { get; private set; }

    public long Decisions { get; private set; }

    /// <summary>Candidates in all decisions.</summary>
    public long Candidates { get; private set; }

    /// <summary>Records that came again, byte for byte: what a publisher does after a restart.</summary>
    public long Repeats { get; private set; }

    /// <summary>Decisions that records admit to be missing.</summary>
    public long AdmittedLosses { get; private set; }

    public long Bytes { get; private set; }

    /// <summary>All findings, also those past the first <c>maxFindings</c>, which are only counted.</summary>
    public long FindingCount { get; private set; }

    public IReadOnlyList<LedgerFinding> Findings => _findings;

    /// <summary>What an auditor should know and what is nobody's fault.</summary>
    public IReadOnlyList<string> Notes => _notes;

    public IEnumerable<StreamSummary> Streams =>
        _streams.Values.Select(static stream => new StreamSummary(stream.Id, stream.First, stream.Next - 1, stream.FirstEpoch, stream.Epoch));

    public bool IsVerified => FindingCount == 0;

    /// <summary>Verifies a spool folder, a stream's folder or one segment file. False with a message when there is nothing to read.</summary>
    public bool AddSpool(string path, out string? error)
    {
        if (!SpoolSource.TryOpen(path, out var source, out error))
        {
            return false;
        }

        foreach (var stream in source.Streams)
        {
            using var reader = stream.Open();
            while (reader.Read() is var read && read != SpoolRead.End)
            {
                if (read == SpoolRead.Damage)
                {
                    AddDamage(reader.Damage);
                    continue;
                }

                AddFrame(reader);
            }
        }

        Finish();
        return true;
    }

    /// <summary>Takes one record in the order of its source.</summary>
    /// <param name="type">As frame or header say; null when they do not.</param>
    public void Add(string source, long position, RecordType? type, ReadOnlySpan<byte> record)
    {
        Records++;
        Bytes += record.Length;
        if (!RecordFields.TryRead(record, out var fields))
        {
            Find(FindingKind.Malformed, source, position, default, "is no record with stream, epoch and sequence");
            return;
        }

        if (type is null)
        {
            Find(FindingKind.Mismatch, source, position, fields, "has no known record type");
            return;
        }

        var leaf = LeafOf(record);
        if (!_streams.TryGetValue(fields.StreamId, out var stream))
        {
            stream = new StreamState(fields, repeatWindow);
            _streams.Add(fields.StreamId, stream);
            if (fields.Sequence > 1)
            {
                _notes.Add(
                    $"stream {stream.Id:N} begins at sequence {fields.Sequence} here: " +
                    "what came before is elsewhere (published and deleted, or expired)");
            }
        }
        else if (fields.Sequence < stream.Next)
        {
            AddEarlier(stream, source, position, fields, leaf);
            return;
        }
        else if (fields.Sequence > stream.Next)
        {
            stream.Missing.Add(new MissingRange(stream.Next, fields.Sequence - 1, source, position));
            stream.CountIsComplete = false;
        }

        CheckEpoch(stream, source, position, type.Value, fields, record);
        stream.Remember(fields.Sequence, leaf);
        stream.Next = fields.Sequence + 1;
        if (type == RecordType.Decision)
        {
            Decisions++;
            Candidates += (long)fields.CandidateCount;
            AdmittedLosses += (long)fields.LostSinceLast;
            stream.EpochDecisions++;
        }
    }

    public void AddDamage(in SpoolDamage damage)
    {
        var kind = damage.Kind == DamageKind.TornTail ? FindingKind.TornTail : FindingKind.Damage;
        var fields = new RecordFields { Sequence = damage.AfterSequence };
        Find(kind, damage.Path, damage.Offset, fields, $"{damage.Kind}: {damage.Length} bytes are no record");
    }

    /// <summary>Turns what is still missing into findings. Call once, after the last record.</summary>
    public void Finish()
    {
        foreach (var stream in _streams.Values)
        {
            foreach (var missing in stream.Missing)
            {
                var fields = new RecordFields { StreamId = stream.Id, Sequence = missing.First };
                var text = $"{missing.Last - missing.First + 1} records are missing: {missing.First} to {missing.Last}";
                Find(FindingKind.Gap, missing.Source, missing.Position, fields, text);
            }

            stream.Missing.Clear();
        }
    }

    public void Dispose() => _sha.Dispose();

    private void AddFrame(SpoolReader reader)
    {
        var record = reader.Payload;
        if (RecordFields.TryRead(record, out var fields) && (fields.Sequence != reader.Sequence || fields.Epoch != reader.Epoch))
        {
            Find(FindingKind.Mismatch, reader.SegmentPath, reader.Offset, fields,
                $"the frame says epoch {reader.Epoch}, sequence {reader.Sequence}; the record says {fields.Epoch}, {fields.Sequence}");
        }

        var type = reader.Type is RecordType.Decision or RecordType.EpochStart or RecordType.EpochEnd ? reader.Type : (RecordType?)null;
        Add(reader.SegmentPath, reader.Offset, type, record);
    }

    private void AddEarlier(StreamState stream, string source, long position, in RecordFields fields, UInt128 leaf)
    {
        if (fields.Sequence < stream.First || stream.TryFill(fields.Sequence))
        {
            Find(FindingKind.OutOfOrder, source, position, fields, "comes after a later record");
            if (fields.Sequence >= stream.First)
            {
                stream.Remember(fields.Sequence, leaf);
            }

            return;
        }

        switch (stream.Compare(fields.Sequence, leaf))
        {
            case true:
                Repeats++;
                break;
            case false:
                Find(FindingKind.Conflict, source, position, fields, "differs from the record that has the same stream and sequence");
                break;
            default:
                Repeats++;
                if (!stream.RepeatsUnchecked)
                {
                    stream.RepeatsUnchecked = true;
                    _notes.Add(
                        $"stream {stream.Id:N}: sequence {fields.Sequence} came again long after the first time; " +
                        "such repeats are counted but not compared");
                }

                break;
        }
    }

    private void CheckEpoch(StreamState stream, string source, long position, RecordType type, in RecordFields fields, ReadOnlySpan<byte> record)
    {
        if (type == RecordType.EpochStart)
        {
            CheckStart(stream, source, position, fields, record);
            return;
        }

        if (fields.Epoch != stream.Epoch || stream.EpochEnded)
        {
            Find(FindingKind.EpochChain, source, position, fields, stream.EpochEnded
                ? $"follows the end of epoch {stream.Epoch} without an EpochStart"
                : $"is of epoch {fields.Epoch}, but epoch {stream.Epoch} is running");
            stream.Begin(fields.Epoch, complete: false);
        }

        if (type == RecordType.EpochEnd)
        {
            stream.EpochEnded = true;
            if (TryParse(EpochEnd.Parser, record, out var end) && stream.CountIsComplete && end.Decisions != stream.EpochDecisions)
            {
                Find(FindingKind.EpochChain, source, position, fields,
                    $"the epoch's end counts {end.Decisions} decisions; {stream.EpochDecisions} are here");
            }
        }
    }

    private void CheckStart(StreamState stream, string source, long position, in RecordFields fields, ReadOnlySpan<byte> record)
    {
        if (!TryParse(EpochStart.Parser, record, out var start))
        {
            Find(FindingKind.Malformed, source, position, fields, "is no EpochStart");
            return;
        }

        if (start.PreviousSequence != fields.Sequence - 1)
        {
            Find(FindingKind.EpochChain, source, position, fields, $"names {start.PreviousSequence} as the sequence before it");
        }

        if (stream.HasRecords)
        {
            if (start.PreviousEpoch != stream.Epoch || fields.Epoch <= stream.Epoch)
            {
                Find(FindingKind.EpochChain, source, position, fields,
                    $"epoch {fields.Epoch} names epoch {start.PreviousEpoch} as the one before it; epoch {stream.Epoch} was running");
            }

            if (start.PreviousEndedCleanly != stream.EpochEnded && stream.Next == fields.Sequence)
            {
                Find(FindingKind.EpochChain, source, position, fields, start.PreviousEndedCleanly
                    ? $"says that epoch {stream.Epoch} ended cleanly, but its EpochEnd is not there"
                    : $"says that epoch {stream.Epoch} did not end cleanly, but its EpochEnd is there");
            }
        }
        else if (fields.Sequence == 1 && start.PreviousEpoch != 0)
        {
            Find(FindingKind.EpochChain, source, position, fields, $"is the first record, but names epoch {start.PreviousEpoch} before it");
        }

        if (fields.Sequence > 1 && !start.PreviousEndedCleanly)
        {
            _notes.Add(
                $"stream {stream.Id:N}: epoch {start.PreviousEpoch} did not end cleanly; " +
                $"epoch {fields.Epoch} follows at sequence {fields.Sequence}, {start.BytesCutOff} bytes of a torn tail cut off");
        }

        stream.Begin(fields.Epoch, complete: true);
    }

    private static bool TryParse<T>(MessageParser<T> parser, ReadOnlySpan<byte> record, out T message)
        where T : class, IMessage<T>
    {
        try
        {
            message = parser.ParseFrom(record);
            return true;
        }
        catch (InvalidProtocolBufferException)
        {
            message = null!;
            return false;
        }
    }

    private UInt128 LeafOf(ReadOnlySpan<byte> record)
    {
        Span<byte> hash = stackalloc byte[LeafHash.Length];
        _sha.AppendData([0]);
        _sha.AppendData(record);
        _sha.GetHashAndReset(hash);
        return System.Runtime.InteropServices.MemoryMarshal.Read<UInt128>(hash);
    }

    private void Find(FindingKind kind, string source, long position, in RecordFields fields, string text)
    {
        FindingCount++;
        if (_findings.Count < maxFindings)
        {
            _findings.Add(new LedgerFinding(kind, source, position, fields.StreamId, fields.Sequence, text));
        }
    }
}
