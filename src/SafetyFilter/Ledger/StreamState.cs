namespace SafetyFilter.Ledger;

/// <summary>Sequences that were jumped over, and where.</summary>
internal readonly record struct MissingRange(ulong First, ulong Last, string Source, long Position);

/// <summary>What <see cref="LedgerVerifier"/> remembers of one stream.</summary>
internal sealed class StreamState(in RecordFields first, int repeatWindow)
{
    // Half of each leaf hash, by sequence modulo the window. Grows to the window.
    private UInt128[] _leaves = new UInt128[1024];

    // From which sequence on which epoch ran, in ascending order.
    private readonly List<(ulong From, uint Epoch)> _epochs = [(first.Sequence, first.Epoch)];

    public Guid Id { get; } = first.StreamId;
    public ulong First { get; } = first.Sequence;
    public uint FirstEpoch { get; } = first.Epoch;
    public ulong Next { get; set; } = first.Sequence;
    public bool HasRecords => Next != First;
    public uint Epoch { get; private set; } = first.Epoch;
    public bool EpochEnded { get; set; }
    public ulong EpochDecisions { get; set; }

    /// <summary>Whether every record of the running epoch was seen.</summary>
    public bool CountIsComplete { get; set; }

    public bool RepeatsUnchecked { get; set; }
    public List<MissingRange> Missing { get; } = [];

    public void Begin(uint epoch, ulong sequence, bool complete)
    {
        if (epoch != Epoch)
        {
            _epochs.Add((sequence, epoch));
        }

        Epoch = epoch;
        EpochEnded = false;
        EpochDecisions = 0;
        CountIsComplete = complete;
    }

    /// <summary>The epoch that ran when this sequence came first.</summary>
    public uint EpochOf(ulong sequence) => _epochs[Math.Max(_epochs.FindLastIndex(one => one.From <= sequence), 0)].Epoch;

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

    public bool TryFill(ulong sequence)
    {
        var index = Missing.FindIndex(range => sequence >= range.First && sequence <= range.Last);
        if (index < 0)
        {
            return false;
        }

        var range = Missing[index];
        Missing.RemoveAt(index);
        if (sequence < range.Last)
        {
            Missing.Insert(index, range with { First = sequence + 1 });
        }

        if (sequence > range.First)
        {
            Missing.Insert(index, range with { Last = sequence - 1 });
        }

        return true;
    }
}

internal readonly record struct StreamSummary(Guid StreamId, ulong FirstSequence, ulong LastSequence, uint FirstEpoch, uint LastEpoch);
