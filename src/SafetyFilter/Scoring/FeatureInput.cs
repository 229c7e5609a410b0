using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Microsoft.ML.OnnxRuntime;
using Microsoft.ML.OnnxRuntime.Tensors;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.Scoring;

/// <summary>Turns one feature of a batch into graph inputs.</summary>
internal abstract class FeatureInput : IDisposable
{
    public static FeatureInput Create(FeatureSpec spec) => spec switch
    {
        TextFeatureSpec text => new TextInput(text),
        TensorFeatureSpec tensor => new TensorInput(tensor),
        _ => throw new ArgumentException($"Feature kind {spec.GetType().Name} has no input.", nameof(spec)),
    };

    /// <summary>Fills and binds the inputs of a batch that the feature's spec does not refuse. Fails single rows in <paramref name="rows"/>.</summary>
    public abstract void Fill(CandidateBatch batch, RowStates rows, OrtIoBinding binding);

    public abstract void Dispose();

    private protected static void FailMissing(List<int> missing, RowStates rows)
    {
        foreach (var candidate in CollectionsMarshal.AsSpan(missing))
        {
            if (rows.RowOf(candidate) is >= 0 and var row)
            {
                rows.Fail(row, FailureKind.MissingFeature);
            }
        }
    }
}

/// <summary>Hashed n-grams: indices [N, L], padded with bucket 0, and one over the root of their number [N, 1].</summary>
internal sealed class TextInput(TextFeatureSpec spec) : FeatureInput
{
    private readonly TextFeaturizer _featurizer = new(spec.Options);
    private readonly BoundTensor _indices = new(spec.IndicesInput, TensorElementType.Int32, rank: 2);
    private readonly BoundTensor _scale = new(spec.ScaleInput, TensorElementType.Float, rank: 2);

    // Rows one after the other, before the longest is known.
    private int[] _ragged = [];
    private int[] _lengths = [];

    public override void Fill(CandidateBatch batch, RowStates rows, OrtIoBinding binding)
    {
        var column = batch.FindText(spec.Utf8Feature)!;
        FailMissing(column.Missing, rows);
        var longest = Featurize(batch, column.Values.Slices, rows);
        _indices.Shape(binding, rows.Count, longest);
        _scale.Shape(binding, rows.Count, 1);
        var indices = _indices.Data<int>();
        var scale = _scale.Data<float>();
        var from = 0;
        for (var row = 0; row < rows.Count; row++)
        {
            var length = _lengths[row];
            var padded = indices.Slice(row * longest, longest);
            _ragged.AsSpan(from, length).CopyTo(padded);
            padded[length..].Clear();
            scale[row] = length == 0 ? 0 : 1 / MathF.Sqrt(length);
            from += length;
        }
    }

    public override void Dispose()
    {
        _indices.Dispose();
        _scale.Dispose();
    }

    private int Featurize(CandidateBatch batch, ReadOnlySpan<ByteSlice> texts, RowStates rows)
    {
        if (_lengths.Length < rows.Count)
        {
            _lengths = new int[rows.Count];
        }

        var longest = 1;
        var used = 0;
        for (var row = 0; row < rows.Count; row++)
        {
            var length = 0;
            if (rows[row] == FailureKind.None)
            {
                if (_ragged.Length - used < spec.Options.MaxFeatures)
                {
                    Array.Resize(ref _ragged, Math.Max(_ragged.Length * 2, used + spec.Options.MaxFeatures));
                }

                length = _featurizer.Featurize(batch[texts[rows.CandidateOf(row)]], _ragged.AsSpan(used, spec.Options.MaxFeatures));
            }

            _lengths[row] = length;
            longest = Math.Max(longest, length);
            used += length;
        }

        return longest;
    }
}

/// <summary>Numbers as the caller sent them: float32 [N, ...shape].</summary>
internal sealed class TensorInput(TensorFeatureSpec spec) : FeatureInput
{
    private readonly long[] _rowShape = [.. spec.Shape];
    private readonly int _rowLength = spec.RowLength;
    private readonly BoundTensor _tensor = new(spec.Input, TensorElementType.Float, 1 + spec.Shape.Length);

    public override void Fill(CandidateBatch batch, RowStates rows, OrtIoBinding binding)
    {
        var column = batch.FindTensor(spec.Utf8Feature)!;
        FailMissing(column.Missing, rows);
        _tensor.Shape(binding, rows.Count, _rowShape, _rowLength);
        var numbers = _tensor.Data<float>();
        Copy(batch[column.Data], column.DataType, rows, numbers);
        foreach (var candidate in CollectionsMarshal.AsSpan(column.Missing))
        {
            if (rows.RowOf(candidate) is >= 0 and var row)
            {
                numbers.Slice(row * _rowLength, _rowLength).Clear();
            }
        }

        if (!InputNumbers.Admit(numbers, spec.Min, spec.Max))
        {
            FailRowsOutOfRange(numbers, rows);
        }
    }

    public override void Dispose() => _tensor.Dispose();

    private void Copy(ReadOnlySpan<byte> data, DataType type, RowStates rows, Span<float> numbers)
    {
        if (rows.AreAll)
        {
            Copy(data, type, numbers);
            return;
        }

        var length = _rowLength * (type == DataType.Float32 ? sizeof(float) : sizeof(ushort));
        for (var row = 0; row < rows.Count; row++)
        {
            Copy(data.Slice(rows.CandidateOf(row) * length, length), type, numbers.Slice(row * _rowLength, _rowLength));
        }
    }

    private static void Copy(ReadOnlySpan<byte> data, DataType type, Span<float> numbers)
    {
        if (type == DataType.Float32)
        {
            MemoryMarshal.Cast<byte, float>(data).CopyTo(numbers);
        }
        else
        {
            TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(data), numbers);
        }
    }

    private void FailRowsOutOfRange(Span<float> numbers, RowStates rows)
    {
        for (var row = 0; numbers.Length > 0; row++, numbers = numbers[_rowLength..])
        {
            var own = numbers[.._rowLength];
            if (!InputNumbers.Admit(own, spec.Min, spec.Max))
            {
                rows.Fail(row, FailureKind.FeatureMismatch);
                own.Clear();
            }
        }
    }
}
