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
    // Below this length a sum says nothing yet; also what keeps the first steps, from an empty table, finite.
    private const float Shortest = 0.1f;

    // Half of the features are left out of each step (dropout): an n-gram must not lean on its neighbours.
    private const float Dropped = 0.5f;

    private readonly int[] _kept = new int[4096];
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
        foreach (ref float value in _heads.AsSpan())
        {
            value = (random.NextSingle() - 0.5f) * 2;
        }
    }

    /// <summary>One pass over the given samples in a seeded order.</summary>
    public void TrainEpoch(int[] order, IReadOnlyList<Sample> samples, IReadOnlyList<int[]> features, float headRate, float rowRate, Random random)
    {
        var sum = new float[_width];
        var unit = new float[_width];
        var slope = new float[_width];
        random.Shuffle(order);
        foreach (int i in order)
        {
            var indices = Kept(features[i], random);
            float length = Math.Max(Sum(indices, sum), Shortest);
            if (indices.Length == 0)
            {
                continue;
            }

            TensorPrimitives.Multiply(sum, 1 / length, unit);
            Array.Clear(slope);
            for (int head = 0; head < _biases.Length; head++)
            {
                float weight = samples[i].Weights[head];
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

    private ReadOnlySpan<int> Kept(int[] features, Random random)
    {
        int count = 0;
        foreach (int index in features)
        {
            if (random.NextSingle() >= Dropped)
            {
                _kept[count++] = index;
            }
        }

        return _kept.AsSpan(0, count);
    }

    private float Sum(ReadOnlySpan<int> indices, float[] sum)
    {
        Array.Clear(sum);
        foreach (int index in indices)
        {
            TensorPrimitives.Add(sum, _table.AsSpan(index * _width, _width), sum);
        }

        return TensorPrimitives.Norm<float>(sum);
    }
}
