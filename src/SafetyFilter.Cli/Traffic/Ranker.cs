using SafetyFilter.Client;

namespace SafetyFilter.Cli.Traffic;

/// <summary>Composes pages of recommendations. Page k is the same for the same catalogue and seed, whoever asks for it.</summary>
/// <remarks>Thread-safe; the pages are not.</remarks>
internal sealed class Ranker(Catalogue catalogue, ulong seed)
{
    // Popularity of media items is close to 1/rank.
    private readonly Zipf _popularity = new(catalogue.Ordinary.Count, 1.0);

    private const int FewestCandidates = 16;
    private const int MostCandidates = 64;

    // Every fourth page carries harmful candidates, at these ranks: the first one seen, one further down, one below the fold.
    public const int HarmEvery = 4;
    public static readonly int[] HarmRanks = [0, 4, 11];

    // Scores show why; they cost bytes, so that only every eighth page asks for them.
    private const int ScoresEvery = 8;

    /// <summary>Fills the page with request number <paramref name="number"/>.</summary>
    /// <param name="only">The one surface to compose for; null for the usual mix.</param>
    /// <param name="candidates">How many; 0 for 16 to 64 as rankers do.</param>
    public void Compose(Page page, int number, SurfaceProfile? only = null, int candidates = 0)
    {
        var random = SplitMix64.For(seed, 1_000 + (ulong)number);
        var surface = only ?? SurfaceProfile.Pick(ref random);
        var count = candidates > 0 ? candidates : FewestCandidates + random.Next(MostCandidates - FewestCandidates + 1);

        page.Begin(surface, count);
        page.Query.RequestId = $"{surface.Name}-{seed}-{number}";
        page.Query.Territory = random.Pick<string>(["US", "US", "GB", "DE", "FR", "ES", "BR", "IN", "JP", "ZA", ""]);
        page.Query.AgeBand = surface.ForChildren ? "under-13" : random.Pick<string>(["adult", "adult", "adult", "18-24", "13-17", ""]);
        page.Query.Experiment = random.Pick<string>(["", "", "ranker-b"]);
        page.Query.ReturnScores = number % ScoresEvery == 0;

        for (var rank = 0; rank < count; rank++)
        {
            var harm = number % HarmEvery == 0 ? Array.IndexOf(HarmRanks, rank) : -1;
            page.Add(harm >= 0 ? Harmful(number / HarmEvery + harm, ref random) : Ordinary(page, ref random));
        }
    }

    private CatalogueItem Harmful(int turn, ref SplitMix64 random)
    {
        var family = catalogue.Harmful[turn % catalogue.Harmful.Count];
        return family.Items[random.Next(family.Items.Count)];
    }

    private CatalogueItem Ordinary(Page page, ref SplitMix64 random)
    {
        // A ranker shows no item twice and children only what is meant for them; on a page larger than its catalogue it must.
        for (var attempt = 0; attempt < 100; attempt++)
        {
            var item = catalogue.Ordinary[_popularity.Sample(ref random)];
            if ((item.MadeForKids || !page.Surface.ForChildren) && !page.Contains(item))
            {
                return item;
            }
        }

        return catalogue.Ordinary[random.Next(catalogue.Ordinary.Count)];
    }
}

/// <summary>A surface as the ranker serves it: how often, and which features it has at hand there.</summary>
internal sealed record SurfaceProfile(string Name, int Weight, bool HasTexts, bool HasEmbeddings, bool ForChildren = false)
{
    /// <summary>The surfaces of the reference policies.</summary>
    public static readonly SurfaceProfile[] All =
    [
        new("for-you", 45, HasTexts: true, HasEmbeddings: false),
        new("search", 25, HasTexts: true, HasEmbeddings: false),
        new("shorts", 20, HasTexts: false, HasEmbeddings: true),
        new("kids", 10, HasTexts: true, HasEmbeddings: true, ForChildren: true),
    ];

    private static readonly int TotalWeight = All.Sum(surface => surface.Weight);

    public static SurfaceProfile? Named(string name) => Array.Find(All, surface => surface.Name == name);

    public static SurfaceProfile Pick(ref SplitMix64 random)
    {
        var ticket = random.Next(TotalWeight);
        foreach (var surface in All)
        {
            if ((ticket -= surface.Weight) < 0)
            {
                return surface;
            }
        }

        return All[^1];
    }
}

/// <summary>One page: what is asked, and which items it is about. Reusable.</summary>
internal sealed class Page
{
    private readonly List<CatalogueItem> _items = [];
    private readonly HashSet<CatalogueItem> _seen = new(ReferenceEqualityComparer.Instance);

    public FilterQuery Query { get; } = new();

    public SurfaceProfile Surface { get; private set; } = SurfaceProfile.All[0];

    public IReadOnlyList<CatalogueItem> Items => _items;

    public bool Contains(CatalogueItem item) => _seen.Contains(item);

    public void Begin(SurfaceProfile surface, int capacity)
    {
        Surface = surface;
        _items.Clear();
        _seen.Clear();
        _items.EnsureCapacity(capacity);
        Query.Clear();
        Query.Surface = surface.Name;
    }

    public void Add(CatalogueItem item)
    {
        _items.Add(item);
        _seen.Add(item);
        var row = Query.AddCandidate(item.Id, item.ContentVersion, item.Language)
            .Attribute("creator_tier", item.CreatorTier)
            .Attribute("account_age_days", item.AccountAgeDays)
            .Attribute("publisher_kind", item.PublisherKind)
            .Attribute("made_for_kids", item.MadeForKids);
        if (Surface.HasTexts)
        {
            row.Text("text", item.Title);
        }

        if (Surface.HasEmbeddings && item.Embedding is { } embedding)
        {
            row.Tensor("embedding", embedding);
        }
    }
}
