using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace SafetyFilter.Ledger;

/// <summary>The bytes of a segment file; the room's README has the tables. Everything is little-endian unless said.</summary>
internal static class SegmentFormat
{
    public const int FileHeaderLength = 64;
    public const int FrameHeaderLength = 24;
    public const uint Version = 1;

    /// <summary>Field 3 (<c>sequence</c>, fixed64) of every record, which the spool appends: tag and 8 bytes.</summary>
    public const int TrailerLength = 9;

    public const byte TrailerTag = 0x19;
    public const int MaxPayload = 16 << 20;

    /// <summary>What a record takes at least.</summary>
    public const int SmallestFrame = 40;

    private const ulong Magic = 0x5245_4744_454C_4653; // "SFLEDGER"
    private const int FileCrcOffset = FileHeaderLength - sizeof(uint);

    public static int FrameLength(int payloadLength) => (FrameHeaderLength + payloadLength + 7) & ~7;

    public static void WriteFileHeader(Span<byte> header, in SegmentHeader values)
    {
        header[..FileHeaderLength].Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(header, Magic);
        BinaryPrimitives.WriteUInt32LittleEndian(header[8..], Version);
        BinaryPrimitives.WriteUInt32LittleEndian(header[12..], FileHeaderLength);
        values.StreamId.TryWriteBytes(header[16..], bigEndian: true, out _);
        BinaryPrimitives.WriteUInt32LittleEndian(header[32..], values.Epoch);
        BinaryPrimitives.WriteUInt64LittleEndian(header[40..], values.FirstSequence);
        BinaryPrimitives.WriteUInt64LittleEndian(header[48..], values.CreatedUnixNanos);
        BinaryPrimitives.WriteUInt32LittleEndian(header[FileCrcOffset..], Crc(header[..FileCrcOffset]));
    }

    public static bool TryReadFileHeader(ReadOnlySpan<byte> header, out SegmentHeader values)
    {
        if (header.Length < FileHeaderLength
            || BinaryPrimitives.ReadUInt64LittleEndian(header) != Magic
            || BinaryPrimitives.ReadUInt32LittleEndian(header[8..]) != Version
            || BinaryPrimitives.ReadUInt32LittleEndian(header[FileCrcOffset..]) != Crc(header[..FileCrcOffset]))
        {
            values = default;
            return false;
        }

        values = new SegmentHeader(
            new Guid(header.Slice(16, 16), bigEndian: true),
            BinaryPrimitives.ReadUInt32LittleEndian(header[32..]),
            BinaryPrimitives.ReadUInt64LittleEndian(header[40..]),
            BinaryPrimitives.ReadUInt64LittleEndian(header[48..]));
        return true;
    }

    /// <summary>
    /// Stores one frame. A kill at any instruction leaves either the whole frame or a zero length, because the length is stored
    /// last; so the first 4 bytes must be zero before, where readers look.
    /// </summary>
    public static unsafe void WriteFrame(byte* at, ref FrameHeader frame, uint bodyCrc, ReadOnlySpan<byte> body)
    {
        var payload = at + FrameHeaderLength;
        body.CopyTo(new Span<byte>(payload, body.Length));
        var trailer = payload + body.Length;
        trailer[0] = TrailerTag;
        MemoryMarshal.Write(new Span<byte>(trailer + 1, sizeof(ulong)), frame.Sequence);

        frame.Crc = Finish(Crc32C(bodyCrc, new ReadOnlySpan<byte>(trailer, TrailerLength)), frame);
        var length = frame.Length;
        frame.Length = 0;
        *(FrameHeader*)at = frame;
        frame.Length = length;
        Volatile.Write(ref *(uint*)at, length);
    }

    /// <summary>Reads and checks the frame that starts the span. Says nothing about what lies after it.</summary>
    public static FrameState TryReadFrame(ReadOnlySpan<byte> bytes, out FrameHeader frame)
    {
        frame = default;
        if (bytes.Length < FrameHeaderLength)
        {
            return bytes.Length < sizeof(uint) || MemoryMarshal.Read<uint>(bytes) == 0 ? FrameState.End : FrameState.Incomplete;
        }

        frame = MemoryMarshal.Read<FrameHeader>(bytes);
        if (frame.Length == 0)
        {
            return FrameState.End;
        }

        if (frame.Length is < TrailerLength or > MaxPayload || frame.Epoch == 0 || frame.TypeAndReserved is 0 or > byte.MaxValue
            || frame.Sequence is 0 or > ulong.MaxValue >> 8)
        {
            return FrameState.Damaged;
        }

        if (bytes.Length < FrameHeaderLength + (int)frame.Length)
        {
            return FrameState.Incomplete;
        }

        var crc = Crc32C(uint.MaxValue, bytes.Slice(FrameHeaderLength, (int)frame.Length));
        return Finish(crc, frame) == frame.Crc ? FrameState.Valid : FrameState.Damaged;
    }

    /// <summary>Closes a running CRC over the payload with the header's fields: length first, then everything after the CRC.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Finish(uint crc, in FrameHeader frame)
    {
        crc = BitOperations.Crc32C(crc, frame.Length);
        crc = BitOperations.Crc32C(crc, frame.Epoch);
        crc = BitOperations.Crc32C(crc, frame.TypeAndReserved);
        return ~BitOperations.Crc32C(crc, frame.Sequence);
    }

    /// <summary>Continues a running CRC32C (Castagnoli); start with all ones, invert at the end.</summary>
    public static uint Crc32C(uint crc, ReadOnlySpan<byte> bytes)
    {
        var words = MemoryMarshal.Cast<byte, ulong>(bytes);
        foreach (var word in words)
        {
            crc = BitOperations.Crc32C(crc, word);
        }

        foreach (var one in bytes[(words.Length * sizeof(ulong))..])
        {
            crc = BitOperations.Crc32C(crc, one);
        }

        return crc;
    }

    private static uint Crc(ReadOnlySpan<byte> bytes) => ~Crc32C(uint.MaxValue, bytes);
}

internal readonly record struct SegmentHeader(Guid StreamId, uint Epoch, ulong FirstSequence, ulong CreatedUnixNanos);

/// <summary>A frame's first 24 bytes as they lie in the file. Its last byte is always 0: sequences stay below 2^56.</summary>
[StructLayout(LayoutKind.Sequential, Pack = 4)]
internal struct FrameHeader
{
    /// <summary>Of the payload, in bytes. 0 marks the end of what was written.</summary>
    public uint Length;

    public uint Crc;
    public uint Epoch;

    /// <summary>The record type; the three bytes above it are reserved and 0.</summary>
    public uint TypeAndReserved;

    public ulong Sequence;
}

internal enum FrameState
{
    Valid,

    /// <summary>A zero length: nothing was written here (yet).</summary>
    End,

    /// <summary>The span ends before the frame does.</summary>
    Incomplete,

    Damaged,
}
