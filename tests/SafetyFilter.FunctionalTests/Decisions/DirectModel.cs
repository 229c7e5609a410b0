using System.Text;
using System.Text.Json;
using Microsoft.ML.OnnxRuntime;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.FunctionalTests.Decisions;

/// <summary>A committed bundle's model.onnx, run by ONNX Runtime without anything of the sidecar's in between but the featurizer.</summary>
internal sealed class DirectModel : IDisposable
{
    private readonly InferenceSession _session;
    private readonly JsonDocument _manifest;

    public DirectModel(string bundle)
    {
        var folder = Path.Combine(AppContext.BaseDirectory, "models", bundle, "1.0.0");
        _manifest = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "manifest.json")));
        _session = new InferenceSession(Path.Combine(folder, "model.onnx"));
        Classifiers = [.. _manifest.RootElement.GetProperty("outputs")[0].GetProperty("classifiers").EnumerateArray().Select(label => $"{bundle}/{label.GetString()}")];
        using var golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "golden.json")));
        GoldenTexts = [.. golden.RootElement.GetProperty("candidates").EnumerateArray()
            .Where(static candidate => candidate.TryGetProperty("text", out _)).Select(static candidate => candidate.GetProperty("text").GetString()!)];
    }

    public string[] Classifiers { get; }

    public string[] GoldenTexts { get; }

    private JsonElement Feature => _manifest.RootElement.GetProperty("features")[0];

    /// <summary>[candidate][classifier]</summary>
    public float[][] Score(IReadOnlyList<string> texts)
    {
        var options = TextFeaturizerOptions.Parse(Feature.GetProperty("parameters"), out var error);
        Assert.True(options is not null, error);
        var featurizer = new TextFeaturizer(options);
        var buffer = new int[options.MaxFeatures];
        var rows = texts.Select(text => buffer[..featurizer.Featurize(Encoding.UTF8.GetBytes(text), buffer)].ToArray()).ToList();
        var longest = Math.Max(1, rows.Max(static row => row.Length));
        var indices = new int[rows.Count * longest];
        for (var row = 0; row < rows.Count; row++)
        {
            rows[row].CopyTo(indices, row * longest);
        }

        var scale = rows.Select(static row => row.Length == 0 ? 0 : 1 / MathF.Sqrt(row.Length)).ToArray();
        var inputs = Feature.GetProperty("inputs");
        using var indicesValue = OrtValue.CreateTensorValueFromMemory(indices, [rows.Count, longest]);
        using var scaleValue = OrtValue.CreateTensorValueFromMemory(scale, [rows.Count, 1]);
        return Run(
            rows.Count,
            (inputs.GetProperty("indices").GetString()!, indicesValue),
            (inputs.GetProperty("scale").GetString()!, scaleValue));
    }

    /// <summary>[candidate][classifier]</summary>
    public float[][] Score(IReadOnlyList<float[]> rows)
    {
        using var value = OrtValue.CreateTensorValueFromMemory([.. rows.SelectMany(static row => row)], [rows.Count, rows[0].Length]);
        return Run(rows.Count, (Feature.GetProperty("input").GetString()!, value));
    }

    public void Dispose()
    {
        _session.Dispose();
        _manifest.Dispose();
    }

    private float[][] Run(int count, params (string Name, OrtValue Value)[] inputs)
    {
        using var options = new RunOptions();
        using var outputs = _session.Run(options, [.. inputs.Select(static i => i.Name)], [.. inputs.Select(static i => i.Value)], ["scores"]);
        return [.. outputs[0].GetTensorDataAsSpan<float>().ToArray().Chunk(Classifiers.Length).Take(count)];
    }
}
