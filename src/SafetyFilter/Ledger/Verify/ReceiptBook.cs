using System.Runtime.InteropServices;
using SafetyFilter.Ledger.Proof;

namespace SafetyFilter.Ledger.Verify;

/// <summary>
/// Receipts that rankers kept, to be found in a ledger. 56 bytes each, ordered by stream and sequence, so that millions fit.
/// Not thread-safe.
/// </summary>
internal sealed class ReceiptBook
{
    private readonly Dictionary<Guid, List<Receipt>> _streams = [];
    private bool _sorted;

    public long Count { get; private set; }

    /// <summary>Found with the same leaf.</summary>
    public long Matched { get; set; }

    /// <summary>Of records older than the first one read, or behind where reading stopped, or in other workers' partitions.</summary>
    public long Outside => Count - Matched - Lost - Failed;

    /// <summary>Of records that the writer admits to have lost.</summary>
    public long Lost { get; set; }

    /// <summary>Different, of another epoch, or not there.</summary>
    public long Failed { get; set; }

    public IEnumerable<Guid> Streams => _streams.Keys;

    public void Add(Guid stream, uint epoch, ulong sequence, in TreeHash leaf)
    {
        if (!_streams.TryGetValue(stream, out var receipts))
        {
            _streams.Add(stream, receipts = []);
        }

        receipts.Add(new Receipt { Sequence = sequence, Epoch = epoch, Leaf = leaf });
        _sorted = false;
        Count++;
    }

    /// <summary>Those of a stream, by sequence.</summary>
    public Span<Receipt> Of(Guid stream)
    {
        if (!_sorted)
        {
            foreach (var receipts in _streams.Values)
            {
                receipts.Sort(static (left, right) => left.Sequence.CompareTo(right.Sequence));
            }

            _sorted = true;
        }

        return CollectionsMarshal.AsSpan(_streams.GetValueOrDefault(stream));
    }

    internal struct Receipt
    {
        public ulong Sequence;
        public uint Epoch;

        /// <summary>Its record was there, whether the same or not.</summary>
        public bool IsSeen;

        public TreeHash Leaf;
    }
}
