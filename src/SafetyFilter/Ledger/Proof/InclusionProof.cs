namespace SafetyFilter.Ledger.Proof;

/// <summary>
/// Collects the audit path of one leaf while the leaves after it pass by (RFC 6962, section 2.1.1), so that nobody has to
/// hold a whole stream's leaves.
/// </summary>
/// <param name="before">The tree over all leaves before the one to prove. It is copied.</param>
internal sealed class InclusionProof(CompactRange before, TreeHash leaf)
{
    private readonly CompactRange _left = before.Clone();

    // The right siblings: the one of level k starts where the subtree of level k that holds the leaf ends.
    private readonly List<(int Level, CompactRange Range)> _right = [];
    private ulong _size = before.End + 1;

    /// <summary>The leaf's place in the tree, from 0.</summary>
    public ulong Index => _left.End;

    public TreeHash Leaf { get; } = leaf;

    /// <summary>The next leaf after those seen.</summary>
    public void Append(in TreeHash next)
    {
        // Bits in which the two places differ: the highest tells the level at which they meet.
        var level = System.Numerics.BitOperations.Log2(Index ^ _size);
        if (_right.Count == 0 || _right[^1].Level != level)
        {
            _right.Add((level, new CompactRange(_size)));
        }

        _right[^1].Range.Append(next);
        _size++;
    }

    /// <summary>The path for the tree of all leaves seen, from the leaf upwards.</summary>
    public List<TreeHash> Path()
    {
        var path = new List<TreeHash>();
        var left = Siblings(_left);
        var right = 0;
        for (var level = 0; left.Count > 0 || right < _right.Count; level++)
        {
            if ((Index >> level & 1) == 1)
            {
                path.Add(left[^1]);
                left.RemoveAt(left.Count - 1);
            }
            else if (right < _right.Count && _right[right].Level == level)
            {
                path.Add(_right[right++].Range.Root());
            }
        }

        return path;
    }

    /// <summary>Whether the path leads from the leaf to the root (RFC 9162, section 2.1.3.2).</summary>
    public static bool Verify(ulong index, ulong size, in TreeHash leaf, IReadOnlyList<TreeHash> path, in TreeHash root)
    {
        if (index >= size)
        {
            return false;
        }

        var (place, last) = (index, size - 1);
        var hash = leaf;
        foreach (var sibling in path)
        {
            if (last == 0)
            {
                return false;
            }

            if ((place & 1) == 1 || place == last)
            {
                hash = TreeHash.OfNode(sibling, hash);
                while ((place & 1) == 0 && place != 0)
                {
                    place >>= 1;
                    last >>= 1;
                }
            }
            else
            {
                hash = TreeHash.OfNode(hash, sibling);
            }

            place >>= 1;
            last >>= 1;
        }

        return last == 0 && hash == root;
    }

    private static List<TreeHash> Siblings(CompactRange range)
    {
        var bytes = range.ToArray().AsSpan();
        var hashes = new List<TreeHash>();
        for (; bytes.Length > 0; bytes = bytes[TreeHash.Length..])
        {
            hashes.Add(TreeHash.Read(bytes));
        }

        return hashes;
    }
}
