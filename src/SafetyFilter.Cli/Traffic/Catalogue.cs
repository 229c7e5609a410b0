namespace SafetyFilter.Cli.Traffic;

/// <summary>What the ranker can recommend: ordinary items, the most popular first, and harmful ones by family.</summary>
internal sealed class Catalogue(IReadOnlyList<CatalogueItem> ordinary, IReadOnlyList<HarmfulFamily> harmful, string description)
{
    public const int OrdinaryItems = 4_000;
    public const int HarmfulItemsPerFamily = 200;

    public IReadOnlyList<CatalogueItem> Ordinary => ordinary;

    public IReadOnlyList<HarmfulFamily> Harmful => harmful;

    /// <summary>Where the titles come from, in a few words.</summary>
    public string Description => description;

    public IEnumerable<CatalogueItem> All => ordinary.Concat(harmful.SelectMany(family => family.Items));

    /// <summary>The folder's real texts, or invented ones when there is no folder.</summary>
    /// <exception cref="TrafficException">The folder lacks a file, or a file lacks a column.</exception>
    public static Catalogue Load(string? dataFolder, ulong seed) =>
        dataFolder is null ? TitleForge.Make(seed) : SharedData.Read(dataFolder, seed);

    /// <summary>Fills in what a ranker knows besides the text.</summary>
    internal static CatalogueItem WithFacts(CatalogueItem item, ref SplitMix64 random)
    {
        var harmful = item.Family is not null;
        return item with
        {
            ContentVersion = $"v{1 + random.Next(3)}",
            CreatorTier = random.Pick<string>(harmful ? ["new", "unverified", "established"] : ["new", "established", "established", "partner"]),
            AccountAgeDays = random.Next(harmful ? 30 : 3_000),
            PublisherKind = harmful ? "person" : random.Pick<string>(["person", "person", "person", "company", "news"]),
            MadeForKids = harmful || random.Next(5) < 2,
        };
    }
}

/// <summary>Harmful items of one kind, named as the classifier label that should see them.</summary>
internal sealed record HarmfulFamily(string Name, IReadOnlyList<CatalogueItem> Items);

/// <summary>The traffic cannot be made; the message says why and what to do.</summary>
internal sealed class TrafficException(string message) : Exception(message);
