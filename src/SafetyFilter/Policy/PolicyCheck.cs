using System.Collections.Immutable;
using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>`policy check`: says everything that is wrong with policy files, or what each surface does if nothing is.</summary>
/// <param name="output">Gets the report.</param>
/// <param name="error">Gets what is wrong with the call itself.</param>
internal sealed class PolicyCheck(TextWriter output, TextWriter error)
{
    public const int Fine = 0;
    public const int HasErrors = 1;
    public const int WrongUsage = 2;

    // For files and terminals, not for HTML: quotes and other scripts stay readable.
    private static readonly JsonWriterOptions JsonOptions = new() { Indented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <param name="paths">Policy files and folders of policy files. They are checked together, as one set.</param>
    /// <param name="known">The classifiers there are; null for a check without models.</param>
    public int Run(IReadOnlyList<string> paths, IReadOnlyDictionary<string, ClassifierTerms>? known, bool json, DateTimeOffset now)
    {
        var sources = new List<PolicySource>();
        var unreadable = new List<PolicyError>();
        if (paths.Count == 0)
        {
            error.WriteLine("Name at least one policy file or folder.");
            return WrongUsage;
        }

        foreach (var path in paths)
        {
            if (!File.Exists(path) && !Directory.Exists(path))
            {
                error.WriteLine($"'{path}' does not exist. Name a policy file, or a folder of them.");
                return WrongUsage;
            }

            var (read, errors) = Directory.Exists(path) ? PolicySource.ReadFolder(path) : PolicySource.ReadFiles([path]);
            sources.AddRange(read);
            unreadable.AddRange(errors);
        }

        var compiled = sources.Count == 0 ? new PolicyCompilation(null, []) : PolicyCompiler.Compile(sources, known, now);
        ImmutableArray<PolicyError> allErrors = [.. unreadable, .. compiled.Errors];
        if (json)
        {
            WriteJson(allErrors, compiled.Snapshot, now);
        }
        else if (allErrors.IsEmpty)
        {
            WriteSummary(compiled.Snapshot!, modelsKnown: known is not null, now);
        }
        else
        {
            foreach (var e in allErrors)
            {
                output.WriteLine(e);
            }

            output.WriteLine($"{Count(allErrors.Length, "error")}. Nothing would be loaded.");
        }

        return allErrors.IsEmpty ? Fine : HasErrors;
    }

    private void WriteSummary(PolicySnapshot snapshot, bool modelsKnown, DateTimeOffset now)
    {
        foreach (var policy in snapshot.Policies)
        {
            output.WriteLine($"{string.Join(", ", policy.Surfaces)}: policy {policy.Name}, revision {policy.Revision[..12]}, owner {policy.Owner}");
            output.WriteLine($"  serves {string.Join(", ", policy.Purposes)}; {Mode(policy.Match)} match decides; budget {policy.BudgetMicros} us{Group(policy.BreakerGroup)}");
            foreach (var mode in new[] { FailMode.Closed, FailMode.Open })
            {
                var names = policy.Classifiers.Where(c => c.FailMode == mode).Select(c => c.Name).ToList();
                if (names.Count > 0)
                {
                    output.WriteLine($"  fails {Name(mode)}: {string.Join(", ", names)}");
                }
            }

            WriteRules([.. policy.Rules.Skip(1)], "", now);
            WriteRules(policy.ShadowRules, " (shadow)", now);
            output.WriteLine($"  record {PolicyCanonical.Record(policy.Record)}");
            if (Note(policy.Withheld) is { } note)
            {
                output.WriteLine($"  note: {note}");
            }

            output.WriteLine();
        }

        output.WriteLine(
            $"{Count(snapshot.Surfaces.Length, "surface")}, {Count(snapshot.Policies.Length, "policy")}, no errors." +
            (modelsKnown ? "" : " Checked without models: whether the classifiers exist is not known."));
    }

    private void WriteRules(ImmutableArray<RuleInfo> rules, string mark, DateTimeOffset now)
    {
        foreach (var rule in rules)
        {
            var action = rule.Action switch
            {
                CandidateAction.Label => $"label {rule.Label}",
                CandidateAction.AgeRestrict => $"age-restrict {rule.MinimumAge}",
                CandidateAction.Demote => string.Create(CultureInfo.InvariantCulture, $"demote x{rule.DemoteFactor:R}"),
                _ => Name(rule.Action),
            };
            output.WriteLine($"  {action,-24} {rule.ReasonCode,-20} {Name(rule.Severity),-8} {rule.Id}{mark}{Expiry(rule, now)}");
        }
    }

    private void WriteJson(ImmutableArray<PolicyError> errors, PolicySnapshot? snapshot, DateTimeOffset now)
    {
        using var buffer = new MemoryStream();
        using (var json = new Utf8JsonWriter(buffer, JsonOptions))
        {
            json.WriteStartObject();
            json.WriteBoolean("ok", errors.IsEmpty);
            json.WriteStartArray("errors");
            foreach (var e in errors)
            {
                json.WriteStartObject();
                json.WriteString("file", e.File);
                json.WriteNumber("line", e.At.Line);
                json.WriteNumber("column", e.At.Column);
                json.WriteString("value", e.Value);
                json.WriteString("problem", e.Problem);
                json.WriteString("remedy", e.Remedy);
                json.WriteString("owner", e.Owner);
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("surfaces");
            foreach (var policy in errors.IsEmpty && snapshot is not null ? snapshot.Surfaces : [])
            {
                WriteJson(json, policy, now);
            }

            json.WriteEndArray();
            json.WriteEndObject();
        }

        output.WriteLine(Encoding.UTF8.GetString(buffer.ToArray()));
    }

    private static void WriteJson(Utf8JsonWriter json, SurfacePolicy policy, DateTimeOffset now)
    {
        json.WriteStartObject();
        json.WriteString("surface", policy.Surface);
        json.WriteString("policy", policy.Name);
        json.WriteString("revision", policy.Revision);
        json.WriteString("owner", policy.Owner);
        json.WriteString("match", Mode(policy.Match));
        json.WriteNumber("budget_us", policy.BudgetMicros);
        json.WriteString("breaker_group", policy.BreakerGroup);
        json.WriteStartArray("purposes");
        foreach (var purpose in policy.Purposes)
        {
            json.WriteStringValue(purpose);
        }

        json.WriteEndArray();
        json.WriteStartObject("classifiers");
        foreach (var classifier in policy.Classifiers)
        {
            json.WriteString(classifier.Name, Name(classifier.FailMode));
        }

        json.WriteEndObject();
        json.WriteStartArray("rules");
        foreach (var (rule, shadow) in policy.Rules.Skip(1).Select(r => (r, false)).Concat(policy.ShadowRules.Select(r => (r, true))))
        {
            json.WriteStartObject();
            json.WriteString("id", rule.Id);
            json.WritePropertyName("action");
            json.WriteRawValue(PolicyCanonical.Action(rule.Action, rule.DemoteFactor, rule.Label, rule.MinimumAge));
            json.WriteString("reason", rule.ReasonCode);
            json.WriteString("severity", Name(rule.Severity));
            json.WriteBoolean("shadow", shadow);
            if (rule.Expires != long.MaxValue)
            {
                json.WriteString("expires", PolicyCanonical.Instant(rule.Expires));
                json.WriteBoolean("expired", now.ToUnixTimeMilliseconds() >= rule.Expires);
            }

            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WritePropertyName("record");
        json.WriteRawValue(PolicyCanonical.Record(policy.Record));
        json.WriteStartArray("notes");
        if (Note(policy.Withheld) is { } note)
        {
            json.WriteStringValue(note);
        }

        json.WriteEndArray();
        json.WriteEndObject();
    }

    // Not an error: whoever answers for the policy may want it so.
    private static string? Note(ImmutableArray<string> withheld) => withheld.IsEmpty ? null
        : $"rules read {string.Join(", ", withheld)}, which records do not show: decisions that depend on it cannot be computed again from their records";

    private static string Expiry(RuleInfo rule, DateTimeOffset now) =>
        rule.Expires == long.MaxValue ? ""
        : now.ToUnixTimeMilliseconds() >= rule.Expires ? $" (EXPIRED {PolicyCanonical.Instant(rule.Expires)}: no longer matches)"
        : $" (until {PolicyCanonical.Instant(rule.Expires)})";

    private static string Count(int count, string what) => count == 1 ? $"1 {what}"
        : what.EndsWith('y') ? $"{count} {what[..^1]}ies"
        : $"{count} {what}s";

    private static string Group(string group) => group == PolicyParser.DefaultBreakerGroup ? "" : $"; breakers of group {group}";

    private static string Mode(MatchMode mode) => mode == MatchMode.First ? "first" : "strongest";

    private static string Name<T>(T value)
        where T : struct, Enum => value.ToString().ToLowerInvariant();
}
