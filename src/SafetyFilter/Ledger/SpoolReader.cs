using System.Buffers;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger;

internal enum SpoolRead
{
    Record,

    /// <summary>Nothing (more) to read now. A follower asks again later.</summary>
    End,

    /// <summary>Bytes that are no record; see <see cref="SpoolReader.Damage"/>. Reading goes on after them.</summary>
    Damage,
}

internal enum DamageKind
{
    /// <summary>Bytes after the last record of the newest segment and no record after them: a write was cut short.</summary>
    TornTail,

    /// <summary>Bytes that are no record, between records.</summary>
    Frame,

    /// <summary>Bytes that are no record, up to the end of an older segment.</summary>
    SegmentEnd,

    /// <summary>The first 64 bytes of the file. Its records are read all the same.</summary>
    FileHeader,

    /// <summary>The file cannot be opened or read.</summary>
    Unreadable,
}

/// <param name="Offset">Where the bytes start in the file.</param>
/// <param name="Length">How many there are, without zeros at the end of the file.</param>
/// <param name="AfterSequence">The last record read before them; 0 for none.</param>
internal readonly record struct SpoolDamage(DamageKind Kind, string Path, long Offset, long Length, ulong AfterSequence);

/// <summary>
/// Reads the segments of one stream in order, also while a writer appends to them. Bad bytes are values, never exceptions.
/// Not thread-safe.
/// </summary>
/// <remarks>It reads and does not map: the writer truncates a segment when it is done with it, and a mapping would fault.</remarks>
internal sealed class SpoolReader : IDisposable
{
    private readonly string? _folder;
    private readonly bool _follow;
    private readonly ulong _from;
    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(1 << 18);
    private int _start;
    private int _filled;

    // Where _buffer[0] lies in the file.
    private long _bufferOffset;
    private SafeFileHandle? _file;
    private ulong _segmentFirst;
    private bool _fresh;
    private string? _seenNext;
    private string? _single;
    private FrameHeader _frame;
    private int _payload;

    private SpoolReader(string? folder, string? single, ulong from, bool follow)
    {
        _folder = folder;
        _single = single;
        _from = from;
        _follow = follow;
    }

    /// <summary>Valid after <see cref="SpoolRead.Record"/>, until the next read.</summary>
    public ReadOnlySpan<byte> Payload => _buffer.AsSpan(_payload, (int)_frame.Length);

    public RecordType Type => (RecordType)_frame.TypeAndReserved;

    public uint Epoch => _frame.Epoch;

    public ulong Sequence => _frame.Sequence;

    /// <summary>The segment of the last record or damage.</summary>
    public string SegmentPath { get; private set; } = "";

    /// <summary>Where the frame of the last record starts in its segment.</summary>
    public long Offset { get; private set; }

    public SpoolDamage Damage { get; private set; }

    /// <summary>Where reading goes on; after <see cref="SpoolRead.End"/>, the end of the last record.</summary>
    public long Position => _bufferOffset + _start;

    /// <summary>Reads a stream's folder from the given sequence (or the oldest record there is, when that is gone).</summary>
    /// <param name="follow">A writer may be at work: bytes after the last record of the newest segment are its business.</param>
    public static SpoolReader OpenStream(string streamFolder, ulong from = 0, bool follow = false) => new(streamFolder, null, from, follow);

    public static SpoolReader OpenSegment(string path) => new(null, path, 0, false);

    public SpoolRead Read()
    {
        while (true)
        {
            if (_file is null)
            {
                var opened = OpenNext();
                if (opened is not null)
                {
                    return opened.Value;
                }
            }

            var state = SegmentFormat.TryReadFrame(_buffer.AsSpan(_start.._filled), out var frame);
            if (state == FrameState.Valid)
            {
                _frame = frame;
                _payload = _start + SegmentFormat.FrameHeaderLength;
                Offset = Position;
                _start = Math.Min(_start + SegmentFormat.FrameLength((int)frame.Length), _filled);
                _fresh = false;
                if (frame.Sequence >= _from)
                {
                    return SpoolRead.Record;
                }

                continue;
            }

            if (state == FrameState.Incomplete && Fill(SegmentFormat.FrameHeaderLength + (int)frame.Length))
            {
                continue;
            }

            // What is in the buffer may be older than the file: look again before believing it.
            if (!_fresh)
            {
                Reload();
                continue;
            }

            var next = FindNext();
            if (next is not null && !string.Equals(next, _seenNext, StringComparison.Ordinal))
            {
                // The writer is done with this segment now, and was perhaps not a moment ago.
                _seenNext = next;
                Reload();
                continue;
            }

            if (next is null && _follow)
            {
                return SpoolRead.End;
            }

            var damage = SkipToNextFrame(isLast: next is null);
            if (damage is not null)
            {
                Damage = damage.Value;
                return SpoolRead.Damage;
            }

            if (next is null)
            {
                return SpoolRead.End;
            }

            Close();
        }
    }

    public void Dispose()
    {
        _file?.Dispose();
        _file = null;
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
        _start = _filled = 0;
    }

    /// <summary>Opens the next segment. Null when that went well; otherwise what to tell the caller.</summary>
    private SpoolRead? OpenNext()
    {
        var path = FindNext();
        if (path is null)
        {
            return SpoolRead.End;
        }

        _ = SpoolFolder.TryReadSegmentName(Path.GetFileName(path.AsSpan()), out _segmentFirst);
        _single = null;
        SegmentPath = path;
        _bufferOffset = 0;
        _start = _filled = 0;
        try
        {
            _file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, FileOptions.SequentialScan);
            Reload();
            _fresh = false;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            Damage = new SpoolDamage(DamageKind.Unreadable, path, 0, 0, _frame.Sequence);
            return SpoolRead.Damage;
        }

