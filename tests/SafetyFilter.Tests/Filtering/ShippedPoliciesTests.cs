using System.Text.Json;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Filtering;

/// <summary>The policies and bundles that ship, held together: the figures in the manifests hold for the thresholds that serve.</summary>
public sealed class ShippedPoliciesTests
{
    [Fact]
    public void BlockingRules_Thresholds_AreAtLeastThoseThatTheBundlesWereMeasuredAt()
    {
        using var classifiers = Bundles();
        var measured = classifiers.Bundles
            .SelectMany(static bundle => bundle.Manifest.Classifiers.Select(spec => (Name: $"{bundle.Name}/{spec.Label}", spec.Thresholds)))
            .ToDictionary(static pair => pair.Name, static pair => pair.Thresholds, StringComparer.Ordinal);
        var compared = 0;
        foreach (var rule in Policies(classifiers).Policies.SelectMany(Rules).Where(static rule => rule.GetProperty("action").ToString() == "block" && !IsShadow(rule)))
        {
            foreach (var score in Scores(rule.GetProperty("when")))
            {
                var name = score.GetProperty("score").GetString()!;
                Assert.True(
                    score.GetProperty("at_least").GetDouble() >= measured[name][CandidateAction.Block],
                    $"rule {rule.GetProperty("id")} blocks by {name} from {score.GetProperty("at_least")}, below the measured {measured[name][CandidateAction.Block]}");
                compared++;
            }
        }

        Assert.True(compared >= 8, $"only {compared} comparisons were found");
    }

    private static bool IsShadow(JsonElement rule) => rule.TryGetProperty("shadow", out var shadow) && shadow.GetBoolean();

    private static ClassifierSet Bundles()
    {
        var loaded = ClassifierSet.Load(Path.Combine(AppContext.BaseDirectory, "models"), BundleLimits.Default, TimeProvider.System);
        Assert.True(loaded.Value is not null, loaded.Report);
        return loaded.Value;
    }

    private static PolicySnapshot Policies(ClassifierSet classifiers)
    {
        var (sources, unreadable) = PolicySource.ReadFolder(Path.Combine(AppContext.BaseDirectory, "policies"));
        Assert.Empty(unreadable);
        var (snapshot, errors) = PolicyCompiler.Compile(sources, classifiers.PolicyTerms(), DateTimeOffset.UtcNow);
        Assert.Empty(errors);
        return snapshot!;
    }

    // The canonical form is JSON, so that the rules can be read without a second YAML reader.
    private static IEnumerable<JsonElement> Rules(PolicyDefinition policy) =>
        JsonDocument.Parse(policy.Canonical).RootElement.GetProperty("rules").EnumerateArray();

    private static IEnumerable<JsonElement> Scores(JsonElement condition)
    {
        if (condition.TryGetProperty("score", out _))
        {
            return [condition];
        }

        foreach (var list in new[] { "all", "any" })
        {
            if (condition.TryGetProperty(list, out var parts))
            {
                return parts.EnumerateArray().SelectMany(Scores);
            }
        }

        return condition.TryGetProperty("not", out var inner) ? Scores(inner) : [];
    }
}
