namespace SafetyFilter.Ledger;

internal enum SpoolRead
{
    Record,

    /// <summary>Nothing (more) to read now. A follower asks again later.</summary>
    End,

    /// <summary>Bytes that are no record; see <see cref="SpoolReader.Damage"/>. Reading goes on after them.</summary>
    Damage,
}

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
    private readonly SegmentWindow _window = new();
    private ulong _segmentFirst;
    private SegmentHeader _header;

    // The record before the present position, by what was read or else by the segment's first; 0 when nothing tells.
    private ulong _before;
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
    public ReadOnlySpan<byte> Payload => _window.Span(_payload, (int)_frame.Length);

    public RecordType Type => (RecordType)_frame.TypeAndReserved;

    public uint Epoch => _frame.Epoch;

    public ulong Sequence => _frame.Sequence;

    /// <summary>The segment of the last record or damage.</summary>
    public string SegmentPath { get; private set; } = "";

    /// <summary>Where the frame of the last record starts in its segment.</summary>
    public long Offset { get; private set; }

    public SpoolDamage Damage { get; private set; }

    /// <summary>Where reading goes on; after <see cref="SpoolRead.End"/>, the end of the last record.</summary>
    public long Position => _window.Position;

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
            _listed = _window.IsOpen;
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
            if (!_window.IsOpen)
            {
                var opened = OpenNext();
                if (opened is not null)
                {
                    return opened.Value;
                }
            }

            var state = SegmentFormat.TryReadFrame(_window.Unread, out var frame);
            if (state == FrameState.Valid)
            {
                _frame = frame;
                _before = frame.Sequence;
                _payload = _window.Start + SegmentFormat.FrameHeaderLength;
                Offset = Position;
                _window.Skip(SegmentFormat.FrameLength((int)frame.Length));
                if (frame.Sequence >= _from)
                {
                    return SpoolRead.Record;
                }

                continue;
            }

            if (state == FrameState.Incomplete && _window.TryFill(SegmentFormat.FrameHeaderLength + (int)frame.Length))
            {
                continue;
            }

            // What is in the buffer may be older than the file: look again before believing it.
            if (!_window.IsFresh)
            {
                _window.Reload();
                continue;
            }

            var next = FindNext();
            if (next is not null && !string.Equals(next, _seenNext, StringComparison.Ordinal))
            {
                // The writer is done with this segment now, and was perhaps not a moment ago.
                _seenNext = next;
                _window.Reload();
                continue;
            }

            var isLast = next is null;
            var damage = new DamageScan(_window, SegmentPath, _header, _before).Find(isLast, out var goOn);
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
                    _window.Reload();
                    continue;
                }
            }

            if (damage is not null)
            {
                Damage = damage.Value;
                _window.Seek(goOn >= 0 ? goOn : _window.FileLength);
                return SpoolRead.Damage;
            }

            if (isLast)
            {
                return SpoolRead.End;
            }

            Close();
        }
    }

    public void Dispose() => _window.Dispose();

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
            try
            {
                _window.Open(path);
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

        _window.Reload();
        var valid = SegmentFormat.TryReadFileHeader(_window.Unread, out _header)
            && (_segmentFirst == 0 || _header.FirstSequence == _segmentFirst);
        var first = _segmentFirst != 0 ? _segmentFirst : _header.FirstSequence;
        _before = Math.Max(_before, first == 0 ? 0 : first - 1);
        _window.Skip(SegmentFormat.FileHeaderLength);
        if (valid)
        {
            return null;
        }

        Damage = new SpoolDamage(DamageKind.FileHeader, SegmentPath, 0, _window.Start, _before);
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
        _window.Close();
        _seenNext = null;
        _seenLater = -1;
    }
}
