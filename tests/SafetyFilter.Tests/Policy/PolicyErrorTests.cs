using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Tests.Policy;

public sealed class PolicyErrorTests
{
    private const string Head = "policy: p\nowner: team\nsurfaces: [s]\nclassifiers: { m/a: { fail: closed } }\n";

    private static readonly Dictionary<string, ClassifierTerms> Known = new(StringComparer.Ordinal)
    {
        ["m/a"] = new(CandidateAction.Block, ["recommendation"], ["*"], null),
        ["m/bait"] = new(CandidateAction.Demote, ["recommendation"], ["s", "t"], new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero)),
    };

    // One rule under a sound head. A caret marks the place of each error, in order.
    [Theory]
    [InlineData("when: { score: m/a, at_least: ^1.3 }", "threshold 1.3 for 'm/a' is outside 0..1. Use a probability.")]
    [InlineData("when: { score: m/a, at_least: ^-0.1 }", "threshold -0.1 for 'm/a' is outside 0..1. Use a probability.")]
    [InlineData("when: { score: m/a, at_least: ^.nan }", "'at_least' is '.nan', not a number. Write digits with a decimal point and without quotes, e.g. 0.92.")]
    [InlineData("when: { score: m/a, at_least: ^92% }", "'at_least' is '92%', not a number. Write digits with a decimal point and without quotes, e.g. 0.92.")]
    [InlineData("when: { score: m/a, at_least: ^'0.9' }", "'at_least' is '0.9', not a number. Write digits with a decimal point and without quotes, e.g. 0.92.")]
    [InlineData("when: { score: m/a, at_least: ^0x1 }", "'at_least' is '0x1', not a number. Write digits with a decimal point and without quotes, e.g. 0.92.")]
    [InlineData("when: ^{ score: m/a, below: 0,^92 }", "no score lies within the bounds for 'm/a'. Swap or widen them.", "unknown key '92' in a score condition. If this is a decimal comma, write a point.")]
    [InlineData("when: ^{ score: m/a, ^at_leest: 0.9 }", "'m/a' is compared with nothing. Give a threshold with at_least, above, below or at_most.", "unknown key 'at_leest' in a score condition. Did you mean 'at_least'?")]
    [InlineData("when: ^{ score: m/a, at_least: 0.9, below: 0.9 }", "no score lies within the bounds for 'm/a'. Swap or widen them.")]
    [InlineData("when: ^{ score: m/a, above: 1 }", "no score lies within the bounds for 'm/a'. Swap or widen them.")]
    [InlineData("when: ^{ score: m/a, at_least: 0 }", "every score lies within the bounds for 'm/a'. Choose a threshold that divides, or write always: true.")]
    [InlineData("when: { score: m/a, at_least: ^0.9, above: 0.8 }", "'m/a' has both 'at_least' and 'above'. Keep one of them.")]
    [InlineData("when: { score: ^m/b, at_least: 0.9 }", "classifier 'm/b' is not declared under 'classifiers'. Did you mean 'm/a'?")]
    [InlineData("when: { score: ^other/thing, at_least: 0.9 }", "classifier 'other/thing' is not declared under 'classifiers'. Declare it with its fail mode: other/thing: { fail: closed }.")]
    [InlineData("when: { ^scor: m/a, at_least: 0.9 }", "'scor' does not begin a condition. Did you mean 'score'?")]
    [InlineData("when: ^{}", "a condition is empty. Write one of score, attribute, language, viewer, all, any, not or always.")]
    [InlineData("when: { all: ^[] }", "'all' is empty. List at least one condition, each behind a dash.")]
    [InlineData("when: { not: ^m/a }", "a condition is 'm/a', not a mapping. Write a mapping with one of score, attribute, language, viewer, all, any, not or always; combine several under all: or any:.")]
    [InlineData("when: { score: m/a, at_least: 0.9, ^viewer: territory }", "a condition has both 'score' and 'viewer'. Put each into its own mapping under all: or any:.")]
    [InlineData("when: { always: ^false }", "'always: false' never matches. Remove the rule, or rehearse it with shadow: true.")]
    [InlineData("when: ^{ attribute: a }", "attribute 'a' is compared with nothing. Use one of in: [...] or equals (text), is (true or false), or at_least, above, below, at_most (numbers).")]
    [InlineData("when: ^{ attribute: a, is: true, above: 3 }", "attribute 'a' is compared in more than one way. Use one of in: [...] or equals (text), is (true or false), or at_least, above, below, at_most (numbers).")]
    [InlineData("when: { attribute: a, in: [^3] }", "'3' is compared as text. Use at_least and at_most for numbers, or put the text in quotes.")]
    [InlineData("when: { attribute: a, equals: ^true }", "'true' is compared as text. Use is: for flags, or put the text in quotes.")]
    [InlineData("when: { attribute: a, is: ^yes }", "'is' is 'yes'. Use true or false.")]
    [InlineData("when: { attribute: a, in: [x, ^x] }", "'x' is listed twice. Keep one of them.")]
    [InlineData("when: { attribute: a, in: [^~] }", "the value is nothing, not text. Write it as text, in quotes where YAML needs them.")]
    [InlineData("when: ^{ attribute: a, above: 2, below: 1 }", "no number lies within the bounds for attribute 'a'. Swap or widen them.")]
    [InlineData("when: { any: [{ attribute: a, is: true }, ^{ attribute: a, in: [x] }] }", "attribute 'a' is compared as text here and as a flag in line 9. A column has one kind: the other comparison would never hold.")]
    [InlineData("when: { viewer: ^teritory, in: [DE] }", "the viewer field is 'teritory'. Did you mean 'territory'? Use one of: territory, age_band, experiment.")]
    [InlineData("when: { viewer: territory, in: [^de] }", "'de' is not a territory. Use two upper-case letters of ISO 3166-1, e.g. DE, or \"\" for unknown.")]
    [InlineData("when: ^{ viewer: territory }", "a viewer condition needs either 'in' or 'equals'. Write e.g. { viewer: territory, in: [DE, AT] }.")]
    [InlineData("when: { language: [^deutsch_] }", "'deutsch_' is not a language. Use a BCP 47 tag such as en or pt-BR, or \"\" for unknown.")]
    [InlineData("action: ^blok", "the action is 'blok'. Did you mean 'block'? Use one of: allow, label, age-restrict, demote, block.")]
    [InlineData("action: ^age_restrict", "the action is 'age_restrict'. Did you mean 'age-restrict'? Use one of: allow, label, age-restrict, demote, block.")]
    [InlineData("action: ^hide", "the action is 'hide'. Use one of: allow, label, age-restrict, demote, block.")]
    [InlineData("action: ^demote", "action 'demote' has no factor. Write action: { demote: 0.4 }.")]
    [InlineData("action: ^label", "action 'label' has no text. Write action: { label: clickbait }.")]
    [InlineData("action: ^age-restrict", "action 'age-restrict' has no minimum age. Write action: { age-restrict: 18 }.")]
    [InlineData("action: { block: ^3 }", "action 'block' takes no parameter. Write action: block.")]
    [InlineData("action: { demote: ^1 }", "demote factor 1 is not between 0 and 1. The ranking score is multiplied by it; to remove a candidate use block.")]
    [InlineData("action: { demote: ^1e-60 }", "demote factor 1e-60 is not between 0 and 1. The ranking score is multiplied by it; to remove a candidate use block.")]
    [InlineData("action: { label: ^}", "the label is nothing, not text. Write it as text, in quotes where YAML needs them.")]
    [InlineData("action: { age-restrict: ^18.5 }", "the minimum age is '18.5'. Use a whole number from 1 to 120.")]
    [InlineData("action: ^{ demote: 0.5, label: x }", "an action is one word or one word with its parameter. Write e.g. action: block or action: { demote: 0.4 }.")]
    [InlineData("action: ^allow", "rule 'r' allows, which any other action outweighs under match: strongest. Use match: first for exceptions, or put the exception as not: into the rules it is about.")]
    public void Compile_WrongRule_SaysWhereWhatAndWhy(string line, params string[] errors)
    {
        var other = line.StartsWith("when", StringComparison.Ordinal) ? "action: block" : "when: { always: true }";
        var yaml = Head + "rules:\n- id: r\n  reason: R\n  " + other + "\n  " + line.Replace("^", "", StringComparison.Ordinal) + "\n";
        var columns = line.Select((c, i) => (c, i)).Where(x => x.c == '^').Select((x, carets) => x.i - carets + 3);

        Assert.Equal(
            columns.Zip(errors, (column, error) => $"p.yaml:9:{column}: {error} (owner: team)"),
            PolicyBench.Compile(yaml, Known).Errors.Select(e => e.ToString()));
    }

    [Theory]
    [InlineData("", "p.yaml:1:1: the file holds no policy. Start with 'policy: <name>', or remove the file. (owner: not named)")]
    [InlineData("# nothing", "p.yaml:1:1: the file holds no policy. Start with 'policy: <name>', or remove the file. (owner: not named)")]
    [InlineData("just text", "p.yaml:1:1: a policy is 'just text', not a mapping. Start with 'policy: <name>', or remove the empty document. (owner: not named)")]
    [InlineData(Head, "p.yaml:1:1: the policy has no 'rules'. Write at least one rule with id, when, action and reason. (owner: team)")]
    [InlineData(Head + "rules: []", "p.yaml:5:8: 'rules' is empty. Write at least one rule with id, when, action and reason. (owner: team)")]
    [InlineData(Head + "rules: none", "p.yaml:5:8: 'rules' is 'none', not a list. Write at least one rule with id, when, action and reason. (owner: team)")]
    [InlineData(Head + "rules: }", "p.yaml:5:8: the YAML cannot be read: * Check indentation, quotes and brackets near here. (owner: team)")]
    [InlineData(Head + "\trules:", "p.yaml:5:1: the YAML cannot be read: while scanning a mapping, found invalid tab as indentation. Indent with spaces. (owner: team)")]
    public void Compile_WrongFile_SaysWhereWhatAndWhy(string yaml, string error)
    {
        var found = Assert.Single(PolicyBench.Compile(yaml).Errors).ToString();

        var parts = error.Split('*');
        Assert.StartsWith(parts[0], found, StringComparison.Ordinal);
        Assert.EndsWith(parts[^1], found, StringComparison.Ordinal);
    }

    [Fact]
    public void Compile_ManyErrors_SaysAllOfThemInTheOrderOfTheFile()
    {
        const string Yaml = """
            policy: for you
            owner: team
            ouner: other
            surfaces: [s, s, t]
            purposes: []
            match: best
            budget_us: 1ms
            schema: safetyfilter.policy/2
            classifiers:
              m/a: { fail: closed }
              m/a: { fail: open }
              hate: { fail: closed }
              m/bate: { fail: shut, priority: 1001 }
              m/bait: {}
            rules:
              - id: default
                when: { score: m/a, at_least: 0.9 }
                action: block
                reason: hate
                severity: hi
              - id: &x twice
                when: { score: m/bait, at_least: 0.9 }
                action: block
                reason: R
                expires: 31.12.2027
                shadow: yes
              - id: twice
                action: block
                reason: R
                when: *x
              - when: { always: true }
            """;
        string[] expected = [
            "1:9: 'policy' 'for you' is not a name. Use letters, digits and . _ - : + without spaces.",
            "3:1: unknown key 'ouner' in a policy. Did you mean 'owner'?",
            "4:15: surface 's' is listed twice. Keep one of them.",
            "5:11: 'purposes' is empty. Write a list with at least one purpose, e.g. purposes: [x].",
            "6:8: 'match' is 'best'. Use one of: strongest, first.",
            "7:12: 'budget_us' is '1ms'. Use a whole number from 50 to 1000000.",
            "8:9: 'schema' is 'safetyfilter.policy/2'. This version reads 'safetyfilter.policy/1'.",
            "11:3: key 'm/a' was already given in line 10. Keep one of them.",
            "12:3: 'hate' is not a classifier. Write bundle/label, e.g. text-safety/hate.",
            "12:3: classifier 'hate' is in no loaded bundle. Use one of: m/a, m/bait.",
            "13:3: classifier 'm/bate' is in no loaded bundle. Did you mean 'm/bait'?",
            "13:19: 'fail' is 'shut'. Use one of: closed, open, last-known.",
            "13:35: 'priority' is '1001'. Use a whole number from 0 to 1000.",
            "14:3: the bundle of classifier 'm/bait' expired at 2026-01-01 00:00:00Z. Load a newer version of the bundle.",
            "14:11: classifier 'm/bait' has no 'fail'. Say what a missing score means: fail: closed (as 1), fail: open (as 0) or fail: { last-known: closed }.",
            "16:9: rule id 'default' is what records call 'no rule matched'. Choose another id.",
            "19:13: reason 'hate' is not a code. Use upper-case letters, digits and underscores, e.g. HATE_SPEECH.",
            "20:15: 'severity' is 'hi'. Use one of: low, medium, high, critical.",
            "21:9: anchor '&x' is not part of the policy language. Remove it.",
            "22:11: rule 'twice' would block by 'm/bait', whose bundle goes no further than demote. Use demote or a weaker action, or another classifier.",
            "25:14: 'expires' is '31.12.2027', not a date. Write a day as 2027-12-31 or an instant as 2027-12-31T18:00:00Z.",
            "26:13: 'shadow' is 'yes'. Use true or false.",
            "27:9: rule id 'twice' is already in line 21. Give each rule of a policy its own id.",
            "30:11: a condition is '*x', not a mapping. Write a mapping with one of score, attribute, language, viewer, all, any, not or always; combine several under all: or any:.",
            "30:11: alias '*x' is not part of the policy language. Write the value out.",
            "31:5: the rule has no 'id'. Give it an id that is unique in its policy: records name rules by it.",
            "31:5: the rule has no 'action'. Use block, { demote: 0.5 }, { age-restrict: 18 }, { label: text } or allow.",
            "31:5: the rule has no 'reason'. Give the reason code that answers and records carry, e.g. HATE.",
        ];

        var (snapshot, errors) = PolicyCompiler.Compile([new PolicySource("p.yaml", Yaml)], Known, PolicyBench.Now);

        Assert.Null(snapshot);
        Assert.Equal(expected.Order(StringComparer.Ordinal), errors.Select(Short).Order(StringComparer.Ordinal));
        Assert.Equal(errors.Select(e => e.At), errors.Select(e => e.At).OrderBy(at => at.Line).ThenBy(at => at.Column));
    }

    [Fact]
    public void Compile_PoliciesInEachOthersWay_NamesBothPlaces()
    {
        const string Rules = "rules: [{ id: r, when: { always: true }, action: block, reason: R }]\n";
        PolicySource[] sources = [new("b.yaml", Head + Rules), new("a.yaml", Head + Rules + "---\n" + Head.Replace("[s]", "[t, s]", StringComparison.Ordinal) + Rules)];

        Assert.Equal(
            [
                "a.yaml:7:9: policy 'p' is already in a.yaml:1. Each policy has one place; remove one. (owner: team)",
                "a.yaml:9:15: surface 's' is already in a.yaml:3. Each surface has one place; remove one. (owner: team)",
                "b.yaml:1:9: policy 'p' is already in a.yaml:1. Each policy has one place; remove one. (owner: team)",
                "b.yaml:3:12: surface 's' is already in a.yaml:3. Each surface has one place; remove one. (owner: team)",
            ],
            PolicyCompiler.Compile(sources, null).Errors.Select(e => e.ToString()));
    }

    [Theory]
    [InlineData("first", "allow", "block")]
    [InlineData("first", "block", "allow")]
    [InlineData("strongest", "block", "{ demote: 0.5 }")]
    public void Compile_RuleBehindOneThatAlwaysMatches_CanNeverDecide(string match, string always, string other)
    {
        var yaml = Head + $$"""
            match: {{match}}
            rules:
              - { id: all, when: { always: true }, action: {{always}}, reason: R }
              - { id: never, when: { score: m/a, above: 0.5 }, action: {{other}}, reason: R }
              - { id: rehearsed, when: { score: m/a, above: 0.5 }, action: block, reason: R, shadow: true }
            """;

        Assert.Equal(
            "8:11: rule 'never' can never decide: 'all' always matches and comes before it. Remove it, or give the other one a condition.",
            Short(Assert.Single(PolicyBench.Compile(yaml).Errors)));
        Assert.Empty(PolicyBench.Compile(yaml.Replace("always: true", "score: m/a, below: 1", StringComparison.Ordinal)).Errors);
    }

    [Fact]
    public void Compile_BundleMayNotServe_NamesWhatItMay()
    {
        const string Yaml = """
            policy: p
            owner: team
            surfaces: [s, kids]
            purposes: [ads]
            classifiers: { m/bait: { fail: open } }
            rules: [{ id: r, when: { score: m/bait, above: 0.5 }, action: { label: x }, reason: R }]
            """;

        Assert.Equal(
            [
                "5:16: the bundle of classifier 'm/bait' may not serve surface 'kids'. It may serve: s, t.",
                "5:16: the bundle of classifier 'm/bait' may not serve purpose 'ads'. It may serve: recommendation.",
            ],
            PolicyBench.Compile(Yaml, Known).Errors.Select(Short));
    }

    private static string Short(PolicyError e) => $"{e.At.Line}:{e.At.Column}: {e.Problem}. {e.Remedy}";
}
