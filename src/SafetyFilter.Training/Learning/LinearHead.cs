using SafetyFilter.Training.Data;

namespace SafetyFilter.Training.Learning;

/// <summary>How a linear head learns.</summary>
/// <param name="Epochs">Passes over the training samples.</param>
/// <param name="Rate">AdaGrad's learning rate.</param>
/// <param name="Decay">L2 pull on the weights of the features in hand.</param>
/// <param name="Weak">Factor on the weights of weak negatives.</param>
internal sealed record LinearRecipe(int Epochs, float Rate, float Decay, float Weak);

/// <summary>
/// Logistic regression over hashed n-grams by AdaGrad (Duchi, Hazan and Singer 2011), one sample at a time in a seeded order.
/// The margin is bias + scale * sum of the features' weights, with scale 1/sqrt(count), so that long and short texts compare.
/// </summary>
internal sealed class LinearHead(int buckets)
{
    private readonly float[] _squares = new float[buckets];
    private float _biasSquare;

    /// <summary>One weight per bucket; that of bucket 0, the padding, stays 0.</summary>
    public float[] Weights { get; } = new float[buckets];

    public float Bias { get; private set; }

    public void Train(IReadOnlyList<Sample> samples, IReadOnlyList<int[]> features, int head, LinearRecipe recipe, int seed)
    {
        int[] order = [.. Enumerable.Range(0, samples.Count).Where(i => samples[i].Fold == Fold.Train && samples[i].Weights[head] > 0)];
        var random = new Random(seed);
        for (int epoch = 0; epoch < recipe.Epochs; epoch++)
        {
            random.Shuffle(order);
            foreach (int i in order)
            {
                var sample = samples[i];
                float weight = sample.Weights[head] * (sample.Labelled[head] ? 1 : recipe.Weak);
                Step(features[i], weight, sample.Labels[head], recipe);
            }
        }
    }

    public float Margin(ReadOnlySpan<int> features)
    {
        float sum = 0;
        foreach (int index in features)
        {
            sum += Weights[index];
        }

        return (sum * Scale(features.Length)) + Bias;
    }

    public static float Scale(int count) => count == 0 ? 0 : 1 / MathF.Sqrt(count);

    private void Step(int[] features, float weight, float label, LinearRecipe recipe)
    {
        float slope = weight * ((float)Metrics.Sigmoid(Margin(features)) - label);
        _biasSquare += slope * slope;
        Bias -= 0.1f * recipe.Rate * slope / (MathF.Sqrt(_biasSquare) + 1e-3f);
        slope *= Scale(features.Length);
        foreach (int index in features)
        {
            float gradient = slope + (recipe.Decay * Weights[index]);
            float square = _squares[index] += gradient * gradient;
            Weights[index] -= recipe.Rate * gradient / (MathF.Sqrt(square) + 1e-3f);
        }
    }
}
