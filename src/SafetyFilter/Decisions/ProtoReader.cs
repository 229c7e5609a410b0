using System.Buffers.Binary;

namespace SafetyFilter.Decisions;

/// <summary>
/// Reads the Protocol Buffers wire format from one buffer without copying: strings and bytes come out as slices of
/// it. Every read says whether it succeeded; nothing throws on bad bytes.
/// </summary>
internal ref struct ProtoReader(ReadOnlySpan<byte> buffer, int start, int end)
{
    public const int Varint = 0;
    public const int Fixed64 = 1;
    public const int Delimited = 2;
    public const int Fixed32 = 5;

    private const int DeepestGroup = 32;

    private readonly ReadOnlySpan<byte> _buffer = buffer;
    private readonly int _end = end;

    public int Position { get; private set; } = start;

    public readonly bool AtEnd => Position >= _end;

    public readonly ProtoReader Nested(ByteSlice slice) => new(_buffer, slice.Start, slice.Start + slice.Length);

    public bool TryReadTag(out int field, out int wireType)
    {
        if (TryReadVarint(out var tag) && tag <= uint.MaxValue && tag >> 3 != 0)
        {
            field = (int)(tag >> 3);
            wireType = (int)(tag & 7);
            return true;
        }

        field = wireType = 0;
        return false;
    }

    public bool TryReadVarint(out ulong value)
    {
        value = 0;
        for (var shift = 0; shift < 70; shift += 7)
        {
            if (Position >= _end)
            {
                return false;
            }

            var next = _buffer[Position++];
            value |= (ulong)(next & 0x7F) << shift;
            if (next < 0x80)
            {
                return shift < 63 || next <= 1;
            }
        }

        return false;
    }

    public bool TryReadBool(out bool value)
    {
        var read = TryReadVarint(out var number);
        value = number != 0;
        return read;
    }

    public bool TryReadDelimited(out ByteSlice slice)
    {
        if (TryReadVarint(out var length) && length <= (ulong)(_end - Position))
        {
            slice = new ByteSlice(Position, (int)length);
            Position += (int)length;
            return true;
        }

        slice = default;
        return false;
    }

    public bool TryReadDouble(out double value)
    {
        if (_end - Position < sizeof(double))
        {
            value = 0;
            return false;
        }

        value = BinaryPrimitives.ReadDoubleLittleEndian(_buffer[Position..]);
        Position += sizeof(double);
        return true;
    }

    public bool TryReadFixed64(out ulong value)
    {
        if (_end - Position < sizeof(ulong))
        {
            value = 0;
            return false;
        }

        value = BinaryPrimitives.ReadUInt64LittleEndian(_buffer[Position..]);
        Position += sizeof(ulong);
        return true;
    }

    public bool TryReadFixed32(out uint value)
    {
        if (_end - Position < sizeof(uint))
        {
            value = 0;
            return false;
        }

        value = BinaryPrimitives.ReadUInt32LittleEndian(_buffer[Position..]);
        Position += sizeof(uint);
        return true;
    }

    /// <summary>Passes over a field that this version does not know.</summary>
    public bool TrySkip(int field, int wireType, int depth = 0)
    {
        switch (wireType)
        {
            case Varint:
                return TryReadVarint(out _);
            case Fixed64:
                return TryAdvance(8);
            case Delimited:
                return TryReadDelimited(out _);
            case Fixed32:
                return TryAdvance(4);
            case 3 when depth < DeepestGroup:
                return TrySkipGroup(field, depth);
            default:
                return false;
        }
    }

    private bool TrySkipGroup(int group, int depth)
    {
        while (TryReadTag(out var field, out var wireType))
        {
            if (wireType == 4)
            {
                return field == group;
            }

            if (!TrySkip(field, wireType, depth + 1))
            {
                return false;
            }
        }

        return false;
    }

    private bool TryAdvance(int bytes)
    {
        if (_end - Position < bytes)
        {
            return false;
        }

        Position += bytes;
        return true;
    }
}
