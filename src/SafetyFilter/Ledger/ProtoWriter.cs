using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace SafetyFilter.Ledger;

/// <summary>
/// Writes the Protocol Buffers wire format into one reusable buffer, canonically: fields in the order of the calls,
/// shortest varints, default values left out by the caller's choice of call.
/// </summary>
/// <remarks>
/// The generated classes would need a message object per record with a string per candidate; this writes columns of
/// UTF-8 as they came. A property test holds it equal to what the generated parser reads.
/// </remarks>
internal sealed class ProtoWriter
{
    private const int Varint = 0;
    private const int Fixed64 = 1;
    private const int Delimited = 2;
    private const int Fixed32 = 5;

    private byte[] _buffer = new byte[4096];

    public int Length { get; private set; }

    public ReadOnlySpan<byte> Written => _buffer.AsSpan(0, Length);

    public void Clear() => Length = 0;

    /// <summary>Bytes that a varint takes.</summary>
    public static int SizeOf(uint value) => (BitOperations.Log2(value | 1) * 9 + 73) >> 6;

    public void UInt32(int field, uint value)
    {
        if (value != 0)
        {
            Reserve(15);
            Tag(field, Varint);
            Raw(value);
        }
    }

    public void UInt64(int field, ulong value)
    {
        if (value != 0)
        {
            Reserve(20);
            Tag(field, Varint);
            Raw(value);
        }
    }

    public void Bool(int field, bool value) => UInt32(field, value ? 1u : 0u);

    public void FixedUInt32(int field, uint value)
    {
        if (value != 0)
        {
            Reserve(9);
            Tag(field, Fixed32);
            BinaryPrimitives.WriteUInt32LittleEndian(_buffer.AsSpan(Length), value);
            Length += 4;
        }
    }

    public void FixedUInt64(int field, ulong value)
    {
        if (value != 0)
        {
            Reserve(13);
            Tag(field, Fixed64);
            BinaryPrimitives.WriteUInt64LittleEndian(_buffer.AsSpan(Length), value);
            Length += 8;
        }
    }

    public void Float(int field, float value)
    {
        if (BitConverter.SingleToUInt32Bits(value) != 0)
        {
            Reserve(9);
            Tag(field, Fixed32);
            BinaryPrimitives.WriteSingleLittleEndian(_buffer.AsSpan(Length), value);
            Length += 4;
        }
    }

    /// <summary>A string or bytes field; nothing when empty.</summary>
    public void Bytes(int field, ReadOnlySpan<byte> value)
    {
        if (!value.IsEmpty)
        {
            Element(field, value);
        }
    }

    /// <summary>An element of a repeated string or bytes field: written even when empty.</summary>
    public void Element(int field, ReadOnlySpan<byte> value)
    {
        Reserve(10 + value.Length);
        Tag(field, Delimited);
        Raw((uint)value.Length);
        value.CopyTo(_buffer.AsSpan(Length));
        Length += value.Length;
    }

    /// <summary>A length-delimited field of a known size, whose content the caller fills. Valid until the next call.</summary>
    public Span<byte> Delimit(int field, int size)
    {
        Reserve(10 + size);
        Tag(field, Delimited);
        Raw((uint)size);
        var content = _buffer.AsSpan(Length, size);
        Length += size;
        return content;
    }

    public void PackedFloats(int field, ReadOnlySpan<float> values)
    {
        if (!values.IsEmpty)
        {
            // The wire is little-endian, and so is every machine this runs on.
            MemoryMarshal.AsBytes(values).CopyTo(Delimit(field, values.Length * sizeof(float)));
        }
    }

    public void PackedDoubles(int field, ReadOnlySpan<double> values)
    {
        if (!values.IsEmpty)
        {
            MemoryMarshal.AsBytes(values).CopyTo(Delimit(field, values.Length * sizeof(double)));
        }
    }

    /// <summary>A packed column of values below 128, such as enums.</summary>
    public void PackedBytes(int field, ReadOnlySpan<byte> values)
    {
        if (!values.IsEmpty)
        {
            values.CopyTo(Delimit(field, values.Length));
        }
    }

    /// <summary>A bytes field with a bit per element: element i is bit i % 8, from the lowest, of byte i / 8.</summary>
    public void PackedBits(int field, ReadOnlySpan<ulong> bits, int count)
    {
        // A word's lowest byte comes first, as in PackedFloats.
        var bytes = (count + 7) / 8;
        MemoryMarshal.AsBytes(bits)[..bytes].CopyTo(Delimit(field, bytes));
    }

    /// <summary>Starts a nested message; hand the mark to <see cref="End"/>.</summary>
    public int Begin(int field)
    {
        Reserve(11);
        Tag(field, Delimited);
        Length++;
        return Length;
    }

    /// <summary>Ends a nested message by writing its length before it, moving it when that takes more than a byte.</summary>
    public void End(int mark)
    {
        var size = Length - mark;
        var extra = SizeOf((uint)size) - 1;
        if (extra > 0)
        {
            Reserve(extra);
            _buffer.AsSpan(mark, size).CopyTo(_buffer.AsSpan(mark + extra));
        }

        Length = mark - 1;
        Raw((uint)size);
        Length += size;
    }

    /// <summary>One varint without a tag: an element inside a packed field that the caller delimits with <see cref="Begin"/>.</summary>
    public void PackedElement(uint value)
    {
        Reserve(5);
        Raw(value);
    }

    private void Tag(int field, int wireType) => Raw((uint)(field << 3 | wireType));

    private void Raw(ulong value)
    {
        while (value >= 0x80)
        {
            _buffer[Length++] = (byte)(value | 0x80);
            value >>= 7;
        }

        _buffer[Length++] = (byte)value;
    }

    private void Reserve(int bytes)
    {
        if (_buffer.Length - Length < bytes)
        {
            Array.Resize(ref _buffer, Math.Max(_buffer.Length * 2, Length + bytes));
        }
    }
}
