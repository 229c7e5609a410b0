using System.Globalization;

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
    public static RuntimeCounters? Parse(string exposition)
    {
        double? allocated = null;
        var collections = new double[3];
        foreach (var line in exposition.Split('\n'))
        {
            if (line.StartsWith(AllocatedName, StringComparison.Ordinal))
            {
                allocated = Value(line);
            }
            else if (line.StartsWith(CollectionsName, StringComparison.Ordinal))
            {
                for (var generation = 0; generation < collections.Length; generation++)
                {
                    if (line.Contains(string.Create(CultureInfo.InvariantCulture, $"\"gen{generation}\""), StringComparison.Ordinal))
                    {
                        collections[generation] = Value(line);
                    }
                }
            }
        }

        return allocated is { } bytes ? new RuntimeCounters(bytes, collections[0], collections[1], collections[2]) : null;
    }

    // name{labels} value [timestamp]; no label of these has a brace in it.
    private static double Value(string line)
    {
        var rest = line[(line.IndexOf('}') is var brace and >= 0 ? brace + 1 : line.IndexOf(' '))..];
        return double.Parse(rest.Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture);
    }
}
