namespace SafetyFilter.Ledger.Verify;

/// <summary>Sequences that were jumped over, and where.</summary>
internal readonly record struct MissingRange(ulong First, ulong Last, string Source, long Position);

/// <summary>A missing range that a Gap record admits. It counts when a signature covers that record, or the missing leaves themselves.</summary>
internal readonly record struct AdmittedRange(ulong First, ulong Last, ulong BySequence, bool IsCertified);

/// <summary>Which records of one stream came, in which order, and what is missing.</summary>
internal sealed class StreamOrder(in RecordFields first, int repeatWindow)
{
    // Requests are decided side by side: their records may stand in another order than their times.
    private const ulong TimeSlackNanos = 1_000_000_000;

    // Half of each leaf hash, by sequence modulo the window. Grows to the window.
    private UInt128[] _leaves = new UInt128[1024];
    private readonly List<(ulong First, ulong Last)> _skipped = [];
    private ulong _newestTime;

    public Guid Id { get; } = first.StreamId;
    public ulong First { get; } = first.Sequence;
    public ulong Next { get; private set; } = first.Sequence;
    public ulong Last => Next - 1;
    public bool HasRecords => Next != First;
    public bool RepeatsUnchecked { get; set; }
    public List<MissingRange> Missing { get; } = [];
    public List<AdmittedRange> Admitted { get; } = [];

    /// <summary>How often a record is older by more than a second than one before it, and by how much at most.</summary>
    public (long Count, ulong Nanos) TimeGoesBack { get; private set; }

    public void Take(in RecordFields fields, UInt128 leaf)
    {
        Remember(fields.Sequence, leaf);
        Next = fields.Sequence + 1;
        if (fields.TimeUnixNanos + TimeSlackNanos < _newestTime)
        {
            TimeGoesBack = (TimeGoesBack.Count + 1, Math.Max(TimeGoesBack.Nanos, _newestTime - fields.TimeUnixNanos));
        }

        _newestTime = Math.Max(_newestTime, fields.TimeUnixNanos);
    }

    /// <summary>Goes on at this sequence; what lies before was published and deleted while this was read.</summary>
    public void SkipTo(ulong next)
    {
        _skipped.Add((Next, next - 1));
        Next = next;
    }

    public bool WasSkipped(ulong sequence) => _skipped.Exists(range => sequence >= range.First && sequence <= range.Last);

    public void Remember(ulong sequence, UInt128 leaf)
    {
        while (sequence - First >= (ulong)_leaves.Length && _leaves.Length < repeatWindow)
        {
            Array.Resize(ref _leaves, Math.Min(_leaves.Length * 2, repeatWindow));
        }

        _leaves[(sequence - First) % (ulong)_leaves.Length] = leaf;
    }

    /// <summary>Whether the record that came first had the same leaf; null when that is too long ago.</summary>
    public bool? Compare(ulong sequence, UInt128 leaf) =>
        Next - sequence > (ulong)_leaves.Length ? null : _leaves[(sequence - First) % (ulong)_leaves.Length] == leaf;

    /// <summary>A missing record came late.</summary>
    public bool TryFill(ulong sequence) => Cut(sequence, sequence).Count > 0;

    /// <summary>The writer admits that these are lost.</summary>
    public void Admit(ulong from, ulong to, ulong bySequence, Func<ulong, ulong, bool> isCertified)
    {
        foreach (var range in Cut(from, to))
        {
            Admitted.Add(new AdmittedRange(range.First, range.Last, bySequence, isCertified(range.First, range.Last)));
        }
    }

    public bool IsMissing(ulong sequence) => Missing.Exists(range => sequence >= range.First && sequence <= range.Last);

    // Takes what is missing of a range out of the list.
    private List<MissingRange> Cut(ulong from, ulong to)
    {
        var cut = new List<MissingRange>();
        for (var index = Missing.Count - 1; index >= 0; index--)
        {
            var range = Missing[index];
            if (range.Last < from || range.First > to)
            {
                continue;
            }

            Missing.RemoveAt(index);
            cut.Add(range with { First = Math.Max(range.First, from), Last = Math.Min(range.Last, to) });
            if (to < range.Last)
            {
                Missing.Insert(index, range with { First = to + 1 });
            }

            if (from > range.First)
            {
                Missing.Insert(index, range with { Last = from - 1 });
            }
        }

        return cut;
    }
}
