namespace SafetyFilter.Training.Learning;

/// <summary>
/// Calibration p = sigmoid(a * score + b), fitted by Newton's method on the regularised targets of J. Platt, Probabilistic
/// Outputs for Support Vector Machines (1999), with the numerics of Lin, Lin and Weng (2007).
/// </summary>
internal readonly record struct Platt(double A, double B)
{
    public double Apply(double score) => Metrics.Sigmoid((A * score) + B);

    public static Platt Fit(ReadOnlySpan<float> scores, ReadOnlySpan<bool> positive, ReadOnlySpan<float> weights)
    {
        double positives = 0, negatives = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            positives += positive[i] ? weights[i] : 0;
            negatives += positive[i] ? 0 : weights[i];
        }

        double high = (positives + 1) / (positives + 2), low = 1 / (negatives + 2);
        double a = 1, b = Math.Log((positives + 1) / (negatives + 1));
        double loss = Loss(scores, positive, weights, high, low, a, b);
        for (int iteration = 0; iteration < 100; iteration++)
        {
            double gradientA = 0, gradientB = 0, aa = 1e-10, bb = 1e-10, ab = 0;
            for (int i = 0; i < scores.Length; i++)
            {
                double p = Metrics.Sigmoid((a * scores[i]) + b);
                double error = weights[i] * (p - (positive[i] ? high : low)), curvature = weights[i] * p * (1 - p);
                gradientA += error * scores[i];
                gradientB += error;
                aa += curvature * scores[i] * scores[i];
                ab += curvature * scores[i];
                bb += curvature;
            }

            if (Math.Abs(gradientA) + Math.Abs(gradientB) < 1e-9 * (positives + negatives))
            {
                break;
            }

            double determinant = (aa * bb) - (ab * ab);
            double stepA = ((bb * gradientA) - (ab * gradientB)) / determinant, stepB = ((aa * gradientB) - (ab * gradientA)) / determinant;
            double rate = 1, next;
            while ((next = Loss(scores, positive, weights, high, low, a - (rate * stepA), b - (rate * stepB))) > loss && rate > 1e-6)
            {
                rate /= 2;
            }

            a -= rate * stepA;
            b -= rate * stepB;
            loss = next;
        }

        return new Platt(a, b);
    }

    private static double Loss(ReadOnlySpan<float> scores, ReadOnlySpan<bool> positive, ReadOnlySpan<float> weights, double high, double low, double a, double b)
    {
        double loss = 0;
        for (int i = 0; i < scores.Length; i++)
        {
            double x = (a * scores[i]) + b, target = positive[i] ? high : low;
            loss += weights[i] * (Math.Max(x, 0) - (x * target) + Math.Log(1 + Math.Exp(-Math.Abs(x))));
        }

        return loss;
    }
}
