using Google.Protobuf;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Ledger;

/// <summary>The tree over all sequences that were ever given, and the way to it from the newest checkpoint.</summary>
/// <param name="Tree">Sequences that nobody can read any more are empty leaves in it, unless something signed has their true ones.</param>
/// <param name="Growth">From the newest checkpoint's size on; from 0 when there is none, or when records after it are lost.</param>
/// <param name="Lost">What is lost and no Gap record admits.</param>
internal sealed record RecoveredTree(CompactRange Tree, CompactRange Growth, IReadOnlyList<LostRange> Lost)
{
    public static RecoveredTree Empty() => new(new CompactRange(0), new CompactRange(0), []);
}

/// <summary>
/// Finds the tree of a stream again: from the newest Checkpoint record, whose frontier folds to its root, and the records
/// after it. An EpochEnd or EpochStart has a frontier too, and helps where records behind the checkpoint are damaged.
/// </summary>
internal static class TreeRecovery
{
    /// <summary>Null when the tree cannot be found: neither a frontier nor the records from 1 on are there.</summary>
    /// <param name="through">The highest sequence that was ever given.</param>
    /// <param name="onDisk">The highest that the segments know of; what is above it is only in the publisher's cursor.</param>
    /// <exception cref="LedgerException">A segment that may be whole cannot be read.</exception>
    public static RecoveredTree? Run(string streamFolder, ulong through, ulong onDisk, ulong published)
    {
        var segments = SpoolFolder.Segments(streamFolder);
        if (segments.Count == 0)
        {
            return through == 0 ? RecoveredTree.Empty() : null;
        }

        var anchor = FindAnchor(segments);
        if (anchor is null && segments[0].FirstSequence > 1)
        {
            return null;
        }

        var pass = new TreePass(streamFolder, anchor);

        // The newest segment is looked at as a whole: what is damaged below the checkpoint is lost too, if Kafka does not have it.
        var from = Math.Min(segments[^1].FirstSequence, pass.Tree.End + 1);
        pass.SkipTo(Math.Max(from, Math.Min(published, pass.Tree.End) + 1));
        using var reader = SpoolReader.OpenStream(streamFolder, from);
        while (reader.Read() is var read && read != SpoolRead.End)
        {
            if (read == SpoolRead.Record)
            {
                pass.Add(reader);
            }
            else if (reader.Damage.Kind == DamageKind.Unreadable)
            {
                throw Unreadable(reader.Damage);
            }
            else if (reader.Damage.Kind != DamageKind.FileHeader)
            {
                pass.Damaged(SpoolRecovery.KeepWhole(streamFolder, reader.Damage.Path));
            }
        }

        return pass.Finish(through, onDisk);
    }

    /// <summary>The newest checkpoint; without any, the newest other record with a frontier.</summary>
    private static TreeAnchor? FindAnchor(List<(ulong FirstSequence, string Path)> segments)
    {
        TreeAnchor? other = null;
        SpoolDamage? unreadable = null;
        for (var index = segments.Count - 1; index >= 0; index--)
        {
            TreeAnchor? here = null;
            TreeAnchor? checkpoint = null;
            using var reader = SpoolReader.OpenSegment(segments[index].Path);
            while (reader.Read() is var read && read != SpoolRead.End)
            {
                if (read == SpoolRead.Record && TreeAnchor.TryRead(reader.Type, reader.Payload) is { } found)
                {
                    here = found;
                    checkpoint = found.IsCheckpoint ? found : checkpoint;
                }

                if (read == SpoolRead.Damage && reader.Damage.Kind == DamageKind.Unreadable)
                {
                    unreadable = reader.Damage;
                    break;
                }
            }

            if (checkpoint is not null)
            {
                return checkpoint;
            }

            other ??= here;
        }

        return other is null && unreadable is { } damage ? throw Unreadable(damage) : other;
    }

    private static LedgerException Unreadable(in SpoolDamage damage) => new(
        $"'{damage.Path}' cannot be read ({damage.Reason}), so the stream's tree is unknown. " +
        "Repair the disk or its permissions; if the file is lost for good, remove it, and its records are admitted as lost.");
}

/// <summary>A record that has a tree's frontier, signed.</summary>
internal sealed record TreeAnchor(bool IsCheckpoint, CompactRange Tree)
{
    /// <summary>Null when the record is no such, or its frontier does not fold to the root it names.</summary>
    public static TreeAnchor? TryRead(RecordType type, ReadOnlySpan<byte> record)
    {
        try
        {
            switch (type)
            {
                case RecordType.Checkpoint:
                    var checkpoint = Checkpoint.Parser.ParseFrom(record);
                    return Of(checkpoint.TreeSize, checkpoint.Frontier, checkpoint.RootHash.Span, isCheckpoint: true);
                case RecordType.EpochStart:
                    var start = EpochStart.Parser.ParseFrom(record);
                    return Of(start.Sequence - 1, start.PreviousFrontier, start.PreviousRoot.Span, isCheckpoint: false);
                case RecordType.EpochEnd:
                    var end = EpochEnd.Parser.ParseFrom(record);
                    return SignedNote.TryParse(end.Note, out var note) && CheckpointText.TryParse(note.Text, out var text) && text.TreeSize == end.Sequence - 1
                        ? Of(text.TreeSize, end.Frontier, text.Root, isCheckpoint: false)
                        : null;
                default:
                    return null;
            }
        }
        catch (InvalidProtocolBufferException)
        {
            return null;
        }
    }

