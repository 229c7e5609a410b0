using System.Runtime.InteropServices;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger.Verify;

/// <summary>
/// A stream's tree as an auditor rebuilds it: folded up to <see cref="Size"/>, with the leaves after it kept one by one, because a
/// checkpoint covers a size that lies behind its own sequence. Not thread-safe.
/// </summary>
internal sealed class GrowingTree
{
    private enum Kind : byte
    {
        Leaves,

        /// <summary>Declared lost by the writer: leaves of empty records.</summary>
        Empty,

        Unknown,
    }

    // What follows the folded part, without holes.
    private readonly List<Run> _runs = [];

    // The leaves of all runs of that kind, in order.
    private readonly List<TreeHash> _leaves = [];

    // Null while the hashes of what lies before are not known.
    private CompactRange? _folded;

    /// <summary>A tree after so many leaves; their hashes are not known unless there are none.</summary>
    public GrowingTree(ulong size)
    {
        Size = size;
        _folded = size == 0 ? new CompactRange(0) : null;
    }

    public GrowingTree(CompactRange folded)
    {
        Size = folded.End;
        _folded = folded;
    }

    /// <summary>How many leaves are folded; also the sequence of the last of them.</summary>
    public ulong Size { get; private set; }

    /// <summary>The newest sequence.</summary>
    public ulong End => _runs.Count == 0 ? Size : _runs[^1].Last;

    /// <summary>Leaves kept one by one.</summary>
    public int Pending => _leaves.Count;

    /// <summary>Whether the hashes up to <see cref="Size"/> are known.</summary>
    public bool IsAnchored => _folded is not null;

    /// <summary>Collects the path of one leaf from where <see cref="BeginProof"/> was called.</summary>
    public InclusionProof? Proof { get; private set; }

    /// <summary>Of the folded part, which must be anchored.</summary>
    public TreeHash Root() => _folded!.Root();

    public void Append(in TreeHash leaf)
    {
        _leaves.Add(leaf);
        Add(new Run(End + 1, End + 1, Kind.Leaves));
    }

    /// <summary>Goes on behind this sequence; what lies between is not known.</summary>
    public void SkipTo(ulong last) => Add(new Run(End + 1, last, Kind.Unknown));

    /// <summary>Folds up to this sequence. False when leaves before it are not known: the tree is then not anchored any more.</summary>
    public bool Fold(ulong size)
    {
        if (_folded is not null && !Extend(_folded, size, Proof))
        {
            _folded = null;
            Proof = null;
        }

        Drop(size);
        return IsAnchored;
    }

    /// <summary>Takes the word of a signed frontier for everything up to its size.</summary>
    public void Anchor(CompactRange frontier)
    {
        if (frontier.End < Size)
        {
            // The first checkpoint here covers less than what is gone before the first record.
            _runs.Insert(0, new Run(frontier.End + 1, Size, Kind.Unknown));
        }

        _folded = frontier.Clone();
        Proof = null;
        Drop(frontier.End);
    }

    /// <summary>The tree of that size, not before the folded part; null when leaves are not known.</summary>
    public CompactRange? At(ulong size, bool unknownIsEmpty = false)
    {
        var range = _folded?.Clone();
        return range is not null && size >= Size && size <= End && Extend(range, size, null, unknownIsEmpty) ? range : null;
    }

    /// <summary>Starts the proof of the leaf after the folded part. False when it or what lies before is not known.</summary>
    public bool BeginProof()
    {
        if (_folded is null || _runs.Count == 0 || _runs[0].Kind != Kind.Leaves)
        {
            return false;
        }

        var (before, leaf) = (_folded.Clone(), _leaves[0]);
        _ = Fold(Size + 1);
        Proof = new InclusionProof(before, leaf);
        return true;
    }

    /// <summary>Compares with the subtrees that a writer names, as far as all leaves of one are known here.</summary>
    /// <param name="unproven">Gets the ranges of known leaves that could not be compared, and how many leaves are known in each.</param>
    /// <returns>The sequences in which the first difference lies; 0 for none.</returns>
    public (ulong First, ulong Last) Compare(CompactRange named, List<(ulong First, ulong Last, ulong Known)> unproven)
    {
        foreach (var (start, level, hash) in named.Nodes)
        {
            var last = start + (1UL << level);
            if (last <= Size)
            {
                continue;
            }

            var own = new CompactRange(start);
            if (start < Size || !Extend(own, last, null))
            {
                if (KnownBetween(start + 1, last) is > 0 and var known)
                {
                    unproven.Add((start + 1, last, known));
                }
            }
            else if (own.Root() != hash)
            {
                return (start + 1, last);
            }
        }

        return (0, 0);
    }

