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
    /// <summary>
    /// Bytes after the last record of the newest segment, no record after them, and no length before them: a write was cut
    /// short and never acknowledged.
    /// </summary>
    TornTail,

    /// <summary>Bytes that are no record, between records; or at the end, where a length says that a record was acknowledged.</summary>
    Frame,

    /// <summary>Bytes that are no record, up to the end of an older segment.</summary>
    SegmentEnd,

    /// <summary>The first 64 bytes of the file. Its records are read all the same.</summary>
    FileHeader,

    /// <summary>The file cannot be opened, or not be read from the offset on. It may be whole: nothing is known of its records.</summary>
    Unreadable,
}

/// <param name="Offset">Where the bytes start in the file.</param>
/// <param name="Length">How many there are, without zeros at the end of the file.</param>
/// <param name="AfterSequence">The last record before them, as far as that is known; 0 for none.</param>
/// <param name="Reason">Of <see cref="DamageKind.Unreadable"/>.</param>
internal readonly record struct SpoolDamage(
    DamageKind Kind, string Path, long Offset, long Length, ulong AfterSequence, string Reason = "");

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
    private SegmentHeader _header;

    // The record before the present position, by what was read or else by the segment's first; 0 when nothing tells.
    private ulong _before;
    private bool _fresh;
    private bool _listed = true;
    private string? _seenNext;
    private long _seenLater = -1;
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
        if (!_listed)
        {
            return SpoolRead.End;
        }

        try
        {
            return ReadNext();
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // EIO in the middle of a file, for one. The next read goes on with the next segment, if the folder can be listed.
            _listed = _file is not null;
            Damage = _listed
                ? new SpoolDamage(DamageKind.Unreadable, SegmentPath, Position, 0, _before, error.Message)
                : new SpoolDamage(DamageKind.Unreadable, _folder ?? SegmentPath, 0, 0, _before, error.Message);
            Close();
            return SpoolRead.Damage;
        }
    }

    private SpoolRead ReadNext()
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
                _before = frame.Sequence;
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

            var isLast = next is null;
            var damage = FindDamage(isLast, out var goOn);
            if (isLast && _follow)
            {
                // Appends are serialised: where a later record stands, this place will not become one. Without one it is
                // the writer's business.
                if (damage is not { Kind: DamageKind.Frame } || goOn < 0)
                {
                    return SpoolRead.End;
                }

                if (_seenLater != Position)
                {
                    // The later record is of this moment, the bytes here may be of the one before.
                    _seenLater = Position;
                    Reload();
                    continue;
                }
            }

            if (damage is not null)
            {
                Damage = damage.Value;
                Seek(goOn >= 0 ? goOn : RandomAccess.GetLength(_file!));
                return SpoolRead.Damage;
            }

            if (isLast)
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
        while (true)
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
                break;
            }
            catch (FileNotFoundException) when (_folder is not null)
            {
                // Published and deleted since the folder was listed. If it was not, the jump in the sequence shows.
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                Damage = new SpoolDamage(DamageKind.Unreadable, path, 0, 0, _before, error.Message);
                return SpoolRead.Damage;
            }
        }

        Reload();
        _fresh = false;
        var valid = SegmentFormat.TryReadFileHeader(_buffer.AsSpan(0, _filled), out _header)
            && (_segmentFirst == 0 || _header.FirstSequence == _segmentFirst);
        var first = _segmentFirst != 0 ? _segmentFirst : _header.FirstSequence;
        _before = Math.Max(_before, first == 0 ? 0 : first - 1);
        _start = Math.Min(SegmentFormat.FileHeaderLength, _filled);
        if (valid)
        {
            return null;
        }

        Damage = new SpoolDamage(DamageKind.FileHeader, SegmentPath, 0, _start, _before);
        _header = default;
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
        _seenLater = -1;
        _fresh = false;
    }

    private void Seek(long offset)
    {
        _bufferOffset = offset;
        _start = _filled = 0;
        Reload();
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

    /// <summary>Looks at the rest of the file. Null when it is only zeros; otherwise what is there.</summary>
    /// <param name="goOn">Where the next record starts; -1 when there is none.</param>
    private SpoolDamage? FindDamage(bool isLast, out long goOn)
    {
        goOn = -1;
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
        var next = FindFrame(bytes);
        goOn = next >= 0 ? from + next : -1;

        // The length is stored last: where there is one, the record was whole once, and somebody may hold its receipt.
        var acknowledged = bytes[..Math.Min(sizeof(uint), bytes.Length)].ContainsAnyExcept((byte)0);
        var kind = next >= 0 ? DamageKind.Frame
            : !isLast ? DamageKind.SegmentEnd
            : acknowledged ? DamageKind.Frame : DamageKind.TornTail;
        var end = next >= 0 ? next : bytes.LastIndexOfAnyExcept((byte)0) + 1;
        return new SpoolDamage(kind, SegmentPath, from, end, _before);
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
    private int FindFrame(ReadOnlySpan<byte> bytes)
    {
        // A record's text could hold bytes that look like a frame. Trust the damaged frame's own length first.
        if (bytes.Length >= SegmentFormat.FrameHeaderLength)
        {
            var length = MemoryMarshal.Read<uint>(bytes);
            if (length is >= SegmentFormat.TrailerLength and <= SegmentFormat.MaxPayload)
            {
                var next = SegmentFormat.FrameLength((int)length);
                if (IsLaterFrame(bytes, next))
                {
                    return next;
                }
            }
        }

        for (var offset = 8; offset + SegmentFormat.FrameHeaderLength <= bytes.Length; offset += 8)
        {
            if (IsLaterFrame(bytes, offset))
            {
                return offset;
            }
        }

        return -1;
    }

    /// <summary>
    /// Whether a record of this stream and segment stands there, one that can follow what lies between. A valid checksum is
    /// not enough: whoever makes a request chooses bytes that are recorded.
    /// </summary>
    private bool IsLaterFrame(ReadOnlySpan<byte> bytes, int offset)
    {
        if (offset >= bytes.Length
            || SegmentFormat.TryReadFrame(bytes[offset..], out var frame) != FrameState.Valid
            || frame.Sequence <= _before
            || (_before != 0 && frame.Sequence > _before + 1 + (ulong)(offset / SegmentFormat.SmallestFrame)))
        {
            return false;
        }

        // A segment is of one epoch, which its header tells and spool.json bounds; but the header may be what is damaged.
        var record = bytes.Slice(offset + SegmentFormat.FrameHeaderLength, (int)frame.Length);
        return RecordFields.TryRead(record, out var fields)
            && fields.Sequence == frame.Sequence
            && RecordFields.Trailer(record) == frame.Sequence
            && fields.Epoch == frame.Epoch
            && (_header.Epoch == 0 || (_header.Epoch == frame.Epoch && _header.StreamId == fields.StreamId))
            && IsOfFolder(fields.StreamId);
    }

    private bool IsOfFolder(Guid stream) =>
        !Guid.TryParseExact(Path.GetFileName(Path.GetDirectoryName(SegmentPath)), "N", out var named) || named == stream;
}
