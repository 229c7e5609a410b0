using System.Collections.Immutable;
using System.Text.Json;

namespace SafetyFilter.Scoring.Text;

internal sealed record TextFeaturizerOptions(
    int Buckets, int Seed, ImmutableArray<int> WordNgrams, ImmutableArray<int> CharNgrams, int MaxFeatures, int MaxChars)
{
    public static TextFeaturizerOptions? Parse(JsonElement parameters, out string? error)
    {
        if (parameters.ValueKind != JsonValueKind.Object || !parameters.TryGetProperty("buckets", out var buckets) || !buckets.TryGetInt32(out var count))
        {
            error = "buckets is absent; give a whole number.";
            return null;
        }

        error = null;
        return new TextFeaturizerOptions(count, 7, [1, 2], [3], parameters.GetProperty("maxFeatures").GetInt32(), 1024);
    }
}

internal sealed class TextFeaturizer(TextFeaturizerOptions options)
{
    public TextFeaturizerOptions Options => options;

    public int Featurize(ReadOnlySpan<byte> utf8, Span<int> indices)
    {
        var n = Math.Min(utf8.Length, options.MaxFeatures);
        for (var i = 0; i < n; i++)
        {
            indices[i] = 1 + (utf8[i] * 31 + i) % (options.Buckets - 1);
        }

        return n;
    }
}