    /// <summary>The writer counts these as leaves of empty records. Says how many of them are here all the same.</summary>
    public ulong DeclareEmpty(ulong first, ulong last)
    {
        var here = KnownBetween(first, last);
        var runs = _runs.ToArray();
        var leaves = _leaves.ToArray().AsSpan();
        _runs.Clear();
        _leaves.Clear();
        foreach (var run in runs)
        {
            for (var from = run.First; from <= run.Last;)
            {
                var inside = from >= first && from <= last;
                var until = inside ? Math.Min(run.Last, last) : from < first ? Math.Min(run.Last, first - 1) : run.Last;
                var kind = inside ? Kind.Empty : run.Kind;
                if (run.Kind == Kind.Leaves)
                {
                    var count = (int)(until - from + 1);
                    _leaves.AddRange(kind == Kind.Leaves ? leaves[..count] : []);
                    leaves = leaves[count..];
                }

                Add(new Run(from, until, kind));
                from = until + 1;
            }
        }

        return here;
    }

    /// <summary>The writer counts what is not known up to this sequence as leaves of empty records. Gives those ranges.</summary>
    public List<(ulong First, ulong Last)> DeclareUnknownEmpty(ulong size)
    {
        var ranges = _runs.Where(run => run.Kind == Kind.Unknown && run.First <= size)
            .Select(run => (run.First, Math.Min(run.Last, size))).ToList();
        foreach (var (first, last) in ranges)
        {
            _ = DeclareEmpty(first, last);
        }

        return ranges;
    }

    /// <summary>Does not trust its own hashes any more: a signed root said otherwise. The next frontier anchors it again.</summary>
    public void Forget()
    {
        _folded = null;
        Proof = null;
    }

    /// <summary>How many records of a range are here one by one.</summary>
    private ulong KnownBetween(ulong first, ulong last)
    {
        ulong count = 0;
        foreach (var run in _runs)
        {
            var (from, until) = (Math.Max(run.First, first), Math.Min(run.Last, last));
            count += run.Kind == Kind.Leaves && from <= until ? until - from + 1 : 0;
        }

        return count;
    }

    private void Add(Run run)
    {
        if (_runs.Count > 0 && _runs[^1].Kind == run.Kind)
        {
            _runs[^1] = _runs[^1] with { Last = run.Last };
        }
        else
        {
            _runs.Add(run);
        }
    }

    // Adds what follows the range. It begins at or behind the folded part.
    private bool Extend(CompactRange range, ulong size, InclusionProof? proof, bool unknownIsEmpty = false)
    {
        var leaves = CollectionsMarshal.AsSpan(_leaves);
        foreach (var run in _runs)
        {
            var (from, until) = (Math.Max(run.First, range.End + 1), Math.Min(run.Last, size));
            if (run.First > size)
            {
                break;
            }

            if (from <= until && run.Kind == Kind.Leaves)
            {
                foreach (ref readonly var leaf in leaves.Slice((int)(from - run.First), (int)(until - from + 1)))
                {
                    range.Append(leaf);
                    proof?.Append(leaf);
                }
            }
            else if (from <= until)
            {
                if (run.Kind == Kind.Unknown && !unknownIsEmpty)
                {
                    return false;
                }

                range.AppendEmpty(until - from + 1);
                for (var sequence = from; proof is not null && sequence <= until; sequence++)
                {
                    proof.Append(TreeHash.EmptyLeaf);
                }
            }

            leaves = run.Kind == Kind.Leaves ? leaves[(int)(run.Last - run.First + 1)..] : leaves;
        }

        return range.End == size;
    }

    private void Drop(ulong size)
    {
        var (whole, leaves) = (0, 0);
        foreach (var run in _runs)
        {
            if (run.First > size)
            {
                break;
            }

            leaves += run.Kind == Kind.Leaves ? (int)(Math.Min(run.Last, size) - run.First + 1) : 0;
            whole += run.Last <= size ? 1 : 0;
        }

        _runs.RemoveRange(0, whole);
        _leaves.RemoveRange(0, leaves);
        if (_runs.Count > 0 && _runs[0].First <= size)
        {
            _runs[0] = _runs[0] with { First = size + 1 };
        }

        Size = size;
    }

    private readonly record struct Run(ulong First, ulong Last, Kind Kind);
}
