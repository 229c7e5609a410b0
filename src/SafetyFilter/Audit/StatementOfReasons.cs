using System.Globalization;
using System.Text.Json;
using SafetyFilter.Decisions;

namespace SafetyFilter.Audit;

/// <summary>What a platform says of all its statements, and how its reason codes fall into the database's categories.</summary>
/// <param name="Categories">Reason code -> STATEMENT_CATEGORY_*.</param>
/// <param name="ContentTypes">CONTENT_TYPE_*.</param>
/// <param name="Territories">Two-letter codes of EU/EEA countries, in order: where the restriction holds.</param>
/// <param name="ContentDate">When the content was posted; null takes the attribute, else the day of the decision.</param>
/// <param name="ContentDateAttribute">A recorded text attribute with the date, YYYY-MM-DD, per candidate; null for none.</param>
internal sealed record StatementOptions(
    IReadOnlyDictionary<string, string> Categories,
    IReadOnlyList<string> ContentTypes,
    IReadOnlyList<string> Territories,
    DateOnly? ContentDate,
    string? ContentDateAttribute);

/// <summary>
/// A restriction as the EU's DSA Transparency Database takes it (transparency.dsa.ec.europa.eu/page/api-documentation, schema of
/// July 2025). It carries nothing of the viewer, the request, the caller or the candidate's id.
/// </summary>
internal static class StatementOfReasons
{
    /// <summary>The member states of the European Union, as the database wants them listed.</summary>
    public static IReadOnlyList<string> EuropeanUnion { get; } =
    [
        "AT", "BE", "BG", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GR", "HR", "HU", "IE", "IT", "LT", "LU", "LV", "MT", "NL", "PL", "PT",
        "RO", "SE", "SI", "SK",
    ];

    /// <summary>A category for each reason code of the reference policies. A reason that is not here is another violation of the terms.</summary>
    public static IReadOnlyDictionary<string, string> DefaultCategories { get; } = new SortedDictionary<string, string>(StringComparer.Ordinal)
    {
        ["CLICKBAIT"] = "STATEMENT_CATEGORY_OTHER_VIOLATION_TC",
        ["ELECTION_INTEGRITY"] = "STATEMENT_CATEGORY_NEGATIVE_EFFECTS_ON_CIVIC_DISCOURSE_OR_ELECTIONS",
        ["HARASSMENT"] = "STATEMENT_CATEGORY_CYBER_VIOLENCE",
        ["HATE"] = "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH",
        ["PROMPT_INJECTION"] = "STATEMENT_CATEGORY_OTHER_VIOLATION_TC",
        ["SPAM"] = "STATEMENT_CATEGORY_SCAMS_AND_FRAUD",
        ["TOXICITY"] = "STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH",
        ["YOUTH_PROTECTION"] = "STATEMENT_CATEGORY_PROTECTION_OF_MINORS",
    };

    public const string OtherCategory = "STATEMENT_CATEGORY_OTHER_VIOLATION_TC";

    /// <summary>Unique and always the same for one candidate of one decision; it leads the platform back to the record and nobody else to a person.</summary>
    public static string PuidOf(RecordedDecision record, int candidate) =>
        string.Create(CultureInfo.InvariantCulture, $"{record.Stream:N}-{record.Sequence}-{candidate}");

    public static void Write(Utf8JsonWriter json, RecordedDecision record, int candidate, StatementOptions options)
    {
        var rule = record.Rules[(int)record.RuleIndexes[candidate]];
        var reason = record.Text(rule.ReasonCode);
        var day = DateOnly.FromDateTime(record.Time.UtcDateTime);
        json.WriteStartObject();
        WriteList(json, "decision_visibility", [Visibility(rule.Action)]);
        json.WriteString("decision_ground", "DECISION_GROUND_INCOMPATIBLE_CONTENT");
        json.WriteString("incompatible_content_ground", $"Policy '{record.Text(record.Policy)}', rule '{record.Text(rule.Id)}' ({reason})");
        json.WriteString("incompatible_content_explanation", Explanation(record, rule, reason));
        WriteList(json, "content_type", options.ContentTypes);
        json.WriteString("category", options.Categories.GetValueOrDefault(reason, OtherCategory));
        WriteList(json, "territorial_scope", options.Territories);
        json.WriteString("content_date", Day(ContentDate(record, candidate, options) ?? day));
        json.WriteString("application_date", Day(day));
        json.WriteString("decision_facts", Facts(record, candidate, rule, reason));
        json.WriteString("source_type", "SOURCE_VOLUNTARY");
        json.WriteString("automated_detection", "Yes");
        json.WriteString("automated_decision", "AUTOMATED_DECISION_FULLY");
        json.WriteString("puid", PuidOf(record, candidate));
        json.WriteEndObject();
    }

    private static string Visibility(CandidateAction action) => action switch
    {
        CandidateAction.Label => "DECISION_VISIBILITY_CONTENT_LABELLED",
        CandidateAction.AgeRestrict => "DECISION_VISIBILITY_CONTENT_AGE_RESTRICTED",
        CandidateAction.Demote => "DECISION_VISIBILITY_CONTENT_DEMOTED",

        // A filter beside a ranker deletes nothing: the content stays, and is not shown here.
        _ => "DECISION_VISIBILITY_CONTENT_DISABLED",
    };

    private static string Explanation(RecordedDecision record, in RecordedRule rule, string reason) =>
        $"On the surface '{record.Text(record.Batch.Surface)}' the platform's policy '{record.Text(record.Policy)}' does not show content of the kind {reason} without restriction: "
        + $"{ConditionWords.Action(rule.Action, rule.DemoteFactor, record.Text(rule.Label), rule.MinimumAge)}.";

    private static string Facts(RecordedDecision record, int candidate, in RecordedRule rule, string reason)
    {
        var cause = record.Bases[candidate] == Basis.FailedClosed
            ? "An automated classifier that the policy relies on gave no result for this content, and the policy then restricts content as a precaution: "
                + "the restriction need not rest on an assessment of the content."
            : "Automated classifiers assessed the content, without human review.";
        var rest = record.Bases[candidate] switch
        {
            Basis.FailedOpen => " At least one classifier gave no result and was left out of account.",
            Basis.LastKnown => " At least one result is an earlier one for the same version of the content.",
            _ => "",
        };
        return $"{cause}{rest} The rule '{record.Text(rule.Id)}' of the policy (reason {reason}) applied. "
            + $"The content's visibility in recommendations on '{record.Text(record.Batch.Surface)}' was restricted for this request: "
            + $"{ConditionWords.Action(rule.Action, rule.DemoteFactor, record.Text(rule.Label), rule.MinimumAge)}.";
    }

    private static DateOnly? ContentDate(RecordedDecision record, int candidate, StatementOptions options)
    {
        if (options.ContentDateAttribute is { } name
            && record.Batch.FindAttribute(System.Text.Encoding.UTF8.GetBytes(name)) is { Kind: AttributeKind.Strings } column && candidate < column.Strings.Count
            && DateOnly.TryParseExact(record.Text(column.Strings[candidate]), "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var date))
        {
            return date;
        }

        return options.ContentDate;
    }

    private static string Day(DateOnly day) => day.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);

    private static void WriteList(Utf8JsonWriter json, string name, IReadOnlyList<string> values)
    {
        json.WriteStartArray(name);
        foreach (var value in values)
        {
            json.WriteStringValue(value);
        }

        json.WriteEndArray();
    }
}
