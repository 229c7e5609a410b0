using System.Numerics.Tensors;

namespace SafetyFilter.Training.Learning;

/// <summary>Weights [Width, Inputs] row-major and a bias per row.</summary>
internal sealed record Layer(float[] Weights, float[] Bias, int Inputs, int Width);

/// <summary>A fully connected ReLU network with one output (a margin), learned by Adam (Kingma and Ba 2015) in small batches.</summary>
internal sealed class Mlp
{
    private readonly float[][] _values;
    private readonly float[][] _slopes;
    private readonly Adam[] _adams;

    public Mlp(int seed, params int[] sizes)
    {
        var random = new Random(seed);
        Layers = new Layer[sizes.Length - 1];
        _values = [.. sizes.Select(size => new float[size])];
        _slopes = [.. sizes.Select(size => new float[size])];
        for (int i = 0; i < Layers.Length; i++)
        {
            float spread = MathF.Sqrt(6f / sizes[i]);
            var weights = new float[sizes[i] * sizes[i + 1]];
            foreach (ref float weight in weights.AsSpan())
            {
                weight = (random.NextSingle() - 0.5f) * 2 * spread;
            }

            Layers[i] = new Layer(weights, new float[sizes[i + 1]], sizes[i], sizes[i + 1]);
        }

        _adams = [.. Layers.SelectMany(layer => new[] { new Adam(layer.Weights), new Adam(layer.Bias) })];
    }

    public Layer[] Layers { get; }

    public float Margin(ReadOnlySpan<float> input)
    {
        input.CopyTo(_values[0]);
        for (int i = 0; i < Layers.Length; i++)
        {
            var (weights, bias, inputs, width) = Layers[i];
            for (int row = 0; row < width; row++)
            {
                float value = bias[row] + TensorPrimitives.Dot(weights.AsSpan(row * inputs, inputs), _values[i]);
                _values[i + 1][row] = i == Layers.Length - 1 ? value : Math.Max(value, 0);
            }
        }

        return _values[^1][0];
    }

    /// <summary>One pass over the given rows of <paramref name="inputs"/> in a seeded order.</summary>
    public void TrainEpoch(ReadOnlySpan<float> inputs, int[] rows, float[] labels, float[] weights, float rate, float decay, int batch, Random random)
    {
        int width = Layers[0].Inputs;
        random.Shuffle(rows);
        int inBatch = 0;
        for (int i = 0; i < rows.Length; i++)
        {
            int row = rows[i];
            float margin = Margin(inputs.Slice(row * width, width));
            Backward(weights[row] * ((float)Metrics.Sigmoid(margin) - labels[row]));
            if (++inBatch == batch || i == rows.Length - 1)
            {
                foreach (var adam in _adams)
                {
                    adam.Step(rate, decay, inBatch);
                }

                inBatch = 0;
            }
        }
    }

    private void Backward(float slope)
    {
        _slopes[^1][0] = slope;
        for (int i = Layers.Length - 1; i >= 0; i--)
        {
            var (weights, _, inputs, width) = Layers[i];
            var below = _slopes[i].AsSpan();
            below.Clear();
            for (int row = 0; row < width; row++)
            {
                float s = _slopes[i + 1][row];
                if (s == 0 || (i < Layers.Length - 1 && _values[i + 1][row] <= 0))
                {
                    continue;
                }

                _adams[(2 * i) + 1].Gradient[row] += s;
                var gradient = _adams[2 * i].Gradient.AsSpan(row * inputs, inputs);
                TensorPrimitives.MultiplyAdd(_values[i], s, gradient, gradient);
                if (i > 0)
                {
                    TensorPrimitives.MultiplyAdd(weights.AsSpan(row * inputs, inputs), s, below, below);
                }
            }
        }
    }

    private sealed class Adam(float[] values)
    {
        private readonly float[] _mean = new float[values.Length];
        private readonly float[] _square = new float[values.Length];
        private int _step;

        public float[] Gradient { get; } = new float[values.Length];

        public void Step(float rate, float decay, int batch)
        {
            _step++;
            float meanFix = 1 / (1 - MathF.Pow(0.9f, _step)), squareFix = 1 / (1 - MathF.Pow(0.999f, _step));
            for (int i = 0; i < values.Length; i++)
            {
                float gradient = Gradient[i] / batch;
                _mean[i] += 0.1f * (gradient - _mean[i]);
                _square[i] += 0.001f * ((gradient * gradient) - _square[i]);
                values[i] -= rate * ((_mean[i] * meanFix / (MathF.Sqrt(_square[i] * squareFix) + 1e-8f)) + (decay * values[i]));
                Gradient[i] = 0;
            }
        }
    }
}
