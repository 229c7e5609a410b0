using System.Buffers;
using System.Runtime.InteropServices;

namespace SafetyFilter.Ledger;

/// <summary>Tells what the bytes are at which reading a segment stopped, and where records go on.</summary>
/// <param name="window">Stands at the first byte that is no record.</param>
/// <param name="path">The segment.</param>
/// <param name="header">Its header; default when that is damaged.</param>
/// <param name="before">The last record before the bytes; 0 when nothing tells.</param>
internal readonly struct DamageScan(SegmentWindow window, string path, SegmentHeader header, ulong before)
{
    /// <summary>Looks at the rest of the file. Null when it is only zeros; otherwise what is there.</summary>
    /// <param name="isLast">Whether this is the newest segment.</param>
    /// <param name="goOn">Where the next record starts; -1 when there is none.</param>
    public SpoolDamage? Find(bool isLast, out long goOn)
    {
        goOn = -1;
        var from = window.Position;
        var length = window.FileLength;
        var start = FindNonZero(from, length);
        if (start == length)
        {
            return null;
        }

        // Rare, and bounded by the size of a segment: take the rest into memory.
        var rest = new byte[length - from];
        var read = window.ReadAt(from, rest);
        var bytes = rest.AsSpan(0, read);
        var next = FindFrame(bytes);
        goOn = next >= 0 ? from + next : -1;

        // The length is stored last: where there is one, the record was whole once, and somebody may hold its receipt.
        var acknowledged = bytes[..Math.Min(sizeof(uint), bytes.Length)].ContainsAnyExcept((byte)0);
        var kind = next >= 0 ? DamageKind.Frame
            : !isLast ? DamageKind.SegmentEnd
            : acknowledged ? DamageKind.Frame : DamageKind.TornTail;
        var end = next >= 0 ? next : bytes.LastIndexOfAnyExcept((byte)0) + 1;
        return new SpoolDamage(kind, path, from, end, before);
    }

    private long FindNonZero(long offset, long length)
    {
        var chunk = ArrayPool<byte>.Shared.Rent(1 << 20);
        try
        {
            int read;
            while (offset < length && (read = window.ReadAt(offset, chunk)) > 0)
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
            || frame.Sequence <= before
            || (before != 0 && frame.Sequence > before + 1 + (ulong)(offset / SegmentFormat.SmallestFrame)))
        {
            return false;
        }

        // A segment is of one epoch, which its header tells and spool.json bounds; but the header may be what is damaged.
        var record = bytes.Slice(offset + SegmentFormat.FrameHeaderLength, (int)frame.Length);
        return RecordFields.TryRead(record, out var fields)
            && fields.Sequence == frame.Sequence
            && RecordFields.Trailer(record) == frame.Sequence
            && fields.Epoch == frame.Epoch
            && (header.Epoch == 0 || (header.Epoch == frame.Epoch && header.StreamId == fields.StreamId))
            && IsOfFolder(fields.StreamId);
    }

    private bool IsOfFolder(Guid stream) =>
        !Guid.TryParseExact(Path.GetFileName(Path.GetDirectoryName(path)), "N", out var named) || named == stream;
}
