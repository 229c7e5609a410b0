namespace SafetyFilter.Filtering;

/// <summary>Section <c>LastKnown</c>: the scores remembered for policies with <c>fail: { last-known: ... }</c>.</summary>
internal sealed class LastKnownOptions
{
    public const int LeastBytes = 64 << 10;

    private const int MostBytes = 1 << 30;

    /// <summary>
    /// Bytes, 64 KiB to 1 GiB, rounded down to a power of two; 16 for each score. Allocated when the first policy asks for it. Default
    /// 16 MiB, a million scores: 250,000 contents under four classifiers.
    /// </summary>
    public int MemoryBytes { get; set; } = 16 << 20;

    public IEnumerable<string> Validate()
    {
        if (MemoryBytes is < LeastBytes or > MostBytes)
        {
            yield return $"LastKnown:MemoryBytes is {MemoryBytes}; it must be {LeastBytes} to {MostBytes}.";
        }
    }
}
