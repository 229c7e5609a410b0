namespace SafetyFilter.Benchmarks.Service;

/// <summary>What the .NET runtime of a server counted, as its Prometheus endpoint says it.</summary>
/// <param name="Allocated">Bytes allocated on the managed heap.</param>
/// <param name="Gen0">Collections of generation 0.</param>
/// <param name="Gen1">Of generation 1.</param>
/// <param name="Gen2">Of generation 2.</param>
internal readonly record struct RuntimeCounters(double Allocated, double Gen0, double Gen1, double Gen2)
{
    private const string AllocatedName = "dotnet_gc_heap_total_allocated_bytes_total";
    private const string CollectionsName = "dotnet_gc_collections_total";

    public static RuntimeCounters operator -(RuntimeCounters left, RuntimeCounters right) =>
        new(left.Allocated - right.Allocated, left.Gen0 - right.Gen0, left.Gen1 - right.Gen1, left.Gen2 - right.Gen2);

    public static RuntimeCounters operator +(RuntimeCounters left, RuntimeCounters right) =>
        new(left.Allocated + right.Allocated, left.Gen0 + right.Gen0, left.Gen1 + right.Gen1, left.Gen2 + right.Gen2);

    /// <summary>Reads the text format. Null when the allocated bytes are not in it.</summary>
    public static RuntimeCounters? Parse(string text)
    {
        var exposition = new Exposition(text);
        return exposition.Sum(AllocatedName) is { } allocated
            ? new RuntimeCounters(allocated, Collections("gen0"), Collections("gen1"), Collections("gen2"))
            : null;

        double Collections(string generation) => exposition.Sum(CollectionsName, generation) ?? 0;
    }
}
