using System.Numerics.Tensors;
using SafetyFilter.Training.Data;

namespace SafetyFilter.Training.Learning;

/// <summary>
/// Learns an embedding per n-gram bucket (in the manner of fastText: Joulin et al. 2016) so that the sum of a text's rows,
/// brought to length 1, serves linear heads for all label families. The heads are thrown away; the embedding is
/// what stays.
/// </summary>
internal sealed class EncoderTrainer
{
    private readonly int _width;
    private readonly float[] _table;
    private readonly float[] _squares;
    private readonly float[] _heads;
    private readonly float[] _headSquares;
    private readonly float[] _biases;

    public EncoderTrainer(int buckets, int width, int heads, int seed)
    {
        _width = width;
        _table = new float[buckets * width];
        _squares = new float[buckets];
        _heads = new float[heads * width];
        _headSquares = new float[heads];
        _biases = new float[heads];
        var random = new Random(seed);
        foreach (ref float value in _table.AsSpan(width))
        {
            value = (random.NextSingle() - 0.5f) / width;
        }

        foreach (ref float value in _heads.AsSpan())
        {
            value = (random.NextSingle() - 0.5f) * 2;
        }
    }

    /// <summary>One pass over the given samples in a seeded order. weak: a factor per head on its weak negatives.</summary>
    public void TrainEpoch(int[] order, IReadOnlyList<Sample> samples, IReadOnlyList<int[]> features, float[] weak, float headRate, float rowRate, Random random)
    {
        var sum = new float[_width];
        var unit = new float[_width];
        var slope = new float[_width];
        random.Shuffle(order);
        foreach (int i in order)
        {
            var indices = features[i];
            float length = Sum(indices, sum);
            if (length == 0)
            {
                continue;
            }

            TensorPrimitives.Multiply(sum, 1 / length, unit);
            Array.Clear(slope);
            for (int head = 0; head < _biases.Length; head++)
            {
                float weight = samples[i].Weights[head] * (samples[i].Labelled[head] ? 1 : weak[head]);
                if (weight == 0)
                {
                    continue;
                }

                var row = _heads.AsSpan(head * _width, _width);
                float error = weight * ((float)Metrics.Sigmoid(TensorPrimitives.Dot<float>(row, unit) + _biases[head]) - samples[i].Labels[head]);
                TensorPrimitives.MultiplyAdd(row, error, slope, slope);
                _headSquares[head] += error * error;
                float step = headRate * error / (MathF.Sqrt(_headSquares[head]) + 1e-3f);
                TensorPrimitives.MultiplyAdd(unit, -step, row, row);
                _biases[head] -= step;
            }

            // Through the division by the length: only the part of the slope across the unit vector turns it.
            float along = TensorPrimitives.Dot<float>(slope, unit);
            TensorPrimitives.MultiplyAdd(unit, -along, slope, slope);
            TensorPrimitives.Multiply(slope, 1 / length, slope);
            float square = TensorPrimitives.SumOfSquares<float>(slope) / _width;
            foreach (int index in indices)
            {
                _squares[index] += square;
                var row = _table.AsSpan(index * _width, _width);
                TensorPrimitives.MultiplyAdd(slope, -rowRate / (MathF.Sqrt(_squares[index]) + 1e-6f), row, row);
            }
        }
    }

    /// <summary>The table as int8 with one factor per column; row 0, the padding, is zero.</summary>
    public (sbyte[] Table, float[] ColumnScale) Quantize()
    {
        var scale = new float[_width];
        for (int at = 0; at < _table.Length; at++)
        {
            scale[at % _width] = Math.Max(scale[at % _width], Math.Abs(_table[at]));
        }

        var table = new sbyte[_table.Length];
        for (int at = 0; at < _table.Length; at++)
        {
            float top = scale[at % _width];
            table[at] = (sbyte)MathF.Round(_table[at] / (top == 0 ? 1 : top) * 127);
        }

        TensorPrimitives.Divide(scale, 127, scale);
        return (table, scale);
    }

    private float Sum(int[] indices, float[] sum)
    {
        Array.Clear(sum);
        foreach (int index in indices)
        {
            TensorPrimitives.Add(sum, _table.AsSpan(index * _width, _width), sum);
        }

        return TensorPrimitives.Norm<float>(sum);
    }
}
