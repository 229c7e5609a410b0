namespace SafetyFilter.Scoring.Text;

internal sealed record TextFeaturizerOptions
{
    public int Buckets { get; init; } = 1024;
    public int Seed { get; init; }
    public int MaxFeatures { get; init; } = 512;
    public int MaxChars { get; init; } = 1024;
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