        var valid = SegmentFormat.TryReadFileHeader(_buffer.AsSpan(0, _filled), out var header)
            && (_segmentFirst == 0 || header.FirstSequence == _segmentFirst);
        _start = Math.Min(SegmentFormat.FileHeaderLength, _filled);
        if (valid)
        {
            return null;
        }

        Damage = new SpoolDamage(DamageKind.FileHeader, path, 0, _start, _frame.Sequence);
        return SpoolRead.Damage;
    }

    private string? FindNext()
    {
        if (_folder is null)
        {
            return _single;
        }

        if (_segmentFirst == 0)
        {
            var segments = SpoolFolder.Segments(_folder);
            var index = segments.FindLastIndex(segment => segment.FirstSequence <= _from);
            return segments.Count == 0 ? null : segments[Math.Max(index, 0)].Path;
        }

        var expected = Path.Combine(_folder, SpoolFolder.SegmentName(_frame.Sequence + 1));
        if (_frame.Sequence >= _segmentFirst && File.Exists(expected))
        {
            return expected;
        }

        foreach (var (first, path) in SpoolFolder.Segments(_folder))
        {
            if (first > _segmentFirst)
            {
                return path;
            }
        }

        return null;
    }

    private void Close()
    {
        _file?.Dispose();
        _file = null;
        _seenNext = null;
        _fresh = false;
    }

    /// <summary>Reads the file again from the present position.</summary>
    private void Reload()
    {
        _bufferOffset += _start;
        _start = 0;
        _filled = RandomAccess.Read(_file!, _buffer, _bufferOffset);
        _fresh = true;
    }

    /// <summary>Reads more, so that at least so many bytes are at hand. False when the file has no more.</summary>
    private bool Fill(int needed)
    {
        _bufferOffset += _start;
        var kept = _filled - _start;
        if (_buffer.Length < needed)
        {
            var larger = ArrayPool<byte>.Shared.Rent(needed);
            _buffer.AsSpan(_start, kept).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_buffer);
            _buffer = larger;
        }
        else
        {
            _buffer.AsSpan(_start, kept).CopyTo(_buffer);
        }

        _start = 0;
        _filled = kept;
        var read = RandomAccess.Read(_file!, _buffer.AsSpan(kept), _bufferOffset + kept);
        _filled += read;
        return read > 0 && _filled >= Math.Min(needed, _buffer.Length);
    }

    /// <summary>
    /// Looks at the rest of the file. Null when it is only zeros. Otherwise tells what is there and moves to the next
    /// record, or to the end.
    /// </summary>
    private SpoolDamage? SkipToNextFrame(bool isLast)
    {
        var from = Position;
        var length = RandomAccess.GetLength(_file!);
        var start = FindNonZero(from, length);
        if (start == length)
        {
            return null;
        }

        // Rare, and bounded by the size of a segment: take the rest into memory.
        var rest = new byte[length - from];
        var read = RandomAccess.Read(_file!, rest, from);
        var bytes = rest.AsSpan(0, read);
        var next = FindFrame(bytes, _frame.Sequence);
        var kind = next >= 0 ? DamageKind.Frame : isLast ? DamageKind.TornTail : DamageKind.SegmentEnd;
        var end = next >= 0 ? next : bytes.LastIndexOfAnyExcept((byte)0) + 1;
        _bufferOffset = next >= 0 ? from + next : length;
        _start = _filled = 0;
        Reload();
        return new SpoolDamage(kind, SegmentPath, from, end, _frame.Sequence);
    }

    private long FindNonZero(long offset, long length)
    {
        var chunk = ArrayPool<byte>.Shared.Rent(1 << 20);
        try
        {
            int read;
            while (offset < length && (read = RandomAccess.Read(_file!, chunk, offset)) > 0)
            {
                var index = chunk.AsSpan(0, read).IndexOfAnyExcept((byte)0);
                if (index >= 0)
                {
                    return offset + index;
                }

                offset += read;
            }

            return length;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(chunk);
        }
    }

    /// <summary>The next valid frame after the one at 0, by its own length or else by trying every eighth byte. -1: none.</summary>
    private static int FindFrame(ReadOnlySpan<byte> bytes, ulong after)
    {
        // A record's text could hold bytes that look like a frame. Trust the damaged frame's own length first.
        if (bytes.Length >= SegmentFormat.FrameHeaderLength)
        {
            var length = MemoryMarshal.Read<uint>(bytes);
            if (length is >= SegmentFormat.TrailerLength and <= SegmentFormat.MaxPayload)
            {
                var next = SegmentFormat.FrameLength((int)length);
                if (IsLaterFrame(bytes, next, after))
                {
                    return next;
                }
            }
        }

        for (var offset = 8; offset + SegmentFormat.FrameHeaderLength <= bytes.Length; offset += 8)
        {
            if (IsLaterFrame(bytes, offset, after))
            {
                return offset;
            }
        }

        return -1;
    }

    private static bool IsLaterFrame(ReadOnlySpan<byte> bytes, int offset, ulong after) =>
        offset < bytes.Length
        && SegmentFormat.TryReadFrame(bytes[offset..], out var frame) == FrameState.Valid
        && frame.Sequence > after;
}
