using System.Collections.Immutable;
using System.Text.Json;

namespace SafetyFilter.Scoring.Text;

/// <summary>
/// What decides a text's features. A model is only right with the options it was trained with, so they stand in its
/// manifest and have no defaults there.
/// </summary>
/// <param name="Buckets">Rows of the model's weight table, 2 to 2^24. Bucket 0 is padding and never a feature.</param>
/// <param name="Seed">Sets apart the hashes of different models.</param>
/// <param name="WordNgrams">The lengths of word n-grams, each 1 or 2. May be empty.</param>
/// <param name="CharNgrams">The lengths of character n-grams within one word and its edges, each 2 to 8. May be empty.</param>
/// <param name="MaxFeatures">Most features of one text, 1 to 4096. Words come first, then character n-grams from the start of the text.</param>
/// <param name="MaxChars">UTF-16 code units of normalised text that are read, 1 to 8192; the rest of the text is not seen.</param>
internal sealed record TextFeaturizerOptions(
    int Buckets, int Seed, ImmutableArray<int> WordNgrams, ImmutableArray<int> CharNgrams, int MaxFeatures, int MaxChars)
{
    /// <summary>Reads the manifest's "parameters" object. Null and an error that names member, value and remedy when it does not do.</summary>
    public static TextFeaturizerOptions? Parse(JsonElement parameters, out string? error)
    {
        error = null;
        if (parameters.ValueKind != JsonValueKind.Object)
        {
            error = $"parameters is {parameters.ValueKind}; give an object with buckets, seed, wordNgrams, charNgrams, maxFeatures and maxChars.";
            return null;
        }

        var options = new TextFeaturizerOptions(
            Number(parameters, "buckets", 2, 1 << 24, ref error),
            Number(parameters, "seed", int.MinValue, int.MaxValue, ref error),
            Lengths(parameters, "wordNgrams", 1, 2, ref error),
            Lengths(parameters, "charNgrams", 2, 8, ref error),
            Number(parameters, "maxFeatures", 1, 4096, ref error),
            Number(parameters, "maxChars", 1, 8192, ref error));
        if (error is null && options.WordNgrams.IsEmpty && options.CharNgrams.IsEmpty)
        {
            error = "wordNgrams and charNgrams are both empty; name at least one length.";
        }

        return error is null ? options : null;
    }

    private static int Number(JsonElement parameters, string name, int min, int max, ref string? error)
    {
        if (parameters.TryGetProperty(name, out var element) && element.ValueKind == JsonValueKind.Number
            && element.TryGetInt32(out int value) && value >= min && value <= max)
        {
            return value;
        }

        error ??= $"{name} is {Shown(element)}; give a whole number from {min} to {max}.";
        return min;
    }

    private static ImmutableArray<int> Lengths(JsonElement parameters, string name, int min, int max, ref string? error)
    {
        var lengths = ImmutableArray.CreateBuilder<int>();
        bool good = parameters.TryGetProperty(name, out var element) && element.ValueKind == JsonValueKind.Array;
        if (good)
        {
            foreach (var item in element.EnumerateArray())
            {
                good &= item.ValueKind == JsonValueKind.Number && item.TryGetInt32(out int value) && value >= min && value <= max;
                lengths.Add(good ? item.GetInt32() : 0);
            }
        }

        if (!good)
        {
            error ??= $"{name} is {Shown(element)}; give an array of lengths from {min} to {max}.";
        }

        return lengths.ToImmutable();
    }

    private static string Shown(JsonElement element) => element.ValueKind == JsonValueKind.Undefined ? "absent" : element.GetRawText();
}
