using Google.Protobuf;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger.Verify;

/// <summary>
/// Follows the checkpoints of streams and cosigns those that only add to what it cosigned before. Reads a topic of checkpoints (EpochStart,
/// Checkpoint, EpochEnd), or a whole ledger. Not thread-safe.
/// </summary>
internal sealed class Witness(string folder, INoteSigner key, IReadOnlyList<NoteVerifier> identities, TimeProvider time)
{
    private readonly Dictionary<Guid, WitnessedStream> _streams = [];

    /// <summary>Is told at once of everything that the witness does not vouch for.</summary>
    public Action<string> OnRefusal { get; init; } = static _ => { };

    public int Refusals { get; private set; }

    public int Cosigned { get; private set; }

    public int Streams => _streams.Count;

    public long Records { get; private set; }

    /// <exception cref="LedgerException">The state folder cannot be used.</exception>
    public void Take(string source, long position, RecordType? type, ReadOnlySpan<byte> record)
    {
        Records++;
        if (type is not null && RecordFields.TryRead(record, out var fields))
        {
            if (!_streams.TryGetValue(fields.StreamId, out var stream))
            {
                _streams.Add(fields.StreamId, stream = new WitnessedStream(fields, WitnessState.Read(folder, fields.StreamId), identities));
            }

            if (stream.Take(new RecordPlace(source, position, fields.StreamId, fields.Sequence), type.Value, fields, record) is { } refusal)
            {
                Refuse(fields.StreamId, refusal);
                if (stream.Contradiction is var (size, note))
                {
                    WitnessState.WriteEvidence(folder, fields.StreamId, size, note);
                }
            }
        }
    }

    /// <summary>Cosigns the newest good checkpoint of every stream.</summary>
    public void Cosign()
    {
        foreach (var stream in _streams.Values)
        {
            if (stream.Newest is { } newest && !stream.IsRefused && (newest.Size > stream.CosignedSize || !File.Exists(newest.NotePath(folder))))
            {
                _ = SignedNote.TryParse(newest.Note, out var note);
                note!.Cosign(key, time.GetUtcNow());
                newest.Write(folder, note.ToString());
                stream.CosignedSize = newest.Size;
                Cosigned++;
            }
        }
    }

    /// <summary>Everything there is was read: a stream that ends before what was witnessed has lost its end.</summary>
    public void FinishPass()
    {
        foreach (var (id, stream) in _streams)
        {
            if (stream.LargestSeen < stream.CosignedSize && !stream.IsRefused)
            {
                Refuse(id, $"it ends at a checkpoint over {stream.LargestSeen} records; {stream.CosignedSize} were witnessed: it was rolled back, or its end is elsewhere");
            }
        }
    }

    private void Refuse(Guid stream, string why)
    {
        Refusals++;
        OnRefusal($"stream {stream:N}: {why}");
    }
}

/// <summary>One stream under a witness's eyes.</summary>
internal sealed class WitnessedStream
{
    private const int MaxPending = 1 << 20;
    private readonly Verdict _verdict = new(limit: 1);
    private readonly EpochRules _epochs;

    // From the newest good checkpoint on, as far as records are here: they prove growth where checkpoints are missing.
    private GrowingTree _tree;

    public WitnessedStream(in RecordFields first, WitnessState? state, IReadOnlyList<NoteVerifier> identities)
    {
        Newest = state;
        CosignedSize = state?.Size ?? 0;
        _tree = state is null ? new GrowingTree(first.Sequence - 1) : new GrowingTree(state.Frontier.Clone());

        // Whom it believed the first time, it believes from then on.
        IReadOnlyList<NoteVerifier> known = state is not null && NoteVerifier.TryParse(state.Identity, out var identity) ? [identity] : [];
        _epochs = new EpochRules(first.StreamId, new VerifierOptions { Identities = identities.Count > 0 ? identities : known }, _verdict, first);
    }

    public WitnessState? Newest { get; private set; }

    public ulong CosignedSize { get; set; }

    public ulong LargestSeen { get; private set; }

    /// <summary>Nothing of this stream is cosigned any more in this run.</summary>
    public bool IsRefused { get; private set; }

    /// <summary>The checkpoint that contradicts what was witnessed.</summary>
    public (ulong Size, string Note)? Contradiction { get; private set; }

