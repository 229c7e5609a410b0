namespace SafetyFilter.Cli.Traffic;

/// <summary>Something that can be recommended, as the ranker knows it.</summary>
internal sealed record CatalogueItem(string Id, string Language, string Title)
{
    public string ContentVersion { get; init; } = "v1";

    /// <summary>Why it should not be shown as it is, e.g. <c>spam</c>; null for an ordinary item.</summary>
    public string? Family { get; init; }

    /// <summary>Whether a screen gets only the shape of the title: somebody's real insult or worse.</summary>
    public bool ShownMasked { get; init; }

    /// <summary>How well its maker is known: <c>new</c>, <c>unverified</c>, <c>established</c> or <c>partner</c>.</summary>
    public string CreatorTier { get; init; } = "established";

    /// <summary>How long its maker has been there.</summary>
    public double AccountAgeDays { get; init; }

    /// <summary><c>person</c>, <c>company</c> or <c>news</c>.</summary>
    public string PublisherKind { get; init; } = "person";

    /// <summary>As its maker says. Makers of harmful items say so too: that is how they get among the children's.</summary>
    public bool MadeForKids { get; init; }

    /// <summary>The content embedding; null until the catalogue was encoded.</summary>
    public float[]? Embedding { get; set; }
}
