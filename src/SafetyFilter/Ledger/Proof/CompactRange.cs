using System.Numerics;

namespace SafetyFilter.Ledger.Proof;

/// <summary>
/// The leaves [Begin, End) of a stream's tree, kept as the roots of the perfect subtrees that they fall into: at most 2 x 64
/// hashes for any number of leaves. With Begin 0 it is the frontier of a tree and has a root. Not thread-safe.
/// </summary>
/// <remarks>Compact ranges: github.com/transparency-dev/merkle, docs/compact_ranges.md. The tree is that of RFC 6962, section 2.1.</remarks>
internal sealed class CompactRange
{
    // From left to right. The level of a subtree with 2^k leaves is k.
    private readonly List<(TreeHash Hash, int Level)> _nodes = [];

    public CompactRange(ulong begin)
    {
        Begin = End = begin;
    }

    public ulong Begin { get; }

    public ulong End { get; private set; }

    /// <summary>The subtrees from left to right, 32 bytes each.</summary>
    public byte[] ToArray()
    {
        var bytes = new byte[_nodes.Count * TreeHash.Length];
        for (var i = 0; i < _nodes.Count; i++)
        {
            var hash = _nodes[i].Hash;
            ((ReadOnlySpan<byte>)hash).CopyTo(bytes.AsSpan(i * TreeHash.Length));
        }

        return bytes;
    }

    /// <summary>The subtrees from left to right: the first leaf, the level (2^level leaves) and the root of each.</summary>
    public IEnumerable<(ulong Start, int Level, TreeHash Hash)> Nodes
    {
        get
        {
            var start = Begin;
            foreach (var (hash, level) in _nodes)
            {
                yield return (start, level, hash);
                start += 1UL << level;
            }
        }
    }

    /// <summary>Null when there are not as many hashes as such a range falls into.</summary>
    public static CompactRange? TryRead(ulong begin, ulong end, ReadOnlySpan<byte> hashes)
    {
        var range = new CompactRange(begin);
        while (range.End < end)
        {
            var level = LargestAt(range.End, end);
            if (hashes.Length < TreeHash.Length)
            {
                return null;
            }

            range._nodes.Add((TreeHash.Read(hashes), level));
            range.End += 1UL << level;
            hashes = hashes[TreeHash.Length..];
        }

        return begin <= end && hashes.IsEmpty ? range : null;
    }

    public CompactRange Clone()
    {
        var copy = new CompactRange(Begin) { End = End };
        copy._nodes.AddRange(_nodes);
        return copy;
    }

    public void Append(in TreeHash leaf) => Append(leaf, 0);

    /// <summary>Adds the leaves of records that nobody can read any more, however many, in logarithmic time.</summary>
    public void AppendEmpty(ulong count)
    {
        for (var end = End + count; End < end;)
        {
            var level = LargestAt(End, end);
            var hash = TreeHash.EmptyLeaf;
            for (var i = 0; i < level; i++)
            {
                hash = TreeHash.OfNode(hash, hash);
            }

            Append(hash, level);
        }
    }

    /// <summary>Adds the range that begins where this one ends. False, and nothing is changed, when it does not.</summary>
    public bool TryAppend(CompactRange next)
    {
        if (next.Begin != End)
        {
            return false;
        }

        foreach (var (hash, level) in next._nodes)
        {
            Append(hash, level);
        }

        return true;
    }

    /// <summary>The hash of the tree that these leaves form on their own; for Begin 0 the root of the tree of size End.</summary>
    public TreeHash Root()
    {
        if (_nodes.Count == 0)
        {
            return TreeHash.EmptyRoot;
        }

        var root = _nodes[^1].Hash;
        for (var i = _nodes.Count - 2; i >= 0; i--)
        {
            root = TreeHash.OfNode(_nodes[i].Hash, root);
        }

        return root;
    }

    // A subtree never overlaps its neighbours' level: what TryAppend and Append hand over is aligned to it.
    private void Append(TreeHash hash, int level)
    {
        var end = End + (1UL << level);
        while (_nodes.Count > 0 && _nodes[^1].Level == level && (End >> level & 1) == 1)
        {
            hash = TreeHash.OfNode(_nodes[^1].Hash, hash);
            _nodes.RemoveAt(_nodes.Count - 1);
            End -= 1UL << level;
            level++;
        }

        _nodes.Add((hash, level));
        End = end;
    }

    // The largest perfect subtree that starts at a leaf and does not pass the end.
    private static int LargestAt(ulong start, ulong end) =>
        Math.Min(start == 0 ? 63 : BitOperations.TrailingZeroCount(start), BitOperations.Log2(end - start));
}
