using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Google.Protobuf;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Ledger.Verify;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>
/// Reads records in the order in which they lie and finds what is missing, doubled, out of order, damaged, or not what was signed.
/// Keeps a bounded memory of leaf hashes, so that ledgers of any length can be read. Not thread-safe.
/// </summary>
/// <remarks>
/// On its own it cannot see that records are missing at the newest end, nor a ledger that was rewritten as a whole under
/// another identity: a pinned identity, receipts and checkpoints from elsewhere (<see cref="VerifierOptions"/>) are for that.
/// </remarks>
internal sealed class LedgerVerifier(VerifierOptions? options = null) : IDisposable
{
    private readonly VerifierOptions _options = options ?? new VerifierOptions();
    private readonly Verdict _verdict = new((options ?? new VerifierOptions()).MaxFindings);
    private readonly Dictionary<Guid, StreamAudit> _streams = [];
    private readonly HashSet<RecordType> _unknownTypes = [];

    // Bytes that are no record, and the sequences that are missing there.
    private readonly List<(Guid StreamId, SpoolDamage Damage, ulong First, ulong Last)> _damages = [];

    // With which sequence a folder that is read should begin; 0 when nothing tells.
    private ulong _expectedFirst;
    private readonly IncrementalHash _sha = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);

    public long Records { get; private set; }

    public long Decisions { get; private set; }

    /// <summary>Candidates in all decisions.</summary>
    public long Candidates { get; private set; }

    /// <summary>Records that came again, byte for byte: what a publisher does after a restart.</summary>
    public long Repeats { get; private set; }

    /// <summary>Decisions that records admit to be missing.</summary>
    public long AdmittedLosses => _streams.Values.Sum(static stream => (long)stream.Losses.Admitted);

    /// <summary>Decisions that were recorded and then not given.</summary>
    public long Withdrawals => _streams.Values.Sum(static stream => stream.Losses.Withdrawals);

    public long Bytes { get; private set; }

    /// <summary>All findings, also those past the first <see cref="VerifierOptions.MaxFindings"/>, which are only counted.</summary>
    public long FindingCount => _verdict.FindingCount;

    public IReadOnlyList<LedgerFinding> Findings => _verdict.Findings;

    /// <summary>What an auditor should know and what is nobody's fault.</summary>
    public IReadOnlyList<string> Notes => _verdict.Notes;

    public IEnumerable<StreamSummary> Streams => _streams.Values.Select(StreamSummary.Of);

    /// <summary>The proof of the wanted record; null when it is not here, or no signed checkpoint covers it.</summary>
    public InclusionResult? Inclusion => _options.Wanted is { } wanted ? _streams.GetValueOrDefault(wanted.StreamId)?.Tree.Inclusion : null;

    public bool IsVerified => FindingCount == 0;

    /// <summary>Verifies spool folders, stream folders or segment files. False with a message when there is nothing to verify.</summary>
    public bool AddSpool(string path, out string? error) => SpoolSource.TryOpen(path, out var source, out error) && AddSpool(source, out error);

    /// <param name="stop">Throws when it is cancelled.</param>
    public bool AddSpool(SpoolSource source, out string? error, CancellationToken stop = default)
    {
        error = null;
        foreach (var part in source.Streams)
        {
            var before = Records + FindingCount;
            using var reader = part.Open();
            AddRecords(reader, part.IsFolder ? part.Path : null, stop);
            if (Records + FindingCount == before)
            {
                error = $"'{part.Path}' holds no records: nothing to verify. If it had any, they are gone.";
            }
        }

        Finish();
        if (error is not null && FindingCount > 0)
        {
            _verdict.Note(error);
            error = null;
        }

        return error is null;
    }

    /// <summary>Takes what a reader finds.</summary>
    /// <param name="streamFolder">Where cursor.json tells what was published, and so may be deleted; null when only the records count.</param>
    public void AddRecords(SpoolReader reader, string? streamFolder, CancellationToken stop = default)
    {
        ulong first = 0;
        ulong before = 0;
        ulong last = 0;
        var lastSegment = "";
        var damages = new List<SpoolDamage>();
        while (reader.Read() is var read && read != SpoolRead.End)
        {
            stop.ThrowIfCancellationRequested();
            if (read == SpoolRead.Damage)
            {
                damages.Add(reader.Damage);
                continue;
            }

            if (first == 0)
            {
                // The publisher deletes only what cursor.json says that Kafka has, and says it before.
                first = reader.Sequence;
                before = streamFolder is null ? first - 1 : Math.Min(PublishedThrough(streamFolder), first - 1);
            }

            PlaceDamages(damages, reader, last == 0 ? before : last);
            if (last != 0 && reader.Sequence > last + 1 && !File.Exists(lastSegment) && PublishedThrough(streamFolder) >= reader.Sequence - 1)
            {
                // The publisher deletes the oldest first, so what lay between the two went the same way.
                SkipPublished(reader, last + 1);
            }

            _expectedFirst = last == 0 ? before + 1 : 0;
            AddFrame(reader);
            last = reader.Sequence;
            lastSegment = reader.SegmentPath;
        }

        damages.ForEach(damage => AddDamage(damage));
    }

    /// <summary>Takes one record in the order of its source.</summary>
    /// <param name="type">As frame or header say; null when they do not.</param>
    public void Add(string source, long position, RecordType? type, ReadOnlySpan<byte> record)
    {
        Records++;
        Bytes += record.Length;
        if (!RecordFields.TryRead(record, out var fields))
        {
            _verdict.Find(FindingKind.Malformed, new RecordPlace(source, position, default, 0), "is no record with stream, epoch and sequence");
            return;
        }

        var place = new RecordPlace(source, position, fields.StreamId, fields.Sequence);
        if (type > RecordType.SecurityEvent && _unknownTypes.Add(type.Value))
        {
            // The type is in no leaf. A record that was given another one's type shows by its content; one of a type without rules could hide.
            _verdict.Find(FindingKind.Mismatch, place, $"is of type {(int)type.Value}, for which this version has no rules; use a later one");
        }

        if (type is null)
        {
            _verdict.Find(FindingKind.Mismatch, place, "has no known record type");
            return;
        }

        var leaf = TreeHash.OfLeaf(_sha, record);
        var half = MemoryMarshal.Read<UInt128>(leaf);
        if (!_streams.TryGetValue(fields.StreamId, out var stream))
        {
            var first = fields;
            first.Sequence = _expectedFirst != 0 ? _expectedFirst : fields.Sequence;
            stream = new StreamAudit(first, _options, _verdict);
            _streams.Add(fields.StreamId, stream);
        }

        if (fields.Sequence < stream.Order.Next)
        {
            AddEarlier(stream, place, type.Value, fields, record, leaf, half);
            return;
        }
        else if (fields.Sequence > stream.Order.Next)
        {
            stream.Miss(place, isFinding: true);
        }

        stream.Take(place, type.Value, fields, record, leaf, half);
        if (type == RecordType.Decision)
        {
            Decisions++;
            Candidates += (long)fields.CandidateCount;
        }
    }

    public void AddDamage(in SpoolDamage damage)
    {
        var kind = damage.Kind == DamageKind.TornTail ? FindingKind.TornTail : FindingKind.Damage;
        _verdict.Find(kind, new RecordPlace(damage.Path, damage.Offset, default, damage.AfterSequence), Describe(damage));
    }

    /// <summary>Damage in place of records is for the stream to judge: a Gap record further on may admit it.</summary>
    private void PlaceDamages(List<SpoolDamage> damages, SpoolReader reader, ulong last)
    {
        foreach (var damage in damages)
        {
            if (reader.Sequence > last + 1 && damage.Kind is DamageKind.Frame or DamageKind.SegmentEnd && RecordFields.TryRead(reader.Payload, out var fields))
            {
                _damages.Add((fields.StreamId, damage, last + 1, reader.Sequence - 1));
            }
            else
            {
                AddDamage(damage);
            }
        }

        damages.Clear();
    }

    public static string Describe(in SpoolDamage damage) => damage.Kind == DamageKind.Unreadable
        ? $"{damage.Kind}: {damage.Reason}"
        : $"{damage.Kind}: {damage.Length} bytes are no record";

    /// <summary>Turns what is still missing into findings. Call once, after the last record.</summary>
    public void Finish()
    {
        foreach (var (streamId, damage, from, to) in _damages)
        {
            if (_streams.TryGetValue(streamId, out var stream) && stream.IsAdmitted(from, to) && !_options.Strict)
            {
                _verdict.Note($"{damage.Path} at {damage.Offset}: {Describe(damage)}; the records {from} to {to} that stood there are admitted to be lost");
            }
            else
            {
                AddDamage(damage);
            }
        }

        _damages.Clear();
        foreach (var stream in _streams.Values)
        {
            stream.Finish();
        }

        if (_options.Receipts is { } receipts)
        {
            ReceiptRules.FinishUnread(receipts, _verdict, _streams.ContainsKey, _options.OtherStreamsExist);
        }

        if (_options.Checkpoints is { } known && !_options.OtherStreamsExist)
        {
            foreach (var stream in known.Streams.Where(stream => !_streams.ContainsKey(stream)))
            {
                known.Finish(_verdict, stream, 0);
            }
        }
    }

    public void Dispose() => _sha.Dispose();

    private static ulong PublishedThrough(string? streamFolder) =>
        streamFolder is null ? 0 : PublishCursor.Read(streamFolder)?.PublishedThrough ?? 0;

    private void SkipPublished(SpoolReader reader, ulong from)
    {
        if (!RecordFields.TryRead(reader.Payload, out var fields) || !_streams.TryGetValue(fields.StreamId, out var stream) || stream.Order.Next != from)
        {
            return;
        }

        _verdict.Note($"stream {fields.StreamId:N}: {from} to {reader.Sequence - 1} were published and deleted while this was read");
        var place = new RecordPlace(reader.SegmentPath, reader.Offset, fields.StreamId, reader.Sequence);
        stream.Miss(place, isFinding: false);

        // What the epoch before said of its end went with them: take the next one's word.
        stream.Epochs.SkipTo(place, fields.Epoch, reader.Type == RecordType.EpochStart ? TryParseStart(reader.Payload) : null);
    }

    private void AddFrame(SpoolReader reader)
    {
        var record = reader.Payload;
        if (RecordFields.TryRead(record, out var fields) && (fields.Sequence != reader.Sequence || fields.Epoch != reader.Epoch))
        {
            _verdict.Find(FindingKind.Mismatch, new RecordPlace(reader.SegmentPath, reader.Offset, fields.StreamId, fields.Sequence),
                $"the frame says epoch {reader.Epoch}, sequence {reader.Sequence}; the record says {fields.Epoch}, {fields.Sequence}");
        }

        Add(reader.SegmentPath, reader.Offset, reader.Type, record);
    }

    private void AddEarlier(
        StreamAudit stream, in RecordPlace place, RecordType type, in RecordFields fields, ReadOnlySpan<byte> record, in TreeHash leaf, UInt128 half)
    {
        var order = stream.Order;
        if (fields.Sequence < order.First || order.TryFill(fields.Sequence))
        {
            _verdict.Find(FindingKind.OutOfOrder, place, "comes after a later record");
            stream.Receipts?.TakeLate(place, fields.Epoch, leaf);
            if (fields.Sequence >= order.First)
            {
                order.Remember(fields.Sequence, half);
            }

            return;
        }

        if (type == RecordType.EpochStart && TryParseStart(record) is { } start && stream.Epochs.IsClone(start))
        {
            _verdict.Find(FindingKind.ClonedVolume, place, $"epoch {fields.Epoch} began twice, with different boot nonces: a copy of the volume was started");
            return;
        }

        if (stream.Epochs.EpochOf(fields.Sequence) is var epoch && epoch != fields.Epoch)
        {
            _verdict.Find(FindingKind.Renumbered, place, $"epoch {fields.Epoch} has the sequence that epoch {epoch} gave to another record");
            return;
        }

        var same = order.Compare(fields.Sequence, half);
        if (same == false)
        {
            _verdict.Find(FindingKind.Conflict, place, "differs from the record that has the same stream, epoch and sequence");
            return;
        }

        Repeats++;
        order.RepeatsUnchecked |= same is null;
    }

    private static EpochStart? TryParseStart(ReadOnlySpan<byte> record)
    {
        try
        {
            return EpochStart.Parser.ParseFrom(record);
        }
        catch (InvalidProtocolBufferException)
        {
            return null;
        }
    }
}
