using System.Globalization;
using System.Text;
using SafetyFilter.Cli.Traffic;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>
/// The 50,000 items that requests are about, the most popular first: each with a caption, an embedding of length 1 near that of its
/// caption's first title, and a content version that changes now and then. The same seed makes the same items.
/// </summary>
internal sealed class ItemSet
{
    public const int Count = 50_000;
    public const int EmbeddingLength = 128;

    private const int CaptionLength = 60;

    // One item in this many begins with a harmful title.
    private const int HarmEvery = 32;

    // A tenth of the items has a new version each round.
    private const int RoundsPerVersion = 10;

    // Noise per dimension of an embedding of length 1: items of one title differ, and score much alike.
    private const double Spread = 0.02;

    private readonly ulong _seed;
    private readonly Catalogue _catalogue;

    /// <param name="modelsFolder">Holds the encoder that makes the embeddings.</param>
    /// <exception cref="TrafficException">No bundle there has an encoder.</exception>
    public ItemSet(string modelsFolder, ulong seed)
    {
        _seed = seed;
        _catalogue = Catalogue.Load(null, seed);
        CatalogueEncoder.Encode(_catalogue, modelsFolder);
    }

    public static string Id(int item) => string.Create(CultureInfo.InvariantCulture, $"item:{item:D5}");

    public static string Version(int item, int round) =>
        string.Create(CultureInfo.InvariantCulture, $"v{1 + ((item % RoundsPerVersion + round) / RoundsPerVersion)}");

    /// <summary>45 to 75 characters: titles, cut at the end of a word.</summary>
    public string Caption(int item)
    {
        var random = SplitMix64.For(_seed, (ulong)item);
        var caption = new StringBuilder(First(item, ref random).Title);
        while (caption.Length < CaptionLength)
        {
            caption.Append(" | ").Append(Ordinary(ref random).Title);
        }

        var end = CaptionLength;
        while (end > CaptionLength - 15 && caption[end - 1] != ' ')
        {
            end--;
        }

        return caption.ToString(0, end).TrimEnd(' ', '|');
    }

    /// <summary>Writes the item's embedding, <see cref="EmbeddingLength"/> numbers.</summary>
    public void Embed(int item, Span<float> embedding)
    {
        var random = SplitMix64.For(_seed, (ulong)item);
        var source = First(item, ref random).Embedding!;
        var square = 0.0;
        for (var i = 0; i < EmbeddingLength; i++)
        {
            var value = source[i] + (Spread * ((2 * random.NextDouble()) - 1));
            embedding[i] = (float)value;
            square += value * value;
        }

        var scale = (float)(1 / Math.Sqrt(square));
        foreach (ref var value in embedding)
        {
            value *= scale;
        }
    }

    private CatalogueItem First(int item, ref SplitMix64 random) =>
        item % HarmEvery == HarmEvery - 1
            ? random.Pick<CatalogueItem>([.. _catalogue.Harmful[random.Next(_catalogue.Harmful.Count)].Items])
            : Ordinary(ref random);

    private CatalogueItem Ordinary(ref SplitMix64 random) => _catalogue.Ordinary[random.Next(_catalogue.Ordinary.Count)];
}
