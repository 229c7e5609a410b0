using System.Buffers;
using Microsoft.Win32.SafeHandles;

namespace SafetyFilter.Ledger;

/// <summary>A segment file through a buffer that slides over it. What the buffer holds may be older than the file: see <see cref="Reload"/>.</summary>
internal sealed class SegmentWindow : IDisposable
{
    private byte[] _buffer = ArrayPool<byte>.Shared.Rent(1 << 18);
    private int _filled;

    // Where _buffer[0] lies in the file.
    private long _bufferOffset;
    private SafeFileHandle? _file;

    public bool IsOpen => _file is not null;

    /// <summary>Whether nothing was skipped since the buffer was filled from the file's present content.</summary>
    public bool IsFresh { get; private set; }

    /// <summary>Index of the first unread byte in the buffer.</summary>
    public int Start { get; private set; }

    public ReadOnlySpan<byte> Unread => _buffer.AsSpan(Start.._filled);

    /// <summary>Where the first unread byte lies in the file.</summary>
    public long Position => _bufferOffset + Start;

    public long FileLength => RandomAccess.GetLength(_file!);

    public void Open(string path)
    {
        _bufferOffset = 0;
        Start = _filled = 0;
        _file = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, FileOptions.SequentialScan);
    }

    public void Close()
    {
        _file?.Dispose();
        _file = null;
        IsFresh = false;
    }

    /// <summary>Bytes of the buffer, read or not; valid until the buffer is filled again.</summary>
    public ReadOnlySpan<byte> Span(int from, int length) => _buffer.AsSpan(from, length);

    public void Skip(int bytes)
    {
        Start = Math.Min(Start + bytes, _filled);
        IsFresh = false;
    }

    public void Seek(long offset)
    {
        _bufferOffset = offset;
        Start = _filled = 0;
        Reload();
    }

    /// <summary>Reads the file again from the present position.</summary>
    public void Reload()
    {
        _bufferOffset += Start;
        Start = 0;
        _filled = RandomAccess.Read(_file!, _buffer, _bufferOffset);
        IsFresh = true;
    }

    /// <summary>Reads more, so that at least so many bytes are at hand. False when the file has no more.</summary>
    public bool TryFill(int needed)
    {
        _bufferOffset += Start;
        var kept = _filled - Start;
        if (_buffer.Length < needed)
        {
            var larger = ArrayPool<byte>.Shared.Rent(needed);
            _buffer.AsSpan(Start, kept).CopyTo(larger);
            ArrayPool<byte>.Shared.Return(_buffer);
            _buffer = larger;
        }
        else
        {
            _buffer.AsSpan(Start, kept).CopyTo(_buffer);
        }

        Start = 0;
        _filled = kept;
        var read = RandomAccess.Read(_file!, _buffer.AsSpan(kept), _bufferOffset + kept);
        _filled += read;
        return read > 0 && _filled >= Math.Min(needed, _buffer.Length);
    }

    /// <summary>Reads at an offset past the buffer, without moving it.</summary>
    public int ReadAt(long offset, Span<byte> into) => RandomAccess.Read(_file!, into, offset);

    public void Dispose()
    {
        Close();
        ArrayPool<byte>.Shared.Return(_buffer);
        _buffer = [];
        Start = _filled = 0;
    }
}