    /// <summary>Null when there is nothing to say against it.</summary>
    public string? Take(in RecordPlace place, RecordType type, in RecordFields fields, ReadOnlySpan<byte> record)
    {
        if (IsRefused)
        {
            return null;
        }

        var isNew = fields.Sequence > _tree.End;
        if (isNew && fields.Sequence > _tree.End + 1)
        {
            _tree.SkipTo(fields.Sequence - 1);
        }

        var refusal = Judge(place, type, fields, record);
        if (isNew)
        {
            if (_tree.Pending > MaxPending)
            {
                _ = _tree.Fold(_tree.Size + MaxPending / 2);
            }

            _tree.Append(TreeHash.OfLeaf(record));
        }

        IsRefused = refusal is not null;
        return refusal;
    }

    private string? Judge(in RecordPlace place, RecordType type, in RecordFields fields, ReadOnlySpan<byte> record)
    {
        try
        {
            return type switch
            {
                RecordType.EpochStart => Start(place, fields, EpochStart.Parser.ParseFrom(record)),
                RecordType.Checkpoint => Check(Checkpoint.Parser.ParseFrom(record)),
                _ => null,
            };
        }
        catch (InvalidProtocolBufferException)
        {
            return $"record {fields.Sequence} is no {type}";
        }
    }

    private string? Start(in RecordPlace place, in RecordFields fields, EpochStart start)
    {
        if (Newest is { } newest && start.Epoch < newest.Epoch)
        {
            // Read again from the beginning. The key of an epoch that is over speaks for nothing any more.
            return null;
        }

        _epochs.Start(place, fields, start, hasRecords: false, afterMissing: true);
        return _verdict.FindingCount == 0 ? null : $"the start of epoch {start.Epoch} {_verdict.Findings[0].Text}";
    }

    private string? Check(Checkpoint checkpoint)
    {
        var stream = new Guid(checkpoint.StreamId.Span, bigEndian: true);
        if (!CheckpointCheck.TryRead(stream, checkpoint, out var frontier, out var note))
        {
            return $"checkpoint {checkpoint.Sequence} says one thing in its note and another in its fields or its frontier";
        }

        var size = checkpoint.TreeSize;
        LargestSeen = Math.Max(LargestSeen, size);
        if (Newest is not null && size < Newest.Size)
        {
            return null;
        }

        if (KeyOf(checkpoint.Epoch) is not { } key)
        {
            return $"the key of epoch {checkpoint.Epoch} is not known: read a source that has its EpochStart, certified by a trusted identity";
        }

        if (!note.IsSignedBy(key))
        {
            return $"checkpoint {checkpoint.Sequence} over {size} records is not signed by the key of epoch {checkpoint.Epoch}";
        }

        if (Newest is not null && WhyNot(checkpoint, frontier) is { } reason)
        {
            Contradiction = reason.IsContradiction ? (size, checkpoint.Note) : null;
            return reason.Text;
        }

        Newest = new WitnessState(stream, frontier, checkpoint.Epoch, key.Text, _epochs.Identity?.Text ?? Newest?.Identity ?? "", checkpoint.Note);
        if (_tree.Size <= size)
        {
            _tree.Anchor(frontier);
        }
        else
        {
            _tree = new GrowingTree(frontier.Clone());
        }

        return null;
    }

    private NoteVerifier? KeyOf(uint epoch) => Newest is { } newest && epoch < newest.Epoch ? null : _epochs.Epoch == epoch && _epochs.IsKeyTrusted ? _epochs.Key
        : Newest is { } state && state.Epoch == epoch && NoteVerifier.TryParse(state.EpochKey, out var key) ? key
        : null;

    // Consistent growth is shown by the checkpoint itself, when it grows from the one before, or else by the records between.
    private (string Text, bool IsContradiction)? WhyNot(Checkpoint checkpoint, CompactRange frontier)
    {
        var (old, size, root) = (Newest!.Frontier, checkpoint.TreeSize, frontier.Root());
        if (size == old.End)
        {
            return root == old.Root() ? null : ($"two checkpoints over {size} records have different roots: the writer forked its history", true);
        }

        if (checkpoint.PreviousSize == old.End)
        {
            var grown = old.Clone();
            return CompactRange.TryRead(old.End, size, checkpoint.Growth.Span) is { } growth && grown.TryAppend(growth) && grown.Root() == root
                ? null
                : ($"the checkpoint over {size} records does not extend the witnessed one over {old.End}: the writer forked its history", true);
        }

        if (_tree.Size == old.End && _tree.At(size) is { } own)
        {
            return own.Root() == root ? null : ($"the checkpoint over {size} records is not the tree of the records behind the witnessed {old.End}", true);
        }

        return ($"the checkpoint over {size} records grows from {checkpoint.PreviousSize}, but {old.End} were witnessed: " +
            $"read the checkpoints between, or a ledger with the records from {old.End + 1} on", false);
    }
}
