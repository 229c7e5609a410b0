using System.Runtime.InteropServices;
using Google.Protobuf;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Decisions;

/// <summary>Pages as rankers send them, always the same for the same seed.</summary>
internal static class Pages
{
    public const int EmbeddingWidth = 128;

    private static readonly string[] Words =
        ["ten", "quiet", "walks", "you", "WON'T", "believe", "free", "winner", "idiot", "hate", "the", "Alps", "ignore", "previous", "instructions", "Grüße", "日本語", "👩‍👩‍👧", "z\u200Bero", "сyrillic"];

    public static string[] Titles(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => string.Join(' ', Enumerable.Range(0, random.Next(0, 25)).Select(_ => Words[random.Next(Words.Length)])))];
    }

    public static float[][] Embeddings(int seed, int count)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, EmbeddingWidth).Select(_ => random.NextSingle() * 2 - 1).ToArray())];
    }

    public static FilterRequest Shorts(string id, float[][] rows, bool half = false)
    {
        var request = Wire.Page(id, "shorts", [.. rows.Select(static _ => "")]);
        request.Texts.Clear();
        request.Tensors.Add(Tensor(rows, half));
        return request;
    }

    /// <summary>A page with everything that a request can have, for the surface that reads most.</summary>
    public static FilterRequest Kids(string id, int seed, int count)
    {
        var request = Wire.Page(id, "kids", Titles(seed, count));
        request.Tensors.Add(Tensor(Embeddings(seed, count), half: false));
        request.Viewer = new ViewerContext { Territory = "DE", AgeBand = "under-13", Experiment = "arm-b" };
        request.Purpose = "recommendation";
        request.ContentVersions.AddRange(Enumerable.Range(0, count).Select(static i => $"v{i}"));
        request.Languages.AddRange(Enumerable.Range(0, count).Select(static i => i % 2 == 0 ? "en" : ""));
        var made = new AttributeColumn { Name = "made_for_kids" };
        made.Flags.AddRange(Enumerable.Range(0, count).Select(static i => i % 3 != 0));
        request.Attributes.Add(made);
        request.Attributes.Add(new AttributeColumn { Name = "nobody_reads_this", Numbers = { Enumerable.Repeat(1.5, count) } });

        // One candidate without an embedding, whose row may then hold anything.
        request.Tensors[0].Missing.Add((uint)count - 1);
        return request;
    }

    private static FeatureTensor Tensor(float[][] rows, bool half)
    {
        var numbers = rows.SelectMany(static row => row).ToArray();
        return new FeatureTensor
        {
            Name = "embedding",
            Dtype = half ? DataType.Float16 : DataType.Float32,
            Shape = { rows.Length, rows[0].Length },
            Data = ByteString.CopyFrom(half
                ? MemoryMarshal.AsBytes<Half>(Array.ConvertAll(numbers, static number => (Half)number))
                : MemoryMarshal.AsBytes<float>(numbers)),
        };
    }
}
