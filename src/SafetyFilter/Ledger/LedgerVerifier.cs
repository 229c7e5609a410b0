using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Google.Protobuf;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

internal enum FindingKind
{
    /// <summary>Sequences that are not there.</summary>
    Gap,

    /// <summary>Two different records with the same stream, epoch and sequence.</summary>
    Conflict,

    /// <summary>A sequence that two epochs gave: a run did not know all that the one before it had done.</summary>
    Renumbered,

    /// <summary>A record that came after a later one.</summary>
    OutOfOrder,

    /// <summary>Epochs that do not follow each other as their first and last records say.</summary>
    EpochChain,

    /// <summary>A frame or header that says something else than its record.</summary>
    Mismatch,

    /// <summary>Bytes under a valid checksum that are no record of lineage.proto.</summary>
    Malformed,

    /// <summary>Bytes in a segment that are no record, or that cannot be read.</summary>
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
    private readonly HashSet<RecordType> _unknownTypes = [];
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

    /// <summary>Verifies a spool folder, a stream's folder or one segment file. False with a message when there is nothing to verify.</summary>
    public bool AddSpool(string path, out string? error) => SpoolSource.TryOpen(path, out var source, out error) && AddSpool(source, out error);

    public bool AddSpool(SpoolSource source, out string? error)
    {
        error = null;
        foreach (var part in source.Streams)
        {
            var before = Records + FindingCount;
            using var reader = part.Open();
            AddRecords(reader, part.IsFolder ? part.Path : null);
            if (Records + FindingCount == before)
            {
                error = $"'{part.Path}' holds no records: nothing to verify. If it had any, they are gone.";
            }
        }

        Finish();
        if (error is not null && FindingCount > 0)
        {
            _notes.Add(error);
            error = null;
        }

        return error is null;
    }

    /// <summary>Takes what a reader finds.</summary>
    /// <param name="streamFolder">Where cursor.json tells what was published, and so may be deleted; null when only the records count.</param>
    public void AddRecords(SpoolReader reader, string? streamFolder)
    {
        ulong first = 0;
        ulong last = 0;
        var lastSegment = "";
        while (reader.Read() is var read && read != SpoolRead.End)
        {
            if (read == SpoolRead.Damage)
            {
                AddDamage(reader.Damage);
                continue;
            }

            first = first == 0 ? reader.Sequence : first;
            if (last != 0 && reader.Sequence > last + 1 && !File.Exists(lastSegment) && PublishedThrough(streamFolder) >= reader.Sequence - 1)
            {
                // The publisher deletes the oldest first, so what lay between the two went the same way.
                SkipPublished(reader, last + 1);
            }

            last = reader.Sequence;
            lastSegment = reader.SegmentPath;
            AddFrame(reader);
        }

        // Asked for only now: while this read, a publisher may have published and deleted more.
        if (streamFolder is not null && first > 1 && PublishedThrough(streamFolder) is var published && first > published + 1)
        {
            var fields = new RecordFields { Sequence = published + 1 };
            Find(FindingKind.Gap, streamFolder, 0, fields,
                $"the oldest record here is {first}, but cursor.json says that Kafka has {published} and not more: {published + 1} to {first - 1} are missing");
        }
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

        if (type > RecordType.Activation && _unknownTypes.Add(type.Value))
        {
            _notes.Add($"'{source}' has records of type {(int)type.Value}, which a later version may know: place and checksum are checked, content is not");
        }

        if (type is null)
        {
            Find(FindingKind.Mismatch, source, position, fields, "has no known record type");
            return;
        }

        var hash = TreeHash.OfLeaf(_sha, record);
        var leaf = MemoryMarshal.Read<UInt128>(hash);
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
        Find(kind, damage.Path, damage.Offset, fields, Describe(damage));
    }

    public static string Describe(in SpoolDamage damage) => damage.Kind == DamageKind.Unreadable
        ? $"{damage.Kind}: {damage.Reason}"
        : $"{damage.Kind}: {damage.Length} bytes are no record";

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

    private static ulong PublishedThrough(string? streamFolder) =>
        streamFolder is null ? 0 : PublishCursor.Read(streamFolder)?.PublishedThrough ?? 0;

    private void SkipPublished(SpoolReader reader, ulong from)
    {
        if (RecordFields.TryRead(reader.Payload, out var fields) && _streams.TryGetValue(fields.StreamId, out var stream) && stream.Next == from)
        {
            _notes.Add($"stream {stream.Id:N}: {from} to {reader.Sequence - 1} were published and deleted while this was read");
            stream.Next = reader.Sequence;

            // What the epoch before said of its end went with them: take the next one's word.
            var start = reader.Type == RecordType.EpochStart && TryParse(EpochStart.Parser, reader.Payload, out var parsed) ? parsed : null;
            stream.Begin(start?.PreviousEpoch ?? fields.Epoch, reader.Sequence, complete: false);
            stream.EpochEnded = start?.PreviousEndedCleanly ?? false;
        }
    }

    private void AddFrame(SpoolReader reader)
    {
        var record = reader.Payload;
        if (RecordFields.TryRead(record, out var fields) && (fields.Sequence != reader.Sequence || fields.Epoch != reader.Epoch))
        {
            Find(FindingKind.Mismatch, reader.SegmentPath, reader.Offset, fields,
                $"the frame says epoch {reader.Epoch}, sequence {reader.Sequence}; the record says {fields.Epoch}, {fields.Sequence}");
        }

        Add(reader.SegmentPath, reader.Offset, reader.Type, record);
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

        if (stream.EpochOf(fields.Sequence) is var epoch && epoch != fields.Epoch)
        {
            Find(FindingKind.Renumbered, source, position, fields, $"epoch {fields.Epoch} has the sequence that epoch {epoch} gave to another record");
            return;
        }

        switch (stream.Compare(fields.Sequence, leaf))
        {
            case true:
                Repeats++;
                break;
            case false:
                Find(FindingKind.Conflict, source, position, fields, "differs from the record that has the same stream, epoch and sequence");
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
            stream.Begin(fields.Epoch, fields.Sequence, complete: false);
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

        stream.Begin(fields.Epoch, fields.Sequence, complete: true);
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

    private void Find(FindingKind kind, string source, long position, in RecordFields fields, string text)
    {
        FindingCount++;
        if (_findings.Count < maxFindings)
        {
            _findings.Add(new LedgerFinding(kind, source, position, fields.StreamId, fields.Sequence, text));
        }
    }
}
