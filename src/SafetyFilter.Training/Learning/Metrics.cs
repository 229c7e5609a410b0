namespace SafetyFilter.Training.Learning;

internal static class Metrics
{
    /// <summary>Area under the ROC curve; equal scores count half. NaN unless both classes are present.</summary>
    public static double Auc(ReadOnlySpan<float> scores, ReadOnlySpan<bool> positive)
    {
        var sorted = scores.ToArray();
        var labels = positive.ToArray();
        Array.Sort(sorted, labels);
        double rankSum = 0;
        long positives = 0;
        for (int i = 0; i < sorted.Length;)
        {
            int end = i;
            int positivesHere = 0;
            for (; end < sorted.Length && sorted[end] == sorted[i]; end++)
            {
                positivesHere += labels[end] ? 1 : 0;
            }

            rankSum += positivesHere * ((i + 1 + end) / 2.0);
            positives += positivesHere;
            i = end;
        }

        long negatives = sorted.Length - positives;
        return positives == 0 || negatives == 0 ? double.NaN : (rankSum - (positives * (positives + 1) / 2.0)) / ((double)positives * negatives);
    }

    public static double Sigmoid(double x) => x >= 0 ? 1 / (1 + Math.Exp(-x)) : Math.Exp(x) / (1 + Math.Exp(x));
}
