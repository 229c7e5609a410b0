using System.Reflection;
using BenchmarkDotNet.Attributes;
using BenchmarkDotNet.Running;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary>The benchmarks of this assembly, as BenchmarkDotNet finds them.</summary>
internal static class BenchmarkCases
{
    /// <summary>Classes with a method that is marked as a benchmark, in the order of their names.</summary>
    public static Type[] Types { get; } =
    [
        .. typeof(BenchmarkCases).Assembly.GetTypes()
            .Where(static type => type.GetMethods().Any(static method => method.IsDefined(typeof(BenchmarkAttribute))))
            .OrderBy(static type => type.Name, StringComparer.Ordinal),
    ];

    /// <summary>Every benchmark with each of its parameters.</summary>
    public static IEnumerable<BenchmarkCase> All => Types.SelectMany(static type => BenchmarkConverter.TypeToBenchmarks(type).BenchmarksCases);

    /// <summary>Class, method and parameters, e.g. <c>TextBenchmarks.Featurize(Length: 60)</c>.</summary>
    public static string NameOf(BenchmarkCase benchmark)
    {
        var name = $"{benchmark.Descriptor.Type.Name}.{benchmark.Descriptor.WorkloadMethod.Name}";
        return benchmark.HasParameters
            ? $"{name}({string.Join(", ", benchmark.Parameters.Items.Select(static item => $"{item.Name}: {item.Value}"))})"
            : name;
    }
}
