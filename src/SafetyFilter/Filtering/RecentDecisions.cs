using System.Buffers.Binary;
using SafetyFilter.Ledger;

namespace SafetyFilter.Filtering;

/// <summary>
/// Records of recent decisions, as they were encoded, to try a new policy on before it serves. Bounded in number and bytes; thread-safe.
/// </summary>
/// <remarks>
/// Until it is full it takes every decision, then one of <see cref="OneOf"/>, each in place of the oldest. A request pays one copy
/// when its record is taken and never waits: while somebody else holds the ring its record is passed over.
/// </remarks>
/// <param name="capacity">Records; 0 keeps none.</param>
/// <param name="maxBytes">Of all of them together. A longer record is passed over, and so is an empty one.</param>
internal sealed class RecentDecisions(int capacity, int maxBytes)
{
    /// <summary>16: at 1000 decisions/s the default ring then spans some 16 s of traffic, and most requests copy nothing.</summary>
    public const int OneOf = 16;

    private readonly Entry[] _entries = new Entry[capacity];
    private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(capacity == 0 ? 0 : maxBytes);
    private readonly Lock _lock = new();
    private uint _offered;

    // The oldest entry, how many there are, and where the next one's bytes begin.
    private int _first;
    private int _count;
    private int _end;
    private bool _isFull;

    public int Count
    {
        get
        {
            lock (_lock)
            {
                return _count;
            }
        }
    }

    /// <param name="policyRevision">Of the policy that decided.</param>
    /// <param name="record">As it was encoded, without its sequence.</param>
    /// <param name="sequence">What the ledger gave it.</param>
    public void Offer(string policyRevision, ReadOnlySpan<byte> record, ulong sequence)
    {
        // An empty one would take no room, and so hide what lies behind it from the search for what is in the way.
        if (record.IsEmpty || record.Length > _bytes.Length || (Volatile.Read(ref _isFull) && Interlocked.Increment(ref _offered) % OneOf != 0) || !_lock.TryEnter())
        {
            return;
        }

        try
        {
            Keep_NeedsLock(policyRevision, record, sequence);
        }
        finally
        {
            _lock.Exit();
        }
    }

    /// <summary>Whole records of those that one of these policies decided, the oldest first.</summary>
    public List<byte[]> Of(HashSet<string> policyRevisions)
    {
        var found = new List<byte[]>();
        lock (_lock)
        {
            for (var i = 0; i < _count; i++)
            {
                var entry = _entries[(_first + i) % _entries.Length];
                if (policyRevisions.Contains(entry.PolicyRevision))
                {
                    found.Add(Whole_NeedsLock(entry));
                }
            }
        }

        return found;
    }

    private byte[] Whole_NeedsLock(in Entry entry)
    {
        var record = new byte[entry.Length + SegmentFormat.TrailerLength];
        _bytes.AsSpan(entry.Start, entry.Length).CopyTo(record);
        record[entry.Length] = SegmentFormat.TrailerTag;
        BinaryPrimitives.WriteUInt64LittleEndian(record.AsSpan(entry.Length + 1), entry.Sequence);
        return record;
    }

    private void Keep_NeedsLock(string policyRevision, ReadOnlySpan<byte> record, ulong sequence)
    {
        // Records stand one behind the other and never across the end. What lies in the way of a new one is the oldest.
        if (_count == _entries.Length)
        {
            Drop_NeedsLock();
        }

        var start = _bytes.Length - _end >= record.Length ? _end : 0;
        while (_count > 0 && IsInTheWay_NeedsLock(start, record.Length))
        {
            Drop_NeedsLock();
        }

        record.CopyTo(_bytes.AsSpan(start));
        _entries[(_first + _count) % _entries.Length] = new Entry(policyRevision, start, record.Length, sequence);
        _count++;
        _end = start + record.Length;
    }

    // Either the oldest record is overwritten, or the writer wraps and everything behind its last place is older than what lies at the beginning.
    private bool IsInTheWay_NeedsLock(int start, int length)
    {
        var oldest = _entries[_first];
        return (oldest.Start < start + length && start < oldest.Start + oldest.Length) || (start != _end && oldest.Start >= _end);
    }

    private void Drop_NeedsLock()
    {
        _entries[_first] = default;
        _first = (_first + 1) % _entries.Length;
        _count--;
        Volatile.Write(ref _isFull, true);
    }

    private readonly record struct Entry(string PolicyRevision, int Start, int Length, ulong Sequence);
}
