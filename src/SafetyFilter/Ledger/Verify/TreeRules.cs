using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger.Verify;

/// <summary>
/// Rebuilds a stream's tree and holds it against every root that was signed: checkpoints, the ends of epochs, and the trees on which
/// epochs build. Where records are missing, the next checkpoint's frontier stands in for them.
/// </summary>
internal sealed class TreeRules(VerifierOptions options, Verdict verdict, Guid stream, ulong first)
{
    // A writer signs every second or every thousand records. What lies further back than this is folded unsigned.
    private const int MaxPending = 1 << 20;

    private readonly GrowingTree _tree = new(first - 1);

    // The newest checkpoint whose note and frontier agree.
    private CompactRange? _last;
    private uint _lastEpoch;
    private bool _missedSinceLast;
    private (RecordPlace Place, ulong Size, TreeHash Root)? _disputed;
    private readonly List<(ulong First, ulong Last)> _certifiedEmpty = [];
    private readonly List<(ulong First, ulong Last, ulong Known)> _unproven = [];

    /// <summary>The newest sequence whose leaf, with all before it, a trusted signature covers.</summary>
    public ulong SignedThrough { get; private set; }

    /// <summary>Records that lie beside missing ones, so that no signed hash covers just them.</summary>
    public ulong Unproven => _unproven.Aggregate(0UL, static (sum, range) => sum + range.Known);

    public long Checkpoints { get; private set; }

    /// <summary>Checkpoints whose epoch's key is not here.</summary>
    public long Unchecked { get; private set; }

    public ulong LastCheckpointTime { get; private set; }

    /// <summary>The longest time between two neighbouring checkpoints of one epoch, in nanoseconds: a stream that lives was never silent for longer.</summary>
    public ulong LongestPause { get; private set; }

    /// <summary>The proof of the wanted record, once a signed checkpoint covers it.</summary>
    public InclusionResult? Inclusion { get; private set; }

    /// <summary>Whether a trusted signature covers just this record.</summary>
    public bool IsProven(ulong sequence) => sequence <= SignedThrough && !_unproven.Exists(range => range.First <= sequence && sequence <= range.Last);

    public void Append(in TreeHash leaf)
    {
        if (_tree.Pending >= MaxPending)
        {
            Advance(_tree.Size + MaxPending / 2);
        }

        _tree.Append(leaf);
    }

    /// <summary>Goes on behind this sequence; the records before it are not here.</summary>
    public void SkipTo(ulong last)
    {
        _tree.SkipTo(last);
        _missedSinceLast = true;
    }

    public void Start(in RecordPlace place, EpochStart start, bool isTrusted)
    {
        Settle();
        if (start.PreviousRoot.Length != TreeHash.Length)
        {
            return;
        }

        // Growth of the next checkpoint is counted from what the run before had signed, which may be more than reached the disk.
        _missedSinceLast = true;
        var size = start.Sequence - 1;
        var root = TreeHash.Read(start.PreviousRoot.Span);

        // Reading begins here. The certificate is over that root, so the frontier that folds to it is as good as a checkpoint's.
        if (isTrusted && !_tree.IsAnchored && _tree.End == size && CompactRange.TryRead(0, size, start.PreviousFrontier.Span) is { } frontier && frontier.Root() == root)
        {
            _tree.Anchor(frontier);
        }

        if (_tree.At(size) is { } own && own.Root() == root)
        {
            Sign(size, isTrusted);
        }
        else if (_tree.At(size, unknownIsEmpty: true) is { } guess && guess.Root() == root)
        {
            foreach (var (from, to) in _tree.DeclareUnknownEmpty(size))
            {
                _certifiedEmpty.Add((from, to));
            }

            Sign(size, isTrusted);
        }
        else
        {
            // Gap records that follow at once may explain it.
            _disputed = (place, size, root);
        }
    }

    /// <summary>Whether the tree that a certificate names has empty leaves there.</summary>
    public bool IsCertifiedEmpty(ulong from, ulong to) => _certifiedEmpty.Exists(range => range.First <= from && to <= range.Last);

