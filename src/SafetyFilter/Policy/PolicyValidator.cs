using System.Globalization;
using SafetyFilter.Decisions;

namespace SafetyFilter.Policy;

/// <summary>Checks policies against themselves, against each other and against the classifiers there are.</summary>
internal static class PolicyValidator
{
    private const int MaxAttributes = 32;
    private const int MaxComparisons = 4096;

    public static void Validate(List<PolicyConfig> policies, IReadOnlyDictionary<string, ClassifierTerms>? known, DateTimeOffset? now)
    {
        CheckUnique(policies, "policy", policy => [policy.Name]);
        CheckUnique(policies, "surface", policy => policy.Surfaces);
        foreach (var policy in policies)
        {
            CheckRuleIds(policy);
            CheckScores(policy);
            CheckAttributes(policy);
            CheckRecord(policy);
            CheckFailModes(policy);
            CheckOrder(policy);
            if (known is not null)
            {
                CheckTerms(policy, known, now);
            }
        }
    }

    private static void CheckUnique(List<PolicyConfig> policies, string what, Func<PolicyConfig, List<Located<string>>> names)
    {
        var seen = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var policy in policies)
        {
            foreach (var (name, at) in names(policy))
            {
                if (!string.IsNullOrEmpty(name) && !seen.TryAdd(name, $"{policy.File}:{Text(at.Line)}"))
                {
                    policy.Errors.Add(at, name, $"{what} '{name}' is already in {seen[name]}", $"Each {what} has one place; remove one.");
                }
            }
        }
    }

    private static void CheckRuleIds(PolicyConfig policy)
    {
        var lines = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var (id, at) in policy.Rules.Select(rule => rule.Id))
        {
            if (!string.IsNullOrEmpty(id) && !lines.TryAdd(id, at.Line))
            {
                policy.Errors.Add(at, id, $"rule id '{id}' is already in line {Text(lines[id])}", "Give each rule of a policy its own id.");
            }
        }
    }

    private static void CheckScores(PolicyConfig policy)
    {
        var declared = policy.Classifiers.Select(c => c.Name.Value).ToHashSet(StringComparer.Ordinal);
        foreach (var score in Scores(policy).Select(use => use.Score))
        {
            var name = score.Classifier.Value;
            if (name.Length > 0 && !declared.Contains(name))
            {
                var closest = Suggestion.Closest(name, declared);
                policy.Errors.Add(
                    score.Classifier.At,
                    name,
                    $"classifier '{name}' is not declared under 'classifiers'",
                    closest is null ? $"Declare it with its fail mode: {name}: {{ fail: closed }}." : $"Did you mean '{closest}'?");
            }
        }
    }

    private static void CheckAttributes(PolicyConfig policy)
    {
        var first = new Dictionary<string, (AttributeKind Kind, int Line)>(StringComparer.Ordinal);
        var leaves = policy.Rules.SelectMany(rule => PolicyCompiler.Leaves(rule.When)).ToList();
        foreach (var leaf in leaves)
        {
            if (PolicyCompiler.AttributeOf(leaf) is not { } attribute || first.TryAdd(attribute.Name, (attribute.Kind, leaf.At.Line)))
            {
                continue;
            }

            var (kind, line) = first[attribute.Name];
            if (kind != attribute.Kind)
            {
                policy.Errors.Add(
                    leaf.At,
                    attribute.Name,
                    $"attribute '{attribute.Name}' is compared as {Kind(attribute.Kind)} here and as {Kind(kind)} in line {Text(line)}",
                    "A column has one kind: the other comparison would never hold.");
            }
        }

        if (first.Count > MaxAttributes)
        {
            policy.Errors.Add(policy.At, "", $"the policy reads {Text(first.Count)} attributes; a request carries at most {Text(MaxAttributes)}", "Read fewer.");
        }

        if (leaves.Count > MaxComparisons)
        {
            policy.Errors.Add(policy.At, "", $"the policy makes {Text(leaves.Count)} comparisons, more than {Text(MaxComparisons)}", "Split it by surface.");
        }
    }

    // A record has no other attributes: whoever writes another one has misspelt the one that matters.
    private static void CheckRecord(PolicyConfig policy)
    {
        var read = policy.Rules
            .SelectMany(rule => PolicyCompiler.Leaves(rule.When))
            .Select(leaf => PolicyCompiler.AttributeOf(leaf)?.Name)
            .OfType<string>()
            .ToHashSet(StringComparer.Ordinal);
        foreach (var (name, at) in policy.Record.Attributes.Where(attribute => !read.Contains(attribute.Value)))
        {
            policy.Errors.Add(
                at,
                RecordPaths.AttributePrefix + name,
                $"no rule reads attribute '{name}', so that no record has it",
                Suggestion.Closest(name, read) is { } closest ? $"Did you mean '{RecordPaths.AttributePrefix}{closest}'?" : "Remove it.");
        }
    }

    /// <summary>Finds fail modes that contradict each other, and written rules with the names of those that follow from them.</summary>
    private static void CheckFailModes(PolicyConfig policy)
    {
        var hard = policy.Classifiers.Find(c => c.Hard.Value);
        foreach (var (name, _, _, at, _) in policy.Classifiers.Where(c => c.Hard.Value && c.Missing == FailMode.Open))
        {
            policy.Errors.Add(
                at.At,
                name.Value,
                $"classifier '{name.Value}' is hard and fails open: a missing score would block, and count as 0",
                "Write fail: closed or fail: { last-known: closed }, or remove hard: true.");
        }

        var (mode, down) = policy.AllDown;
        if (mode == AllDownMode.Allow && hard is not null)
        {
            policy.Errors.Add(
                down,
                "allow",
                $"all_down: allow would show what the hard classifier '{hard.Name.Value}' gave no score",
                "Use all_down: block, refuse or classifiers, or remove hard: true.");
        }

        if (mode != AllDownMode.Classifiers && policy.Classifiers.Count == 0)
        {
            policy.Errors.Add(down, PolicyCanonical.Name(mode), "the policy has no classifiers that could be down", "Remove 'all_down'.");
        }

        RefuseRule(SurfacePolicy.UnscoredRuleId, hard is not null, "what hard classifiers gave no score is blocked by it");
        RefuseRule(SurfacePolicy.AllDownRuleId, mode is AllDownMode.Block or AllDownMode.Allow, "all_down decides by it");

        void RefuseRule(string id, bool taken, string meaning)
        {
            if (taken && policy.Rules.Find(rule => rule.Id.Value == id) is { } rule)
            {
                policy.Errors.Add(rule.Id.At, id, $"rule id '{id}' is taken: {meaning}", "Choose another id.");
            }
        }
    }

    /// <summary>Finds rules that can never decide.</summary>
    private static void CheckOrder(PolicyConfig policy)
    {
        var deciding = policy.Rules.Where(rule => !rule.Shadow && rule.Action.Value != default);
        if (policy.Match == MatchMode.Strongest)
        {
            foreach (var rule in deciding.Where(rule => rule.Action.Value == CandidateAction.Allow))
            {
                policy.Errors.Add(
                    rule.Action.At,
                    "allow",
                    $"rule '{rule.Id.Value}' allows, which any other action outweighs under match: strongest",
                    "Use match: first for exceptions, or put the exception as not: into the rules it is about.");
            }

            deciding = PolicyCompiler.StrongestFirst(
                deciding, rule => SurfacePolicy.DefaultRule with { Action = rule.Action.Value, DemoteFactor = rule.DemoteFactor, MinimumAge = rule.MinimumAge });
        }

        RuleConfig? unconditional = null;
        foreach (var rule in deciding)
        {
            // Under match: strongest an allow rule was refused above already.
            if (unconditional is not null && (rule.Action.Value != CandidateAction.Allow || policy.Match == MatchMode.First))
            {
                policy.Errors.Add(
                    rule.Id.At,
                    rule.Id.Value ?? "",
                    $"rule '{rule.Id.Value}' can never decide: '{unconditional.Id.Value}' always matches and comes before it",
                    "Remove it, or give the other one a condition.");
            }

            unconditional ??= rule is { When: AlwaysConfig, Expires: long.MaxValue } ? rule : null;
        }
    }

    private static void CheckTerms(PolicyConfig policy, IReadOnlyDictionary<string, ClassifierTerms> known, DateTimeOffset? now)
    {
        foreach (var (name, at) in policy.Classifiers.Select(c => c.Name))
        {
            if (!known.TryGetValue(name, out var terms))
            {
                policy.Errors.Add(at, name, $"classifier '{name}' is in no loaded bundle", Suggestion.For(name, [.. known.Keys]));
                continue;
            }

            if (terms.Expires is { } expires && now >= expires)
            {
                var day = expires.UtcDateTime.ToString("u", CultureInfo.InvariantCulture);
                policy.Errors.Add(at, name, $"the bundle of classifier '{name}' expired at {day}", "Load a newer version of the bundle.");
            }

            CheckServes(policy, at, name, "surface", policy.Surfaces, terms.Surfaces);
            CheckServes(policy, at, name, "purpose", policy.Purposes, terms.Purposes);
        }

        foreach (var classifier in policy.Classifiers.Where(c => c.Hard.Value))
        {
            if (known.TryGetValue(classifier.Name.Value, out var terms) && terms.MaxAction < CandidateAction.Block)
            {
                policy.Errors.Add(
                    classifier.Hard.At,
                    classifier.Name.Value,
                    $"classifier '{classifier.Name.Value}' is hard, which blocks, and its bundle goes no further than {Name(terms.MaxAction)}",
                    "Remove hard: true, or use another classifier.");
            }
        }

        foreach (var (rule, score) in Scores(policy))
        {
            if (known.TryGetValue(score.Classifier.Value, out var terms) && rule.Action.Value > terms.MaxAction)
            {
                policy.Errors.Add(
                    score.At,
                    score.Classifier.Value,
                    $"rule '{rule.Id.Value}' would {Name(rule.Action.Value)} by '{score.Classifier.Value}', whose bundle goes no further than {Name(terms.MaxAction)}",
                    $"Use {Name(terms.MaxAction)} or a weaker action, or another classifier.");
            }
        }
    }

    private static void CheckServes(
        PolicyConfig policy, Position at, string classifier, string what, List<Located<string>> asked, IReadOnlyCollection<string> served)
    {
        foreach (var (name, _) in asked)
        {
            if (!served.Contains("*") && !served.Contains(name))
            {
                policy.Errors.Add(
                    at,
                    classifier,
                    $"the bundle of classifier '{classifier}' may not serve {what} '{name}'",
                    served.Count == 0 ? "It may serve none." : $"It may serve: {string.Join(", ", served.Order(StringComparer.Ordinal))}.");
            }
        }
    }

    private static IEnumerable<(RuleConfig Rule, ScoreConfig Score)> Scores(PolicyConfig policy) =>
        policy.Rules.SelectMany(rule => PolicyCompiler.Leaves(rule.When).OfType<ScoreConfig>(), (rule, score) => (rule, score));

    private static string Name(CandidateAction action) => action == CandidateAction.AgeRestrict ? "age-restrict" : action.ToString().ToLowerInvariant();

    private static string Kind(AttributeKind kind) => kind switch
    {
        AttributeKind.Strings => "text",
        AttributeKind.Numbers => "a number",
        _ => "a flag",
    };

    private static string Text(int value) => value.ToString(CultureInfo.InvariantCulture);
}
