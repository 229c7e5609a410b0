using System.Globalization;
using System.Text;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>The policies that the measured sidecar serves: a surface per kind of request, ten rules each, records at level <c>process</c>.</summary>
internal static class BenchmarkPolicies
{
    public const string Embeddings = "embeddings";
    public const string Captions = "captions";
    public const string Mixed = "mixed";
    public const string EmbeddingBundle = "embedding-safety";
    public const string TextBundle = "text-safety";

    // Longer than any run here: a run that is cut costs less than one that ends, and would flatter.
    private const int BudgetMicros = 500_000;

    private static readonly Rule[] OfEmbeddings =
    [
        new("embedding-safety/hate", 0.92, "block"),
        new("embedding-safety/toxicity", 0.99, "block"),
        new("embedding-safety/spam", 0.9, "block"),
        new("embedding-safety/hate", 0.56, "{ demote: 0.1 }"),
        new("embedding-safety/toxicity", 0.95, "{ demote: 0.3 }"),
        new("embedding-safety/spam", 0.5, "{ demote: 0.2 }"),
        new("embedding-safety/clickbait", 0.98, "{ demote: 0.5 }"),
        new("embedding-safety/hate", 0.41, "{ age-restrict: 16 }"),
        new("embedding-safety/toxicity", 0.93, "{ label: rough }"),
        new("embedding-safety/spam", 0.4, "{ label: spam }"),
    ];

    private static readonly Rule[] OfCaptions =
    [
        new("text-safety/hate", 0.92, "block"),
        new("text-safety/toxicity", 0.97, "block"),
        new("text-safety/spam", 0.8, "block"),
        new("text-safety/prompt-injection", 0.6, "block"),
        new("text-safety/hate", 0.59, "{ demote: 0.1 }"),
        new("text-safety/toxicity", 0.85, "{ demote: 0.3 }"),
        new("text-safety/harassment", 0.74, "{ demote: 0.3 }"),
        new("text-safety/clickbait", 0.97, "{ demote: 0.5 }"),
        new("text-safety/toxicity", 0.56, "{ age-restrict: 16 }"),
        new("text-safety/spam", 0.4, "{ label: spam }"),
    ];

    private static readonly Rule[] OfBoth =
    [
        .. OfEmbeddings.AsSpan(0, 5),
        .. OfCaptions.AsSpan(0, 5),
    ];

    /// <summary>Writes a file per surface into the folder, which it makes.</summary>
    public static void Write(string folder, PolicyVariant variant)
    {
        Directory.CreateDirectory(folder);
        foreach (var (surface, rules) in new[] { (Embeddings, OfEmbeddings), (Captions, OfCaptions), (Mixed, OfBoth) })
        {
            File.WriteAllText(Path.Combine(folder, surface + ".yaml"), Compose(surface, rules, variant));
        }
    }

    private static string Compose(string surface, Rule[] rules, PolicyVariant variant)
    {
        var yaml = new StringBuilder();
        yaml.Append(CultureInfo.InvariantCulture, $"policy: {surface}\nowner: benchmarks\nsurfaces: [{surface}]\nmatch: strongest\nbudget_us: {BudgetMicros}\n");
        yaml.Append("record: { durability: process }\n");
        if (variant.Yaml.Length > 0)
        {
            yaml.Append(variant.Yaml).Append('\n');
        }

        yaml.Append("classifiers:\n");
        foreach (var classifier in rules.Select(rule => rule.Classifier).Distinct(StringComparer.Ordinal))
        {
            yaml.Append(CultureInfo.InvariantCulture, $"  {classifier}: {{ fail: open }}\n");
        }

        yaml.Append("rules:\n");
        for (var i = 0; i < rules.Length; i++)
        {
            var rule = rules[i];
            yaml.Append(CultureInfo.InvariantCulture, $"  - id: rule-{i}\n    when: {{ score: {rule.Classifier}, at_least: {rule.AtLeast} }}\n    action: {rule.Action}\n    reason: RULE_{i}\n    severity: medium\n");
        }

        return yaml.ToString();
    }

    private readonly record struct Rule(string Classifier, double AtLeast, string Action);
}
