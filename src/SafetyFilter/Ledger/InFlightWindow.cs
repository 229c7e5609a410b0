namespace SafetyFilter.Ledger;

/// <summary>
/// Records handed to Kafka and not yet acknowledged, in order. Bounds them, and knows up to where all are acknowledged
/// without a hole. A record that goes to two topics needs the word of both. Acknowledgements come from other threads and, with <c>Flush</c>, from two at once.
/// </summary>
internal sealed class InFlightWindow(int maxRecords, long maxBytes, ulong acknowledgedThrough)
{
    private readonly Entry[] _ring = new Entry[maxRecords];
    private readonly Lock _gate = new();
    private readonly AutoResetEvent _moved = new(false);
    private int _head;
    private int _count;
    private long _bytes;
    private ulong _acknowledgedThrough = acknowledgedThrough;
    private ulong _oldestTime;

    /// <summary>All records up to here are acknowledged.</summary>
    public ulong AcknowledgedThrough => Volatile.Read(ref _acknowledgedThrough);

    /// <summary>When the oldest record in flight was decided; 0 when none is.</summary>
    public ulong OldestTimeUnixNanos => Volatile.Read(ref _oldestTime);

    public int Count => Volatile.Read(ref _count);

    /// <summary>Adds a record behind the others, if there is room for it. One record always has room.</summary>
    /// <param name="acknowledgements">How many it takes.</param>
    public bool TryAdd(ulong sequence, int bytes, ulong timeUnixNanos, int acknowledgements = 1)
    {
        lock (_gate)
        {
            if (_count > 0 && (_count == _ring.Length || _bytes + bytes > maxBytes))
            {
                return false;
            }

            _ring[(_head + _count) % _ring.Length] = new Entry(sequence, bytes, timeUnixNanos, acknowledgements);
            _count++;
            _bytes += bytes;
            if (_count == 1)
            {
                Volatile.Write(ref _oldestTime, timeUnixNanos);
            }

            return true;
        }
    }

    /// <summary>Waits for an acknowledgement that moves the window.</summary>
    public void WaitForRoom(TimeSpan patience) => _moved.WaitOne(patience);

    public void Acknowledge(ulong sequence)
    {
        lock (_gate)
        {
            Mark_NeedsLock(sequence);
            var moved = false;
            while (_count > 0 && _ring[_head].Missing <= 0)
            {
                Volatile.Write(ref _acknowledgedThrough, _ring[_head].Sequence);
                _bytes -= _ring[_head].Bytes;
                _head = (_head + 1) % _ring.Length;
                _count--;
                moved = true;
            }

            if (moved)
            {
                Volatile.Write(ref _oldestTime, _count > 0 ? _ring[_head].TimeUnixNanos : 0);
                _moved.Set();
            }
        }
    }

    private void Mark_NeedsLock(ulong sequence)
    {
        var low = 0;
        var high = _count - 1;
        while (low <= high)
        {
            var middle = (low + high) >>> 1;
            ref var entry = ref _ring[(_head + middle) % _ring.Length];
            if (entry.Sequence == sequence)
            {
                entry = entry with { Missing = entry.Missing - 1 };
                return;
            }

            if (entry.Sequence < sequence)
            {
                low = middle + 1;
            }
            else
            {
                high = middle - 1;
            }
        }
    }

    private record struct Entry(ulong Sequence, int Bytes, ulong TimeUnixNanos, int Missing);
}