    private static TreeAnchor? Of(ulong size, ByteString frontier, TreeHash root, bool isCheckpoint) =>
        Of(size, frontier, (ReadOnlySpan<byte>)root, isCheckpoint);

    private static TreeAnchor? Of(ulong size, ByteString frontier, ReadOnlySpan<byte> root, bool isCheckpoint)
    {
        var tree = CompactRange.TryRead(0, size, frontier.Span);
        return tree is not null && root.Length == TreeHash.Length && tree.Root() == TreeHash.Read(root) ? new TreeAnchor(isCheckpoint, tree) : null;
    }
}

/// <summary>One reading of the records behind an anchor.</summary>
internal sealed class TreePass
{
    private readonly string _folder;
    private readonly List<LostRange> _lost = [];
    private CompactRange _growth;
    private ulong _next;
    private string? _evidence;

    public TreePass(string streamFolder, TreeAnchor? anchor)
    {
        _folder = streamFolder;
        Tree = anchor?.Tree.Clone() ?? new CompactRange(0);
        _growth = anchor is { IsCheckpoint: true } ? new CompactRange(Tree.End) : Tree.Clone();
        _next = Tree.End + 1;
    }

    public CompactRange Tree { get; private set; }

    /// <summary>From which sequence on a hole is a loss.</summary>
    public void SkipTo(ulong sequence) => _next = sequence;

    public void Damaged(string evidence) => _evidence = evidence;

    public void Add(SpoolReader reader)
    {
        if (reader.Sequence < _next)
        {
            _evidence = null;
            return;
        }

        Lose(reader.Sequence - 1, Gap.Types.Cause.Damage);
        _evidence = null;
        _next = reader.Sequence + 1;
        if (reader.Sequence != Tree.End + 1)
        {
            return;
        }

        switch (reader.Type)
        {
            case RecordType.Gap:
                Admit(Gap.Parser.ParseFrom(reader.Payload));
                break;
            case RecordType.EpochStart or RecordType.EpochEnd when TreeAnchor.TryRead(reader.Type, reader.Payload) is { } anchor
                && anchor.Tree.Root() != Tree.Root():
                Adopt(anchor);
                break;
        }

        Take(TreeHash.OfLeaf(reader.Payload));
    }

    public RecoveredTree Finish(ulong through, ulong onDisk)
    {
        Lose(onDisk, Gap.Types.Cause.Damage);
        _evidence = null;
        Lose(through, Gap.Types.Cause.LostByDisk);
        return new RecoveredTree(Tree, _growth, _lost);
    }

    /// <summary>Everything from the next sequence to this one is not there.</summary>
    private void Lose(ulong last, Gap.Types.Cause cause)
    {
        if (last < _next)
        {
            return;
        }

        cause = _evidence is null ? Gap.Types.Cause.LostByDisk : cause;
        if (_next <= Tree.End)
        {
            // The checkpoint has their true leaves.
            _lost.Add(new LostRange(_next, Math.Min(last, Tree.End), cause, _evidence ?? "", EmptyLeaves: false));
        }

        if (last > Tree.End)
        {
            var empty = EmptyLeaves.Range(Tree.End, last);
            _lost.Add(new LostRange(Tree.End + 1, last, cause, _evidence ?? "", EmptyLeaves: true));
            Tree.TryAppend(empty);
            _growth.TryAppend(empty);
        }

        _next = last + 1;
    }

    /// <summary>An earlier start admitted these, and crashed before a checkpoint covered it.</summary>
    private void Admit(Gap gap)
    {
        for (var index = 0; index < _lost.Count; index++)
        {
            if (gap.First <= _lost[index].First && _lost[index].Last <= gap.Last)
            {
                _lost[index] = _lost[index] with { IsAdmitted = true };
            }
        }
    }

    /// <summary>
    /// Something signed has other leaves than are left here: they were whole when it was signed. It is right, but there
    /// is no way to it from the checkpoint before.
    /// </summary>
    private void Adopt(TreeAnchor anchor)
    {
        Tree = anchor.Tree.Clone();
        _growth = anchor.Tree.Clone();
        for (var index = 0; index < _lost.Count; index++)
        {
            _lost[index] = _lost[index].IsAdmitted ? _lost[index] : _lost[index] with { EmptyLeaves = false };
        }
    }

    private void Take(in TreeHash leaf)
    {
        Tree.Append(leaf);
        _growth.Append(leaf);
    }
}

/// <summary>The leaves of sequences that nobody can read any more.</summary>
internal static class EmptyLeaves
{
    /// <summary>[begin, end), by its perfect subtrees: a damaged cursor may speak of any number.</summary>
    public static CompactRange Range(ulong begin, ulong end)
    {
        var roots = new List<TreeHash> { TreeHash.EmptyLeaf };
        var bytes = new List<byte>();
        for (var at = begin; at < end;)
        {
            var level = Math.Min(at == 0 ? 63 : System.Numerics.BitOperations.TrailingZeroCount(at), System.Numerics.BitOperations.Log2(end - at));
            while (roots.Count <= level)
            {
                roots.Add(TreeHash.OfNode(roots[^1], roots[^1]));
            }

            var root = roots[level];
            bytes.AddRange(root);
            at += 1UL << level;
        }

        return CompactRange.TryRead(begin, end, System.Runtime.InteropServices.CollectionsMarshal.AsSpan(bytes))!;
    }
}