    public void DeclareLost(in RecordPlace place, Gap gap)
    {
        if (gap.EmptyLeaves && gap.Last > _tree.Size && _tree.DeclareEmpty(Math.Max(gap.First, _tree.Size + 1), gap.Last) is > 0 and var here)
        {
            _unproven.Add((gap.First, gap.Last, here));
            verdict.Note($"stream {stream:N}: {here} of the records {gap.First} to {gap.Last}, which {place.Sequence} declares lost, are here; no signature covers them");
        }
    }

    /// <summary>Decides what an EpochStart said of the tree, now that the Gap records after it are known.</summary>
    public void Settle()
    {
        if (_disputed is not var (place, size, root))
        {
            return;
        }

        _disputed = null;
        if (_tree.At(size) is { } own && own.Root() != root)
        {
            verdict.Find(FindingKind.Tree, place, $"builds on a tree with the root {root}; the records 1 to {size} give {own.Root()}");
            _tree.Forget();
        }
    }

    public void Check(in RecordPlace place, Checkpoint checkpoint, EpochRules epochs)
    {
        Checkpoints++;
        if (!CheckpointCheck.TryRead(stream, checkpoint, out var frontier, out var note))
        {
            verdict.Find(FindingKind.Checkpoint, place, "says one thing in its note and another in its fields or its frontier");
            return;
        }

        if (checkpoint.Epoch == _lastEpoch && checkpoint.TimeUnixNanos > LastCheckpointTime)
        {
            LongestPause = Math.Max(LongestPause, checkpoint.TimeUnixNanos - LastCheckpointTime);
        }

        (LastCheckpointTime, _lastEpoch) = (checkpoint.TimeUnixNanos, checkpoint.Epoch);
        var isTrusted = epochs.IsKeyTrusted;
        if (epochs.Key is null)
        {
            Unchecked++;
        }
        else if (!note.IsSignedBy(epochs.Key))
        {
            verdict.Find(FindingKind.Signature, place, $"is not signed by the key of epoch {checkpoint.Epoch}");
            return;
        }

        if (checkpoint.TreeSize < _tree.Size && _tree.Size >= first)
        {
            verdict.Find(FindingKind.Fork, place, $"covers {checkpoint.TreeSize} records, less than a checkpoint before it ({_tree.Size})");
            return;
        }

        var fork = CheckGrowth(place, checkpoint, frontier.Root());
        CheckRecords(place, frontier, checkpoint, note, isTrusted, reported: fork);
        _last = frontier;
        _missedSinceLast = false;
    }

    public void CheckEnd(in RecordPlace place, EpochEnd end, EpochRules epochs)
    {
        if (epochs.Key is null)
        {
            return;
        }

        var size = end.Sequence - 1;
        if (end.Note.Length == 0)
        {
            // The disk failed at the end: the next EpochStart covers it.
            verdict.Note($"stream {stream:N}: the end of epoch {end.Epoch} is not signed, because the disk failed then");
            return;
        }

        if (!SignedNote.TryParse(end.Note, out var note) || !CheckpointText.TryParse(note.Text, out var text)
            || text.StreamId != stream || text.Epoch != end.Epoch || text.TreeSize != size || text.EndDecisions != end.Decisions)
        {
            verdict.Find(FindingKind.Checkpoint, place, "has no note, or one that does not say the same as its fields");
        }
        else if (!note.IsSignedBy(epochs.Key))
        {
            verdict.Find(FindingKind.Signature, place, $"is not signed by the key of epoch {end.Epoch}");
        }
        else if (_tree.At(size) is { } own)
        {
            LastCheckpointTime = end.TimeUnixNanos;
            if (own.Root() == text.Root)
            {
                Sign(size, epochs.IsKeyTrusted);
            }
            else
            {
                verdict.Find(FindingKind.Tree, place, $"signs the root {text.Root} over {size} records; the records here give {own.Root()}");
                _tree.Forget();
            }
        }
    }

    /// <summary>Compares what is left with the checkpoints known from elsewhere.</summary>
    public void Finish()
    {
        Settle();
        Advance(_tree.End);
        if (!options.EndIsCut)
        {
            options.Checkpoints?.Finish(verdict, stream, _tree.End);
        }
    }

