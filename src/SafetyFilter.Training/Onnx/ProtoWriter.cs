using System.Runtime.InteropServices;
using System.Text;

namespace SafetyFilter.Training.Onnx;

/// <summary>Protocol Buffers' wire format, as far as an ONNX model needs it.</summary>
internal sealed class ProtoWriter
{
    private readonly MemoryStream _stream = new();

    public byte[] ToArray() => _stream.ToArray();

    public ProtoWriter Int(int field, long value)
    {
        Varint((ulong)field << 3);
        Varint((ulong)value);
        return this;
    }

    public ProtoWriter Bytes(int field, ReadOnlySpan<byte> value)
    {
        Varint(((ulong)field << 3) | 2);
        Varint((ulong)value.Length);
        _stream.Write(value);
        return this;
    }

    public ProtoWriter Text(int field, string value) => Bytes(field, Encoding.UTF8.GetBytes(value));

    public ProtoWriter Message(int field, ProtoWriter value) => Bytes(field, value._stream.GetBuffer().AsSpan(0, (int)value._stream.Length));

    /// <summary>Numbers as their raw little-endian bytes.</summary>
    public ProtoWriter Raw<T>(int field, ReadOnlySpan<T> values)
        where T : unmanaged => BitConverter.IsLittleEndian
            ? Bytes(field, MemoryMarshal.AsBytes(values))
            : throw new PlatformNotSupportedException("ONNX raw data is little-endian; train on a little-endian machine.");

    private void Varint(ulong value)
    {
        while (value >= 0x80)
        {
            _stream.WriteByte((byte)(value | 0x80));
            value >>= 7;
        }

        _stream.WriteByte((byte)value);
    }
}
