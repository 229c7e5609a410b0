using Microsoft.ML.OnnxRuntime;
using SafetyFilter.Training.Learning;
using SafetyFilter.Training.Onnx;

namespace SafetyFilter.Training.Bundles;

/// <summary>Runs a written model, so that every figure and golden value is the file's own and not the trainer's.</summary>
internal static class OnnxRunner
{
    private const int BatchRows = 64;

    /// <summary>One score array per output column.</summary>
    public static float[][] Text(byte[] model, int columns, IReadOnlyList<int[]> features)
    {
        using var session = Open(model);
        var scores = Columns(columns, features.Count);
        for (int start = 0; start < features.Count; start += BatchRows)
        {
            int count = Math.Min(BatchRows, features.Count - start), longest = 1;
            for (int i = 0; i < count; i++)
            {
                longest = Math.Max(longest, features[start + i].Length);
            }

            var indices = new int[count * longest];
            var scale = new float[count];
            for (int i = 0; i < count; i++)
            {
                features[start + i].CopyTo(indices, i * longest);
                scale[i] = LinearHead.Scale(features[start + i].Length);
            }

            using var indexValue = OrtValue.CreateTensorValueFromMemory(indices, [count, longest]);
            using var scaleValue = OrtValue.CreateTensorValueFromMemory(scale, [count, 1]);
            Run(session, [Graphs.Indices, Graphs.Scale], [indexValue, scaleValue], scores, start, count);
        }

        return scores;
    }

    /// <summary>One score array per output column.</summary>
    public static float[][] Embeddings(byte[] model, int columns, float[] embeddings, int width)
    {
        using var session = Open(model);
        int rows = embeddings.Length / width;
        var scores = Columns(columns, rows);
        for (int start = 0; start < rows; start += BatchRows)
        {
            int count = Math.Min(BatchRows, rows - start);
            using var input = OrtValue.CreateTensorValueFromMemory(embeddings[(start * width)..((start + count) * width)], [count, width]);
            Run(session, [Graphs.Embedding], [input], scores, start, count);
        }

        return scores;
    }

    private static void Run(InferenceSession session, string[] names, OrtValue[] inputs, float[][] scores, int start, int count)
    {
        using var run = new RunOptions();
        using var outputs = session.Run(run, names, inputs, [Graphs.Scores]);
        var values = outputs[0].GetTensorDataAsSpan<float>();
        for (int i = 0; i < count; i++)
        {
            for (int column = 0; column < scores.Length; column++)
            {
                scores[column][start + i] = values[(i * scores.Length) + column];
            }
        }
    }

    private static InferenceSession Open(byte[] model)
    {
        using var settings = new SessionOptions { IntraOpNumThreads = 1, InterOpNumThreads = 1 };
        return new InferenceSession(model, settings);
    }

    private static float[][] Columns(int columns, int rows) => [.. Enumerable.Range(0, columns).Select(_ => new float[rows])];
}
