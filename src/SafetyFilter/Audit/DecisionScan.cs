using SafetyFilter.Ledger;

namespace SafetyFilter.Audit;

/// <summary>What is done with decisions on one core. The scan hands it one block of records at a time.</summary>
internal interface IDecisionWork
{
    void Take(ReadOnlySpan<byte> record);
}

/// <summary>Places whose bytes are no records, so that decisions may be missing. Telling more of them is for <c>audit verify</c>.</summary>
internal readonly record struct ScanDamage(long Places, long Bytes)
{
    public static ScanDamage operator +(ScanDamage one, ScanDamage other) => new(one.Places + other.Places, one.Bytes + other.Bytes);
}

/// <summary>
/// Runs work over all decisions of a ledger on several cores: one thread reads, blocks of records go to workers, and their results
/// are merged on the reading thread in the order of the records. A record that comes again is taken once. One that comes after a
/// later one of its epoch passes for a repeat here; that is a finding of <c>audit verify</c>.
/// </summary>
/// <param name="source">Where the records are.</param>
/// <param name="workers">How many cores; with 1 everything runs on the caller's thread.</param>
/// <param name="create">Makes a worker's state.</param>
/// <param name="merge">Takes a block's results out of a worker, which is then used for another block.</param>
internal sealed class DecisionScan<TWork>(ILedgerSource source, int workers, Func<TWork> create, Action<TWork> merge)
    where TWork : class, IDecisionWork
{
    private const int BlockBytes = 1 << 20;

    // By epoch too: after a loss of power a later epoch may give sequences again that are other records.
    private readonly Dictionary<(Guid Stream, uint Epoch), ulong> _last = [];
    private readonly Queue<Block> _running = new();
    private readonly Stack<Block> _idle = new();
    private Block? _filling;

    /// <summary>Decisions before this are passed over.</summary>
    public ulong FromUnixNanos { get; init; }

    /// <summary>Decisions from this on are passed over.</summary>
    public ulong ToUnixNanos { get; init; } = ulong.MaxValue;

    /// <summary>Sees records that are no decisions, in order and before any decision after them is worked on.</summary>
    public Action<RecordType?, ReadOnlySpan<byte>>? Other { get; init; }

    public ScanDamage Damage { get; private set; }

    public long Repeats { get; private set; }

    /// <summary>Null when all was read; otherwise why not.</summary>
    public string? Run(CancellationToken stop)
    {
        var failure = source.Read((_, _, type, record) => Add(type, record), AddDamage, stop);
        Send();
        while (_running.Count > 0)
        {
            Collect();
        }

        return failure;
    }

    private void AddDamage(in SpoolDamage damage) => Damage += new ScanDamage(1, damage.Length);

    private void Add(RecordType? type, ReadOnlySpan<byte> record)
    {
        if (type != RecordType.Decision)
        {
            Other?.Invoke(type, record);
            return;
        }

        // What cannot be read is for the worker to say.
        if (RecordFields.TryRead(record, out var fields))
        {
            if (_last.TryGetValue((fields.StreamId, fields.Epoch), out var last) && fields.Sequence <= last)
            {
                Repeats++;
                return;
            }

            _last[(fields.StreamId, fields.Epoch)] = fields.Sequence;
            if (fields.TimeUnixNanos < FromUnixNanos || fields.TimeUnixNanos >= ToUnixNanos)
            {
                return;
            }
        }

        _filling ??= _idle.TryPop(out var idle) ? idle : new Block(create());
        _filling.Add(record);
        if (_filling.Length >= BlockBytes)
        {
            Send();
        }
    }

    private void Send()
    {
        if (_filling is not { } block)
        {
            return;
        }

        _filling = null;
        if (workers <= 1)
        {
            block.Work();
            Finish(block);
            return;
        }

        block.Task = Task.Run(block.Work, CancellationToken.None);
        _running.Enqueue(block);
        if (_running.Count >= workers * 2)
        {
            Collect();
        }
    }

    private void Collect()
    {
        var block = _running.Dequeue();
        block.Task.GetAwaiter().GetResult();
        Finish(block);
    }

    private void Finish(Block block)
    {
        merge(block.State);
        block.Clear();
        _idle.Push(block);
    }

    private sealed class Block(TWork state)
    {
        private readonly List<int> _ends = [];
        private byte[] _bytes = new byte[BlockBytes + (BlockBytes >> 2)];

        public TWork State => state;

        public Task Task { get; set; } = Task.CompletedTask;

        public int Length => _ends.Count == 0 ? 0 : _ends[^1];

        public void Add(ReadOnlySpan<byte> record)
        {
            var start = Length;
            if (_bytes.Length < start + record.Length)
            {
                Array.Resize(ref _bytes, start + record.Length);
            }

            record.CopyTo(_bytes.AsSpan(start));
            _ends.Add(start + record.Length);
        }

        public void Work()
        {
            var start = 0;
            foreach (var end in _ends)
            {
                state.Take(_bytes.AsSpan(start..end));
                start = end;
            }
        }

        public void Clear() => _ends.Clear();
    }
}
