using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>
/// A policy in exactly one spelling: JSON with fixed keys, defaults written out, sets sorted, a line per rule. JSON is YAML, so it
/// is a policy file that compiles to the same revision: whoever archives it by its digest can read it, diff it and run it.
/// </summary>
internal static class PolicyCanonical
{
    public static string Digest(string canonical) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(canonical)));

    public static string Write(PolicyConfig policy)
    {
        var classifiers = policy.Classifiers
            .OrderBy(c => c.Name.Value, StringComparer.Ordinal)
            .Select(c => $"{Quote(c.Name.Value)}: {{\"fail\": {Fail(c.Fail, c.Missing)}{(c.Hard.Value ? ", \"hard\": true" : "")}{Priority(c.Priority)}}}");

        // Not where it is the default: revisions from before there were groups stay what they were.
        var group = policy.BreakerGroup == PolicyParser.DefaultBreakerGroup ? "" : $"\n\"breaker_group\": {Quote(policy.BreakerGroup)},";
        var cache = policy.UsesVerdictCache ? "\n\"verdict_cache\": \"on\"," : "";
        return $$"""
            {
            "schema": {{Quote(PolicyParser.Schema)}},
            "policy": {{Quote(policy.Name.Value)}},
            "owner": {{Quote(policy.Owner)}},
            "surfaces": {{List(policy.Surfaces.Select(s => s.Value).Order(StringComparer.Ordinal))}},
            "purposes": {{List(policy.Purposes.Select(p => p.Value).Order(StringComparer.Ordinal))}},
            "match": {{Quote(policy.Match == MatchMode.First ? "first" : "strongest")}},
            "budget_us": {{policy.BudgetMicros.ToString(CultureInfo.InvariantCulture)}},{{WhenBusy(policy)}}{{group}}{{AllDown(policy.AllDown.Value)}}{{cache}}
            "classifiers": {
            {{string.Join(",\n", classifiers)}}
            },
            "rules": [
            {{string.Join(",\n", policy.Rules.Select(Rule))}}
            ],
            "record": {{Record(policy.Record.Terms)}}
            }

            """;
    }

    public static string Fail(FailMode mode, FailMode missing) => mode switch
    {
        FailMode.LastKnown => $"{{\"last-known\": {Fail(missing, missing)}}}",
        FailMode.Closed => "\"closed\"",
        _ => "\"open\"",
    };

    public static string Name(AllDownMode mode) => mode.ToString().ToLowerInvariant();

    // Left out where they are the defaults: policies that do not name them keep the revision that they had before there were any.
    private static string WhenBusy(PolicyConfig policy)
    {
        var priority = policy.Priority switch
        {
            SurfacePriority.High => "\n\"priority\": \"high\",",
            SurfacePriority.Low => "\n\"priority\": \"low\",",
            _ => "",
        };
        return priority + (policy.ServesWhenShed ? "\n\"overload\": \"fail-mode\"," : "");
    }

    public static string Record(RecordTerms terms) =>
        $"{{\"durability\": {Quote(Name(terms.Durability))}, \"late\": {Quote(terms.RefuseWhenLate ? "refuse" : "pending")}, "
        + $"\"full\": {Quote(terms.ServeWhenFull ? "serve" : "refuse")}, \"inputs\": {Capture(terms.InputCapture)}, "
        + $"\"hash\": {List(terms.Hash)}, \"mask\": {List(terms.Mask)}, \"seal\": {List(terms.Seal)}}}";

    public static string Condition(ConditionConfig condition) => condition switch
    {
        ScoreConfig score => $"{{\"score\": {Quote(score.Classifier.Value)}{Limits(score.Bounds, Score)}}}",
        AttributeInConfig text => $"{{\"attribute\": {Quote(text.Attribute)}, \"in\": {List(text.Values)}}}",
        AttributeNumberConfig number => $"{{\"attribute\": {Quote(number.Attribute)}{Limits(number.Bounds, Number)}}}",
        AttributeFlagConfig flag => $"{{\"attribute\": {Quote(flag.Attribute)}, \"is\": {(flag.Is ? "true" : "false")}}}",
        LanguageConfig language => $"{{\"language\": {List(language.Ranges)}}}",
        ViewerConfig viewer => $"{{\"viewer\": {Quote(Field(viewer.Field))}, \"in\": {List(viewer.Values)}}}",
        AllConfig all => $"{{\"all\": [{string.Join(", ", all.Conditions.Select(Condition))}]}}",
        AnyConfig any => $"{{\"any\": [{string.Join(", ", any.Conditions.Select(Condition))}]}}",
        NotConfig not => $"{{\"not\": {Condition(not.Condition)}}}",
        _ => "{\"always\": true}",
    };

    public static string Action(CandidateAction action, float demoteFactor, string label, int minimumAge) => action switch
    {
        CandidateAction.Label => $"{{\"label\": {Quote(label)}}}",
        CandidateAction.AgeRestrict => $"{{\"age-restrict\": {minimumAge.ToString(CultureInfo.InvariantCulture)}}}",
        CandidateAction.Demote => $"{{\"demote\": {Score(demoteFactor)}}}",
        CandidateAction.Block => "\"block\"",
        _ => "\"allow\"",
    };

    public static string Instant(long unixTimeMilliseconds) =>
        DateTimeOffset.FromUnixTimeMilliseconds(unixTimeMilliseconds).ToString("yyyy-MM-dd'T'HH:mm:ss.FFF'Z'", CultureInfo.InvariantCulture);

    // Written only where it says something, so that revisions from before it stay what they were.
    private static string AllDown(AllDownMode mode) => mode == AllDownMode.Classifiers ? "" : $"\n\"all_down\": {Quote(Name(mode))},";

    private static string Rule(RuleConfig rule)
    {
        var text = new StringBuilder();
        text.Append(CultureInfo.InvariantCulture, $"{{\"id\": {Quote(rule.Id.Value)}, \"when\": {Condition(rule.When)}, ");
        text.Append(CultureInfo.InvariantCulture, $"\"action\": {Action(rule.Action.Value, rule.DemoteFactor, rule.Label, rule.MinimumAge)}, ");
        text.Append(CultureInfo.InvariantCulture, $"\"reason\": {Quote(rule.Reason)}, \"severity\": {Quote(Name(rule.Severity))}");
        if (rule.Expires != long.MaxValue)
        {
            text.Append(CultureInfo.InvariantCulture, $", \"expires\": {Quote(Instant(rule.Expires))}");
        }

        return text.Append(rule.Shadow ? ", \"shadow\": true}" : "}").ToString();
    }

    // The default is left out: policies from before there were priorities keep their revisions.
    private static string Priority(int priority) =>
        priority == PolicyParser.DefaultPriority ? "" : $", \"priority\": {priority.ToString(CultureInfo.InvariantCulture)}";

    private static string Limits(Bounds bounds, Func<double, string> number)
    {
        var low = bounds.Low is { } l ? $", \"{(bounds.LowIsExclusive ? "above" : "at_least")}\": {number(l)}" : "";
        var high = bounds.High is { } h ? $", \"{(bounds.HighIsExclusive ? "below" : "at_most")}\": {number(h)}" : "";
        return low + high;
    }

    // The shortest text that reads back as the same number.
    private static string Score(double value) => ((float)value).ToString("R", CultureInfo.InvariantCulture);

    private static string Number(double value) => value.ToString("R", CultureInfo.InvariantCulture);

    private static string Name(Severity severity) => severity switch
    {
        Severity.Low => "low",
        Severity.High => "high",
        Severity.Critical => "critical",
        _ => "medium",
    };

    private static string Name(Durability durability) => durability switch
    {
        Durability.Memory => "memory",
        Durability.Disk => "disk",
        _ => "process",
    };

    private static string Capture(double share) => share switch
    {
        0 => "\"digest\"",
        1 => "\"full\"",
        _ => $"{{\"sampled\": {Number(share)}}}",
    };

    public static string Field(ViewerField field) => field switch
    {
        ViewerField.Territory => "territory",
        ViewerField.AgeBand => "age_band",
        _ => "experiment",
    };

    private static string List(IEnumerable<string> values) => $"[{string.Join(", ", values.Select(Quote))}]";

    // YAML folds these line breaks inside quotes and eats a byte order mark; control characters never get past the parser.
    private static string Quote(string value)
    {
        var text = new StringBuilder("\"");
        foreach (var c in value)
        {
            _ = c switch
            {
                '"' or '\\' => text.Append('\\').Append(c),
                '\u2028' or '\u2029' or '\uFEFF' => text.Append(CultureInfo.InvariantCulture, $"\\u{(int)c:x4}"),
                _ => text.Append(c),
            };
        }

        return text.Append('"').ToString();
    }
}
