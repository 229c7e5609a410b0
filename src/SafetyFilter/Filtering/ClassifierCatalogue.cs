using System.Collections.Frozen;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;

namespace SafetyFilter.Filtering;

/// <summary>What bundles allow policies to do with their classifiers. Here, because policies and models do not know each other.</summary>
internal static class ClassifierCatalogue
{
    public static IReadOnlyDictionary<string, ClassifierTerms> PolicyTerms(this ClassifierSet set) => set.Bundles
        .SelectMany(static bundle => bundle.Manifest.Classifiers.Select(classifier => (bundle.Manifest, classifier)))
        .ToFrozenDictionary(
            static pair => $"{pair.Manifest.Name}/{pair.classifier.Label}",
            static pair => new ClassifierTerms(
                pair.classifier.MaxAction,
                pair.Manifest.Purposes,
                pair.Manifest.Surfaces,
                new DateTimeOffset(pair.Manifest.Expires.AddDays(1), TimeOnly.MinValue, TimeSpan.Zero)),
            StringComparer.Ordinal);
}
