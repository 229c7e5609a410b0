using System.Runtime.InteropServices;

namespace SafetyFilter.Ledger;

/// <summary>
/// Records that have their sequences and no segment yet: a ring of whole frames, in order, bounded, in memory only. Methods
/// whose names say so need the spool's lock.
/// </summary>
/// <remarks>
/// The memory is not the garbage collector's and is taken from the system page by page as it is used, so that a spool that never
/// needs it does not pay for it. An entry is 8 bytes (state, candidates) and then the frame as it will stand in a segment. Its
/// room is given back once the frame was moved <em>and</em> the appender is done hashing it.
/// </remarks>
internal sealed unsafe class MemoryBacklog(int capacity) : IDisposable
{
    private const int PrefixLength = 8;
    private const int Hashing = 0;
    private const int Done = 1;
    private const int Wrap = 2;

    private readonly long _capacity = capacity & ~7;
    private byte* _ring;

    // Byte counts that only grow, but for the reset of an empty ring: given back up to _free, moved up to _head, filled up to _tail.
    private long _free;
    private long _head;
    private long _tail;

    public bool IsEmpty_NeedsLock => _head == _tail;

    /// <summary>Bytes that wait for a segment. Read by anyone, as of a moment ago.</summary>
    public long Bytes => Math.Max(0, Volatile.Read(ref _tail) - Volatile.Read(ref _head));

    /// <summary>Adds one record behind the others.</summary>
    /// <returns>Where its frame is, for hashing, until <see cref="Release"/>; null when there is no room.</returns>
    public byte* TryAdd_NeedsLock(ref FrameHeader frame, uint bodyCrc, ReadOnlySpan<byte> body, int candidates)
    {
        var size = PrefixLength + SegmentFormat.FrameLength((int)frame.Length);
        GiveBack_NeedsLock();
        var toEnd = _capacity == 0 ? 0 : _capacity - _tail % _capacity;
        var skipped = size > toEnd ? toEnd : 0;
        if (_tail + skipped + size - _free > _capacity)
        {
            return null;
        }

        if (_ring is null)
        {
            _ring = (byte*)NativeMemory.Alloc((nuint)_capacity);
        }

        if (skipped > 0)
        {
            *(int*)At(_tail) = Wrap;
            _tail += skipped;
        }

        var entry = At(_tail);
        ((int*)entry)[0] = Hashing;
        ((int*)entry)[1] = candidates;
        SegmentFormat.WriteFrame(entry + PrefixLength, ref frame, bodyCrc, body);
        Volatile.Write(ref _tail, _tail + size);
        return entry + PrefixLength;
    }

    /// <summary>The appender is done with the frame. Needs no lock.</summary>
    public static void Release(byte* frame) => Volatile.Write(ref *(int*)(frame - PrefixLength), Done);

    /// <summary>The oldest record that waits. False when none does.</summary>
    public bool TryPeek_NeedsLock(out byte* frame, out int length, out int candidates)
    {
        frame = null;
        length = candidates = 0;
        if (IsEmpty_NeedsLock)
        {
            return false;
        }

        if (*(int*)At(_head) == Wrap)
        {
            _head += _capacity - _head % _capacity;
        }

        var entry = At(_head);
        candidates = ((int*)entry)[1];
        frame = entry + PrefixLength;
        length = SegmentFormat.FrameLength((int)((FrameHeader*)frame)->Length);
        return true;
    }

    /// <summary>The record that <see cref="TryPeek_NeedsLock"/> showed stands in a segment now.</summary>
    public void Advance_NeedsLock(int length) => Volatile.Write(ref _head, _head + PrefixLength + length);

    public void Dispose()
    {
        GiveBack_NeedsLock();
        if (_ring is not null && _free == _tail)
        {
            NativeMemory.Free(_ring);
            _ring = null;
        }
    }

    private void GiveBack_NeedsLock()
    {
        while (_free < _head)
        {
            var entry = At(_free);
            var state = Volatile.Read(ref *(int*)entry);
            if (state == Hashing)
            {
                return;
            }

            _free += state == Wrap
                ? _capacity - _free % _capacity
                : PrefixLength + SegmentFormat.FrameLength((int)((FrameHeader*)(entry + PrefixLength))->Length);
        }

        if (_free == _tail)
        {
            // From the start again: pages that were used once are the warm ones.
            _free = _head = _tail = 0;
        }
    }

    private byte* At(long position) => _ring + position % _capacity;
}
