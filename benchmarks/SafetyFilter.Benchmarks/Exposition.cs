using System.Globalization;

namespace SafetyFilter.Benchmarks;

/// <summary>What a server answers at <c>/metrics</c>, in the Prometheus text format.</summary>
internal readonly struct Exposition(string text)
{
    /// <summary>Longer than the endpoint keeps an answer (300 ms): a look any sooner sees what the one before it saw.</summary>
    public static TimeSpan BetweenLooks { get; } = TimeSpan.FromMilliseconds(500);

    /// <summary>The sum of the series whose name begins so; null when there is none.</summary>
    /// <param name="label">A label's value that they have; null for any.</param>
    public double? Sum(string name, string? label = null)
    {
        double? sum = null;
        foreach (var line in text.Split('\n'))
        {
            if (line.StartsWith(name, StringComparison.Ordinal) && (label is null || line.Contains($"\"{label}\"", StringComparison.Ordinal)))
            {
                sum = (sum ?? 0) + Value(line);
            }
        }

        return sum;
    }

    // name{labels} value [timestamp]; no label of these has a brace in it.
    private static double Value(string line)
    {
        var rest = line[(line.IndexOf('}') is var brace and >= 0 ? brace + 1 : line.IndexOf(' '))..];
        return double.Parse(rest.Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture);
    }
}
