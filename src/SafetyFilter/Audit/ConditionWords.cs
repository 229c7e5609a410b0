using System.Globalization;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Audit;

/// <summary>Rules as a person would say them.</summary>
internal static class ConditionWords
{
    /// <summary>What a rule of a policy demands; empty when the policy has no such rule.</summary>
    public static string Of(ArchivedPolicy? policy, string rule) =>
        rule == SurfacePolicy.DefaultRuleId ? "no rule matched"
        : policy is null ? ""
        : policy.Conditions.TryGetValue(rule, out var condition) ? Of(condition)
        : rule == SurfacePolicy.UnscoredRuleId ? "a hard classifier gave no score"
        : rule == SurfacePolicy.AllDownRuleId ? "every classifier was down"
        : "";

    public static string Of(ConditionConfig condition) => condition switch
    {
        ScoreConfig score => $"{score.Classifier.Value} is {Limits(score.Bounds, static value => ((float)value).ToString("R", CultureInfo.InvariantCulture))}",
        AttributeInConfig text => $"{text.Attribute} is {List(text.Values)}",
        AttributeNumberConfig number => $"{number.Attribute} is {Limits(number.Bounds, static value => value.ToString("R", CultureInfo.InvariantCulture))}",
        AttributeFlagConfig flag => $"{flag.Attribute} is {(flag.Is ? "set" : "not set")}",
        LanguageConfig language => $"the language is {List(language.Ranges)}",
        ViewerConfig viewer => $"the viewer's {Field(viewer.Field)} is {List(viewer.Values)}",
        AllConfig all => string.Join(" and ", all.Conditions.Select(Inner)),
        AnyConfig any => string.Join(" or ", any.Conditions.Select(Inner)),
        NotConfig not => $"not ({Of(not.Condition)})",
        _ => "always",
    };

    /// <summary>The classifiers whose scores a condition compares.</summary>
    public static IEnumerable<string> Classifiers(ConditionConfig condition) =>
        PolicyCompiler.Leaves(condition).OfType<ScoreConfig>().Select(static leaf => leaf.Classifier.Value).Distinct(StringComparer.Ordinal);

    public static string Action(CandidateAction action, float demoteFactor, string label, int minimumAge) => action switch
    {
        CandidateAction.Allow => "allow",
        CandidateAction.Label => $"label '{label}'",
        CandidateAction.AgeRestrict => string.Create(CultureInfo.InvariantCulture, $"show from age {minimumAge}"),
        CandidateAction.Demote => string.Create(CultureInfo.InvariantCulture, $"demote to {demoteFactor:R} of its rank"),
        CandidateAction.Block => "block",
        _ => action.ToString(),
    };

    private static string Inner(ConditionConfig condition) =>
        condition is AllConfig or AnyConfig ? $"({Of(condition)})" : Of(condition);

    private static string Limits(Bounds bounds, Func<double, string> number)
    {
        var low = bounds.Low is { } l ? $"{(bounds.LowIsExclusive ? "above" : "at least")} {number(l)}" : "";
        var high = bounds.High is { } h ? $"{(bounds.HighIsExclusive ? "below" : "at most")} {number(h)}" : "";
        return low.Length > 0 && high.Length > 0 ? $"{low} and {high}" : low + high;
    }

    private static string List(IReadOnlyList<string> values) => string.Join(" or ", values.Select(static value => value.Length == 0 ? "unknown" : $"'{value}'"));

    private static string Field(ViewerField field) => field switch
    {
        ViewerField.Territory => "territory",
        ViewerField.AgeBand => "age band",
        _ => "experiment",
    };
}
