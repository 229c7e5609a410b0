using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Google.Protobuf;
using SafetyFilter.V1;

namespace SafetyFilter.Client;

/// <summary>One numeric feature's rows, in one growing buffer that the message points into.</summary>
internal sealed class TensorRows(string name)
{
    private FeatureTensor _message = new() { Name = name };
    private byte[] _data = [];
    private int _rows;
    private int _rowLength;
    private int _rowBytes;

    public string Name => name;

    public bool IsUsed => _rows > 0;

    public void Clear()
    {
        _rows = 0;
        _message.Missing.Clear();
    }

    public void Set<T>(int row, ReadOnlySpan<T> values, DataType type)
        where T : unmanaged
    {
        if (_rows == 0)
        {
            Begin(values, type);
        }
        else if (values.Length != _rowLength || type != _message.Dtype)
        {
            throw new ArgumentException(
                $"Tensor '{name}' has {values.Length} numbers of {type} in row {row}, and {_rowLength} of {_message.Dtype} before. Give all rows one shape.",
                nameof(values));
        }

        PadTo(row);
        Reserve(row + 1);
        CopyLittleEndian(values, _data.AsSpan(row * _rowBytes, _rowBytes));
        _rows = row + 1;
    }

    public FeatureTensor Seal(int count)
    {
        PadTo(count);
        _message.Shape.Clear();
        _message.Shape.Add(count);
        _message.Shape.Add(_rowLength);
        // Safe because the query is not touched until the message has been sent.
        _message.Data = UnsafeByteOperations.UnsafeWrap(_data.AsMemory(0, count * _rowBytes));
        return _message;
    }

    /// <summary>Leaves message and buffer to whoever still reads them, and goes on with copies.</summary>
    public void Detach()
    {
        _message = _message.Clone();
        _data = _data.AsSpan().ToArray();
    }

    private void Begin<T>(ReadOnlySpan<T> values, DataType type)
        where T : unmanaged
    {
        if (values.IsEmpty)
        {
            throw new ArgumentException($"Tensor '{name}' has no numbers. Leave it out where a candidate has none.", nameof(values));
        }

        _message.Dtype = type;
        _rowLength = values.Length;
        _rowBytes = values.Length * Unsafe.SizeOf<T>();
    }

    private void PadTo(int row)
    {
        Reserve(row);
        for (; _rows < row; _rows++)
        {
            _message.Missing.Add((uint)_rows);
            _data.AsSpan(_rows * _rowBytes, _rowBytes).Clear();
        }
    }

    private void Reserve(int rows)
    {
        var bytes = rows * _rowBytes;
        if (_data.Length < bytes)
        {
            Array.Resize(ref _data, Math.Max(bytes, _data.Length * 2));
        }
    }

    private static void CopyLittleEndian<T>(ReadOnlySpan<T> values, Span<byte> target)
        where T : unmanaged
    {
        MemoryMarshal.AsBytes(values).CopyTo(target);
        if (!BitConverter.IsLittleEndian)
        {
            for (var i = 0; i < target.Length; i += Unsafe.SizeOf<T>())
            {
                target.Slice(i, Unsafe.SizeOf<T>()).Reverse();
            }
        }
    }
}