    private void Sign(ulong size, bool isTrusted)
    {
        if (isTrusted)
        {
            SignedThrough = Math.Max(SignedThrough, size);
        }
    }

    // False when there is nothing to say against it.
    private bool CheckGrowth(in RecordPlace place, Checkpoint checkpoint, in TreeHash root)
    {
        var before = _last is null && first == 1 ? new CompactRange(0) : _last?.Clone();
        var isSigned = true;
        if (before is null || before.End != checkpoint.PreviousSize)
        {
            // A run that follows may count from where the one before it ended, and a checkpoint may be among what is missing.
            before = _tree.At(checkpoint.PreviousSize);
            isSigned = false;
            if (before is null)
            {
                if (_missedSinceLast || _last is null)
                {
                    return false;
                }

                verdict.Find(FindingKind.Fork, place, $"grows from {checkpoint.PreviousSize} records; the checkpoint before it covers {_last.End}");
                return true;
            }
        }

        if (CompactRange.TryRead(before.End, checkpoint.TreeSize, checkpoint.Growth.Span) is { } growth && before.TryAppend(growth) && before.Root() == root)
        {
            return false;
        }

        // It grows from a tree that only the records here tell: perhaps it is they that are wrong.
        if (!isSigned && _tree.At(checkpoint.TreeSize)?.Root() != root)
        {
            return false;
        }

        verdict.Find(FindingKind.Fork, place, $"does not extend the tree of {checkpoint.PreviousSize} records before it: its growth does not lead to its root");
        return true;
    }

    private void CheckRecords(
        in RecordPlace place, CompactRange frontier, Checkpoint checkpoint, SignedNote note, bool isTrusted, bool reported)
    {
        var size = frontier.End;
        var from = _tree.Size + 1;
        var growth = _last is not null && _last.End == _tree.Size && _last.End == checkpoint.PreviousSize
            ? CompactRange.TryRead(_last.End, size, checkpoint.Growth.Span)
            : null;
        var unproven = new List<(ulong First, ulong Last, ulong Known)>();
        var (first, last) = _tree.Compare(growth ?? frontier, unproven);
        Advance(size);
        if (!_tree.IsAnchored)
        {
            _unproven.AddRange(unproven);
            if (first != 0 && !reported)
            {
                verdict.Find(FindingKind.Tree, place, $"signs other records than those here: the difference lies in {first} to {last}");
            }

            _tree.Anchor(frontier);
            options.Checkpoints?.Compare(verdict, stream, size, frontier.Root());
            Sign(size, isTrusted);
        }
        else if (_tree.Root() == frontier.Root())
        {
            if (_tree.Proof is { } proof && isTrusted && Inclusion is null)
            {
                Inclusion = new InclusionResult(proof.Index + 1, proof.Leaf, size, proof.Path(), frontier.Root(), note.ToString());
            }

            Sign(size, isTrusted);
        }
        else
        {
            if (!reported)
            {
                var where = first == 0 ? $"{from} to {size}" : $"{first} to {last}";
                verdict.Find(FindingKind.Tree, place, $"signs other records than those here: the difference lies in {where}");
            }

            _tree.Anchor(frontier);
        }
    }

    // Folds, with a stop at every size that somebody else knows the root of, and at the record to prove.
    private void Advance(ulong size)
    {
        while (_tree.Size < size)
        {
            var known = options.Checkpoints?.NextSize(stream, _tree.Size) ?? ulong.MaxValue;
            var wanted = options.Wanted is { } record && record.StreamId == stream && record.Sequence > _tree.Size ? record.Sequence : ulong.MaxValue;
            if (wanted == _tree.Size + 1 && _tree.BeginProof())
            {
                CompareKnown();
                continue;
            }

            var stop = Math.Min(size, known);
            _ = _tree.Fold(wanted - 1 > _tree.Size ? Math.Min(stop, wanted - 1) : stop);
            CompareKnown();
        }
    }

    private void CompareKnown()
    {
        if (_tree.IsAnchored)
        {
            options.Checkpoints?.Compare(verdict, stream, _tree.Size, _tree.Root());
        }
    }
}
