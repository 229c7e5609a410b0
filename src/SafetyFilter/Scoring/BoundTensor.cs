using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;

namespace SafetyFilter.Scoring;

/// <summary>A graph input or output: a native buffer on a cache line's boundary that only grows, and the OrtValue bound over it.</summary>
internal sealed unsafe class BoundTensor(string name, TensorElementType type, int rank, bool isOutput = false) : IDisposable
{
    private const int ElementBytes = 4; // Float and Int32 are all that bundles use.
    private readonly long[] _shape = new long[rank];
    private void* _buffer;
    private nuint _capacity;
    private nuint _length;
    private OrtValue? _value;

    public Span<T> Data<T>()
        where T : unmanaged => new(_buffer, checked((int)_length));

    /// <summary>Gives it the shape [rows] or [rows, columns]. Contents are undefined afterwards.</summary>
    public void Shape(OrtIoBinding binding, int rows, int columns)
    {
        if (_value is null || _shape[0] != rows || (rank > 1 && _shape[1] != columns))
        {
            _shape[0] = rows;
            if (rank > 1)
            {
                _shape[1] = columns;
            }

            Bind(binding, (nuint)rows * (nuint)columns);
        }
    }

    /// <summary>Gives it the shape [rows, ...rowShape]. Contents are undefined afterwards.</summary>
    public void Shape(OrtIoBinding binding, int rows, ReadOnlySpan<long> rowShape, int rowLength)
    {
        if (_value is null || _shape[0] != rows)
        {
            _shape[0] = rows;
            rowShape.CopyTo(_shape.AsSpan(1));
            Bind(binding, (nuint)rows * (nuint)rowLength);
        }
    }

    public void Dispose()
    {
        _value?.Dispose();
        _value = null;
        NativeMemory.AlignedFree(_buffer);
        _buffer = null;
    }

    private void Bind(OrtIoBinding binding, nuint length)
    {
        _value?.Dispose();
        _value = null;
        var bytes = checked(length * ElementBytes);
        if (bytes > _capacity)
        {
            NativeMemory.AlignedFree(_buffer);
            _buffer = null;
            _capacity = 0;
            _buffer = NativeMemory.AlignedAlloc(bytes, 64);
            _capacity = bytes;
        }

        _length = length;
        _value = OrtValue.CreateTensorValueWithData(OrtMemoryInfo.DefaultInstance, type, _shape, (nint)_buffer, (long)bytes);
        if (isOutput)
        {
            binding.BindOutput(name, _value);
        }
        else
        {
            binding.BindInput(name, _value);
        }
    }
}
