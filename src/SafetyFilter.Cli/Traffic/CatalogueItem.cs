namespace SafetyFilter.Cli.Traffic;

/// <summary>Something that can be recommended, as the ranker knows it.</summary>
internal sealed record CatalogueItem(string Id, string Language, string Title)
{
    public string ContentVersion { get; init; } = "v1";

    /// <summary>Why it should not be shown as it is, e.g. <c>spam</c>; null for an ordinary item.</summary>
    public string? Family { get; init; }

    /// <summary>How long its maker has been known: <c>new</c>, <c>established</c> or <c>partner</c>.</summary>
    public string CreatorTier { get; init; } = "established";

    /// <summary>Reports by viewers in the last day.</summary>
    public double Reports { get; init; }

    /// <summary>The content embedding; null until the catalogue was encoded.</summary>
    public float[]? Embedding { get; set; }
}
