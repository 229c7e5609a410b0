namespace SafetyFilter.Filtering;

/// <summary>Section <c>VerdictCache</c>: the scores kept for policies with <c>verdict_cache: on</c>.</summary>
internal sealed class VerdictCacheOptions
{
    public const int LeastEntries = 1 << 10;

    private const int MostEntries = 1 << 24;

    /// <summary>
    /// Entries, 1024 to 16,777,216: one per content, version and bundle. An entry of a bundle with four classifiers takes some 180 bytes.
    /// Its tables come when a policy first asks for the cache, the scores with the entries, and all of it goes when no policy asks for the cache any more. Default 131,072 (24 MB): 65,000 contents
    /// under two bundles.
    /// </summary>
    public int Entries { get; set; } = 1 << 17;

    public IEnumerable<string> Validate()
    {
        if (Entries is < LeastEntries or > MostEntries)
        {
            yield return $"VerdictCache:Entries is {Entries}; it must be {LeastEntries} to {MostEntries}.";
        }
    }
}
