using System.Text;
using Microsoft.ML.OnnxRuntime;

namespace SafetyFilter.Scoring.Text;

/// <summary>
/// The offline half of an embedding bundle: turns texts into content embeddings, float32 of length 1 (all zero for a text
/// with nothing in it). For demos and batch jobs; the sidecar is given embeddings and never calls it. Thread-safe.
/// </summary>
internal sealed class TextEncoder : IDisposable
{
    private const int BatchRows = 64;

    private readonly TextFeaturizer _featurizer;
    private readonly InferenceSession _session;

    /// <param name="modelPath">encoder.onnx; one input int32 [N, L] of bucket indices, one output float32 [N, Width].</param>
    /// <param name="options">The featurizer parameters of the manifest's "encoder" section.</param>
    /// <exception cref="InvalidDataException">The file is no model that a bundle may hold.</exception>
    public TextEncoder(string modelPath, TextFeaturizerOptions options)
    {
        // From bytes, like served models: a session made from a path would follow references to other files.
        var model = File.ReadAllBytes(modelPath);
        if (OnnxGuard.Inspect(model, []) is { Count: > 0 } problems)
        {
            throw new InvalidDataException($"'{modelPath}' is refused: {string.Join(" ", problems)}");
        }

        _featurizer = new TextFeaturizer(options);
        using var settings = SessionSettings.Create();
        _session = new InferenceSession(model, settings);
        Width = _session.OutputMetadata[_session.OutputNames[0]].Dimensions[^1];
    }

    /// <summary>Numbers per embedding.</summary>
    public int Width { get; }

    /// <summary>Row-major [texts, Width].</summary>
    public float[] Encode(IReadOnlyList<string> texts)
    {
        var result = new float[texts.Count * Width];
        var rows = new int[BatchRows][];
        var buffer = new int[_featurizer.Options.MaxFeatures];
        for (int start = 0; start < texts.Count; start += BatchRows)
        {
            int count = Math.Min(BatchRows, texts.Count - start), longest = 1;
            for (int i = 0; i < count; i++)
            {
                rows[i] = buffer[.._featurizer.Featurize(Encoding.UTF8.GetBytes(texts[start + i]), buffer)];
                longest = Math.Max(longest, rows[i].Length);
            }

            var indices = new int[count * longest];
            for (int i = 0; i < count; i++)
            {
                rows[i].CopyTo(indices, i * longest);
            }

            using var input = OrtValue.CreateTensorValueFromMemory(indices, [count, longest]);
            using var run = new RunOptions();
            using var outputs = _session.Run(run, _session.InputNames, [input], _session.OutputNames);
            outputs[0].GetTensorDataAsSpan<float>().CopyTo(result.AsSpan(start * Width));
        }

        return result;
    }

    public void Dispose() => _session.Dispose();
}
