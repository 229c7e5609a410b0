using System.Text.Json;
using SafetyFilter.Audit;
using SafetyFilter.Decisions;

namespace SafetyFilter.Cli.Audit;

/// <summary>The answer of <c>audit whatif --json</c>.</summary>
internal static class WhatIfJson
{
    public static string Write(WhatIfReport report, ScanDamage damage, GroupShare? shared) => JsonText.Write(json =>
    {
        json.WriteNumber("decisions", report.Decisions);
        json.WriteNumber("candidates", report.Candidates);
        json.WriteNumber("changed", report.Changed);
        json.WriteNumber("changed_by_expiry", report.ChangedByExpiry);
        json.WriteNumber("other_surfaces", report.Elsewhere);
        DamageLine.Write(json, damage);
        shared?.Write(json, "read");
        json.WriteStartArray("surfaces");
        foreach (var (name, surface) in report.Surfaces)
        {
            json.WriteStartObject();
            json.WriteString("surface", name);
            json.WriteNumber("decisions", surface.Decisions);
            WriteCounts(json, "recorded", surface.Before);
            WriteCounts(json, "what_if", surface.After);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("changes");
        foreach (var (change, group) in report.Changes
            .OrderByDescending(static one => one.Value.Count)
            .ThenBy(static one => one.Key.ToString(), StringComparer.Ordinal))
        {
            WriteChange(json, change, group);
        }

        json.WriteEndArray();
        json.WriteStartArray("not_recomputable");
        foreach (var (reason, count) in report.NotRecomputable)
        {
            json.WriteStartObject();
            json.WriteString("reason", reason);
            json.WriteNumber("decisions", count);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });

    private static void WriteChange(Utf8JsonWriter json, in WhatIfChange change, WhatIfGroup group)
    {
        json.WriteStartObject();
        json.WriteString("surface", change.Surface);
        json.WriteString("old_rule", change.OldRule);
        json.WriteString("new_rule", change.NewRule);
        json.WriteString("old_action", Name(change.OldAction));
        json.WriteString("new_action", Name(change.NewAction));
        json.WriteString("direction", Name(change.Direction));
        json.WriteNumber("candidates", group.Count);
        json.WriteStartArray("examples");
        foreach (var example in group.Examples)
        {
            json.WriteStartObject();
            json.WriteString("stream", example.Stream.ToString("N"));
            json.WriteNumber("sequence", example.Sequence);
            json.WriteString("request_id", example.RequestId);
            json.WriteString("candidate_id", example.CandidateId);
            json.WriteStartObject("scores");
            foreach (var (classifier, score) in example.Scores)
            {
                json.WriteScore(classifier, score);
            }

            json.WriteEndObject();
            json.WriteString("old_condition", example.OldCondition);
            json.WriteString("new_condition", example.NewCondition);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteCounts(Utf8JsonWriter json, string name, long[] counts)
    {
        json.WriteStartObject(name);
        for (var action = CandidateAction.Allow; action <= CandidateAction.Block; action++)
        {
            json.WriteNumber(Name(action), counts[(int)action]);
        }

        json.WriteEndObject();
    }

    private static string Name<T>(T value)
        where T : struct, Enum => JsonNamingPolicy.SnakeCaseLower.ConvertName(value.ToString());
}
