using System.Diagnostics;

namespace SafetyFilter.Ledger;

/// <summary>
/// Where the next record goes: into the current segment, or into memory as long as there is no segment for it. Its state is the
/// spool's and under the spool's gate.
/// </summary>
internal sealed class SpoolTail(Spool spool, SpoolKeeper keeper, LossPage losses, Segment first, int backlogBytes, Lock gate, TimeProvider time) : IDisposable
{
    // What moves from memory into a segment under one taking of the lock.
    private const int DrainStep = 64 << 10;

    private readonly MemoryBacklog _backlog = new(backlogBytes);
    private Segment _current = first;
    private ulong _writtenSequence = spool.LastSequence;

    /// <summary>The newest record in a segment.</summary>
    public ulong WrittenSequence => Volatile.Read(ref _writtenSequence);

    /// <summary>Bytes of records that wait in memory.</summary>
    public long BacklogBytes => _backlog.Bytes;

    public void Dispose() => _backlog.Dispose();

    /// <summary>Copies a record into a segment, which stays pinned. Null when there is none for it, or when others have to go first.</summary>
    /// <param name="draining">What waits in memory goes on into segments: the record's turn comes without waiting for another one.</param>
    public unsafe byte* TryWrite_NeedsLock(
        ref FrameHeader frame, uint bodyCrc, ReadOnlySpan<byte> body, int frameLength, out Segment? segment, out bool draining)
    {
        draining = _backlog.IsEmpty_NeedsLock || TryDrain_NeedsLock();
        if (_backlog.IsEmpty_NeedsLock && HasRoom_NeedsLock(frameLength))
        {
            segment = _current;
            var at = segment.Write_NeedsLock(ref frame, bodyCrc, body);
            Volatile.Write(ref _writtenSequence, frame.Sequence);
            return at;
        }

        segment = null;
        draining &= !_backlog.IsEmpty_NeedsLock;
        return null;
    }

    public unsafe byte* TryKeepInMemory_NeedsLock(ref FrameHeader frame, uint bodyCrc, ReadOnlySpan<byte> body, int candidates)
    {
        var at = _backlog.TryAdd_NeedsLock(ref frame, bodyCrc, body, candidates);
        if (at is not null)
        {
            losses.Waits(Waiting(at, candidates), Head_NeedsLock(), Spool.UnixNanos(time));
        }

        return at;
    }

    /// <summary>Moves what waits in memory into segments, as far as there are any.</summary>
    public void Drain()
    {
        while (true)
        {
            lock (gate)
            {
                if (!TryDrain_NeedsLock() || _backlog.IsEmpty_NeedsLock)
                {
                    return;
                }
            }
        }
    }

    /// <summary>At the end: waits for a segment for what is in memory. What is left then is lost, and the loss page knows it.</summary>
    public void Empty(TimeSpan patience)
    {
        var since = Stopwatch.GetTimestamp();
        for (Drain(); WrittenSequence != spool.LastSequence && Stopwatch.GetElapsedTime(since) < patience; Drain())
        {
            // Also when there was no space the last time: these records were answered for.
            keeper.HurrySpare(TimeSpan.FromMilliseconds(50));
        }
    }

    /// <summary>The current segment, kept mapped until it is unpinned.</summary>
    public void PinForPopulate(out Segment current, out long used)
    {
        lock (gate)
        {
            current = _current;
            used = _current.Used;
            current.Pin();
        }
    }

    /// <summary>Leaves a segment whose fdatasync failed, if it is still the current one and there is another.</summary>
    public bool TryLeave(Segment condemned)
    {
        lock (gate)
        {
            return _current != condemned || TryRoll_NeedsLock();
        }
    }

    /// <summary>What the sync thread has to bring to the disk, and the sequence that is durable once it did.</summary>
    public ulong CaptureForSync_NeedsLock(out Segment current, out long used)
    {
        current = _current;
        used = _current.Used;
        return _writtenSequence;
    }

    /// <summary>Moves some of what waits in memory. False when there is no segment for the next of it.</summary>
    private unsafe bool TryDrain_NeedsLock()
    {
        for (var moved = 0; moved < DrainStep && _backlog.TryPeek_NeedsLock(out var frame, out var length, out var candidates); moved += length)
        {
            if (!HasRoom_NeedsLock(length))
            {
                return false;
            }

            var record = Waiting(frame, candidates);
            _current.Copy_NeedsLock(frame, length);
            Volatile.Write(ref _writtenSequence, record.Sequence);
            _backlog.Advance_NeedsLock(length);
            losses.Arrived(record, Head_NeedsLock());
        }

        return true;
    }

    private unsafe WaitingRecord Head_NeedsLock() =>
        _backlog.TryPeek_NeedsLock(out var frame, out _, out var candidates) ? Waiting(frame, candidates) : default;

    private static unsafe WaitingRecord Waiting(byte* frame, int candidates)
    {
        var header = (FrameHeader*)frame;
        return new WaitingRecord(header->Sequence, header->TypeAndReserved == (uint)RecordType.Decision ? 1UL : 0, (ulong)candidates);
    }

    private bool HasRoom_NeedsLock(int frameLength) => _current.Length - _current.Used >= frameLength || TryRoll_NeedsLock();

    private bool TryRoll_NeedsLock()
    {
        var spare = keeper.TakeSpare_NeedsLock();
        if (spare is null)
        {
            return false;
        }

        spare.Begin_NeedsLock(new SegmentHeader(spool.StreamId, spool.Epoch, _writtenSequence + 1, Spool.UnixNanos(time)));
        keeper.Retire_NeedsLock(_current, spare);
        _current = spare;
        return true;
    }
}
