using System.Text;
using System.Text.Json;
using BenchmarkDotNet.Attributes;
using SafetyFilter.Scoring.Text;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary>The text featurizer of the committed text bundle, by the caption's length in characters.</summary>
public class TextBenchmarks
{
    private TextFeaturizer _featurizer = null!;
    private byte[] _caption = [];
    private int[] _indices = [];

    [Params(20, 60, 250, 1000)]
    public int Length { get; set; }

    [GlobalSetup]
    public void SetUp()
    {
        using var manifest = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(AppContext.BaseDirectory, "models", "text-safety", "1.0.0", "manifest.json")));
        var options = TextFeaturizerOptions.Parse(manifest.RootElement.GetProperty("features")[0].GetProperty("parameters"), out var error)
            ?? throw new InvalidOperationException(error);
        _featurizer = new TextFeaturizer(options);
        _caption = Encoding.UTF8.GetBytes(MicroRequests.Caption(7, Length));
        _indices = new int[options.MaxFeatures];
    }

    [Benchmark]
    public int Featurize() => _featurizer.Featurize(_caption, _indices);
}
