using System.Globalization;
using CsCheck;
using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Tests.Policy;

/// <summary>What must hold of every policy, checked over random ones.</summary>
public sealed class PolicyPropertyTests
{
    private static readonly string[] Tiers = ["new", "gold", "NO", ""];
    private static readonly string[] Languages = ["de", "de-CH", "en", "NO", ""];
    private static readonly string[] Territories = ["DE", "us", "NO", ""];

    // Few different numbers, so that scores often stand exactly on thresholds.
    private static readonly Gen<float> Thresholds = Gen.OneOf(0.1f, 0.25f, 0.3f, 0.5f, 0.75f, 0.9f, 0.92f);
    private static readonly Gen<float> Scores = Gen.OneOf(
        Thresholds, Thresholds.Select(MathF.BitIncrement), Thresholds.Select(MathF.BitDecrement), Gen.Float.Unit, Gen.OneOf(0f, 1f, float.NaN));

    private static readonly Gen<Formula> Rising = Gen.Select(Gen.OneOf("m/a", "m/b", "m/c"), Gen.OneOf("at_least", "above"), Thresholds)
        .Select((name, op, threshold) => (Formula)new Compare(name, op, threshold));

    private static readonly Gen<Formula> Leaves = Gen.OneOf(
        Rising,
        Gen.Select(Gen.OneOf("m/a", "m/b", "m/c"), Gen.OneOf("at_most", "below"), Thresholds)
            .Select((name, op, threshold) => (Formula)new Compare(name, op, threshold)),
        Gen.OneOf(Tiers).Select(tier => (Formula)new Text(tier)),
        Gen.OneOf(1, 2.5, 7).Select(number => (Formula)new Number(number)),
        Gen.Bool.Select(flag => (Formula)new Flag(flag)),
        Gen.OneOf("de", "de-ch", "no").Select(range => (Formula)new Language(range)),
        Gen.OneOf("DE", "US", "").Select(territory => (Formula)new Territory(territory)),
        Gen.Const((Formula)new Always()));

    private static readonly Gen<(Case Case, Row[] Rows)> Cases = CaseOf(Formulas(Leaves, 3, withNot: true));

    [Fact]
    public void Decide_AnyPolicy_EqualsTheReferenceInterpreter() => Cases.Sample(
        (policyCase, rows) =>
        {
            var policy = Compile(policyCase);
            var verdicts = policy.Decide(RequestFor(policyCase, rows));
            for (var i = 0; i < rows.Length; i++)
            {
                var (action, rule, basis, margin) = Reference(policyCase, rows[i]);
                Assert.Equal((action, rule, basis), (verdicts.Actions[i], policy.Rules[verdicts.Rules[i]].Id, verdicts.Bases[i]));
                Assert.Equal(margin, verdicts.Margins[i]);
                foreach (var (shadow, k) in policyCase.Rules.Where(r => r.Shadow).Select((r, k) => (r, k)))
                {
                    Assert.Equal(shadow.Applies && shadow.When.Holds(policyCase, rows[i]), Bitmap.Get(verdicts.Shadow(k), i));
                }
            }
        },
        iter: 1500);

    [Fact]
    public void Decide_ScoreRises_NeverWeakensTheAction() => Gen.Select(CaseOf(Formulas(Rising, 2, withNot: false)), Gen.Float.Unit).Sample(
        (cases, step) =>
        {
            var strongest = cases.Case with { First = false };
            var policy = Compile(strongest);
            var raised = cases.Rows.Select(row => row with { Scores = [.. row.Scores.Select(score => MathF.Min(1, score + step))] }).ToArray();

            var before = policy.Decide(RequestFor(strongest, cases.Rows)).Actions.ToArray();
            var after = policy.Decide(RequestFor(strongest, raised)).Actions.ToArray();

            Assert.All(before.Zip(after), pair => Assert.True(pair.Second >= pair.First));
        },
        iter: 500);

    [Fact]
    public void Decide_OneMoreCandidate_ChangesNothingForTheOthers() => Cases.Where(c => c.Rows.Length > 1).Sample(
        (policyCase, rows) =>
        {
            var policy = Compile(policyCase);
            var all = policy.Decide(RequestFor(policyCase, rows));
            var fewer = policy.Decide(RequestFor(policyCase, rows[..^1]));

            Assert.Equal(all.Rules[..^1].ToArray(), fewer.Rules.ToArray());
        },
        iter: 300);

    [Fact]
    public void Canonical_OfAnyPolicy_IsAPolicyOfTheSameRevision() => Cases.Sample(
        (policyCase, _) =>
        {
            var policy = Compile(policyCase);
            var again = PolicyBench.Single(policy.Canonical);

            Assert.Equal((policy.Revision, policy.Canonical), (again.Revision, again.Canonical));
            Assert.Equal(policy.Rules, again.Rules);
        },
        iter: 300);

    [Fact]
    public void Canonical_LabelOfAnyText_SurvivesTheRoundTrip() => Gen.String[1, 12].Sample(
        text =>
        {
            var yaml = $"policy: p\nowner: o\nsurfaces: [s]\nclassifiers: {{}}\nrules: [{{ id: r, when: {{ always: true }}, action: {{ label: {Escape(text)} }}, reason: R }}]";
            var (snapshot, errors) = PolicyBench.Compile(yaml);
            if (snapshot is null)
            {
                // Only for what the language refuses in so many words.
                Assert.StartsWith("the label", Assert.Single(errors).Problem, StringComparison.Ordinal);
                return;
            }

            Assert.Equal(text, snapshot.Surfaces[0].Rules[1].Label);
            Assert.Equal(text, PolicyBench.Single(snapshot.Surfaces[0].Canonical).Rules[1].Label);
        },
        iter: 1000);

    [Fact]
    public void Compile_DamagedFile_NeverThrows()
    {
        var sound = Compile(Cases.Single().Case).Canonical;
        Gen.Select(Gen.Int[0, sound.Length - 1], Gen.Int[0, 8], Gen.OneOf(Gen.String[0, 3], Gen.Char["{}[]:,-&*!|>'\"%@`#? \n\t0.x"].Array[0, 6].Select(c => new string(c)))).Sample(
            (at, length, text) =>
            {
                var (snapshot, errors) = PolicyBench.Compile(sound.Remove(at, Math.Min(length, sound.Length - at)).Insert(at, text));
                Assert.Equal(snapshot is null, errors.Length > 0);
            },
            iter: 3000);
    }

    // --- random policies ---
    private static Gen<Formula> Formulas(Gen<Formula> leaves, int depth, bool withNot)
    {
        if (depth == 0)
        {
            return leaves;
        }

        var inner = Formulas(leaves, depth - 1, withNot);
        var lists = Gen.Select(Gen.Bool, inner.Array[1, 3]).Select((all, items) => (Formula)new Combined(all, items));
        return withNot ? Gen.OneOf(leaves, lists, inner.Select(item => (Formula)new Not(item))) : Gen.OneOf(leaves, lists);
    }

    private static Gen<(Case Case, Row[] Rows)> CaseOf(Gen<Formula> formulas)
    {
        var actions = Gen.Select(Gen.OneOf(CandidateAction.Label, CandidateAction.AgeRestrict, CandidateAction.Demote, CandidateAction.Block), Gen.Int[1, 3])
            .Select((action, strength) => (action, strength));
        var rules = Gen.Select(formulas, actions, Gen.Frequency((4, false), (1, true)), Gen.Frequency((5, true), (1, false)))
            .Select((when, action, shadow, applies) => new Rule(when, action.action, action.strength, shadow, applies));
        var rows = Gen.Select(Scores.Array[3], Gen.OneOf(Tiers), Gen.OneOf(0, 1, 2.5, 3, 7, double.NaN), Gen.Bool, Gen.OneOf(Languages))
            .Select((scores, tier, number, flag, language) => new Row(scores, tier, number, flag, language));
        // Sizes on both sides of vectors (8 numbers) and words (64 candidates).
        var sizes = Gen.OneOf(Gen.Int[1, 20], Gen.OneOf(63, 64, 65, 127, 128, 130));
        return Gen.Select(rules.Array[1, 6], Gen.Bool, Gen.Bool.Array[3], Gen.OneOf(Territories), Gen.Bool.Array[4], sizes.SelectMany(n => rows.Array[n]))
            .Select((r, first, closed, territory, sent, all) => (new Case(r, first, closed, territory, sent), all));
    }

    private static SurfacePolicy Compile(Case c)
    {
        var rules = c.Rules.Select((rule, i) =>
        {
            var action = rule.Action switch
            {
                CandidateAction.Label => $"{{ label: l{rule.Strength} }}",
                CandidateAction.AgeRestrict => $"{{ age-restrict: {10 + rule.Strength} }}",
                CandidateAction.Demote => $"{{ demote: 0.{5 - rule.Strength} }}",
                _ => "block",
            };
            var expires = rule.Applies ? "" : ", expires: 2026-05-31";
            return $"- {{ id: r{i}, when: {rule.When.Yaml()}, action: {action}, reason: R{expires}{(rule.Shadow ? ", shadow: true" : "")} }}";
        });

        var yaml = $"""
            policy: p
            owner: o
            surfaces: [s]
            match: {(c.First ? "first" : "strongest")}
            classifiers: {string.Join(", ", c.Closed.Select((closed, i) => $"m/{(char)('a' + i)}: {{ fail: {(closed ? "closed" : "open")} }}")).Insert(0, "{ ") + " }"}
            rules:
            {string.Join('\n', rules)}
            """;
        return PolicyBench.Single(yaml);
    }

    private static Request RequestFor(Case c, Row[] rows)
    {
        var request = new Request(rows.Length).Viewer(territory: c.Territory);
        for (var k = 0; k < 3; k++)
        {
            request.Scores($"m/{(char)('a' + k)}", [.. rows.Select(row => row.Scores[k])]);
        }

        _ = c.Sent[0] ? request.Strings("tier", [.. rows.Select(row => row.Tier)]) : request.Flags("tier", new bool[rows.Length]);
        _ = c.Sent[1] ? request.Numbers("number", [.. rows.Select(row => row.Number)]) : request;
        _ = c.Sent[2] ? request.Flags("flag", [.. rows.Select(row => row.Flag)]) : request.Numbers("flag", new double[rows.Length]);
        return c.Sent[3] ? request.Languages([.. rows.Select(row => row.Language)]) : request;
    }

    // --- the reference: one candidate at a time, straight from the language's description ---
    private static (CandidateAction Action, string Rule, Basis Basis, float Margin) Reference(Case c, Row row)
    {
        var basis = Basis.Evaluated;
        for (var k = 0; k < 3; k++)
        {
            if (float.IsNaN(row.Scores[k]) && basis != Basis.FailedClosed)
            {
                basis = c.Closed[k] ? Basis.FailedClosed : Basis.FailedOpen;
            }
        }

        (Rule Rule, int Index)? decided = null;
        for (var i = 0; i < c.Rules.Length; i++)
        {
            var rule = c.Rules[i];
            if (!rule.Shadow && rule.Applies && rule.When.Holds(c, row)
                && (decided is not { } best || (!c.First && (rule.Action > best.Rule.Action || (rule.Action == best.Rule.Action && rule.Weight > best.Rule.Weight)))))
            {
                decided = (rule, i);
            }
        }

        if (decided is not { } by)
        {
            return (CandidateAction.Allow, "default", basis, float.NaN);
        }

        var margin = by.Rule.When.Margin(c, row);
        return (by.Rule.Action, $"r{by.Index}", basis, float.IsFinite(margin) ? margin : float.NaN);
    }

    private static string Escape(string text) => $"\"{string.Concat(text.Select(c => $"\\u{(int)c:x4}"))}\"";

    private static string Text32(float value) => value.ToString("R", CultureInfo.InvariantCulture);

    /// <param name="Sent">Whether tier, number, flag and languages come as the policy expects them.</param>
    private sealed record Case(Rule[] Rules, bool First, bool[] Closed, string Territory, bool[] Sent);

    private sealed record Rule(Formula When, CandidateAction Action, int Strength, bool Shadow, bool Applies)
    {
        /// <summary>Labels and blocks are all equally strong.</summary>
        public int Weight => Action is CandidateAction.Demote or CandidateAction.AgeRestrict ? Strength : 0;
    }

    private sealed record Row(float[] Scores, string Tier, double Number, bool Flag, string Language);

    private abstract record Formula
    {
        public abstract string Yaml();

        public abstract bool Holds(Case c, Row row);

        public virtual float Margin(Case c, Row row) => Holds(c, row) ? float.PositiveInfinity : float.NegativeInfinity;
    }

    private sealed record Compare(string Name, string Op, float Threshold) : Formula
    {
        private int Slot => Name[^1] - 'a';

        public override string Yaml() => $"{{ score: {Name}, {Op}: {Text32(Threshold)} }}";

        public override bool Holds(Case c, Row row)
        {
            var score = float.IsNaN(row.Scores[Slot]) ? c.Closed[Slot] ? 1f : 0f : row.Scores[Slot];
            return Op switch
            {
                "at_least" => score >= Threshold,
                "above" => score > Threshold,
                "at_most" => score <= Threshold,
                _ => score < Threshold,
            };
        }

        public override float Margin(Case c, Row row) => Op is "at_least" or "above" ? row.Scores[Slot] - Threshold : Threshold - row.Scores[Slot];
    }

    private sealed record Text(string Value) : Formula
    {
        public override string Yaml() => $"{{ attribute: tier, equals: \"{Value}\" }}";

        public override bool Holds(Case c, Row row) => c.Sent[0] && row.Tier == Value;
    }

    private sealed record Number(double Limit) : Formula
    {
        public override string Yaml() => string.Create(CultureInfo.InvariantCulture, $"{{ attribute: number, above: {Limit} }}");

        public override bool Holds(Case c, Row row) => c.Sent[1] && row.Number > Limit;
    }

    private sealed record Flag(bool Is) : Formula
    {
        public override string Yaml() => $"{{ attribute: flag, is: {(Is ? "true" : "false")} }}";

        public override bool Holds(Case c, Row row) => c.Sent[2] && row.Flag == Is;
    }

    private sealed record Language(string Range) : Formula
    {
        public override string Yaml() => $"{{ language: [{Range}] }}";

        public override bool Holds(Case c, Row row) =>
            c.Sent[3] && (row.Language + "-").StartsWith(Range + "-", StringComparison.OrdinalIgnoreCase);
    }

    private sealed record Territory(string Code) : Formula
    {
        public override string Yaml() => $"{{ viewer: territory, in: [\"{Code}\"] }}";

        public override bool Holds(Case c, Row row) => string.Equals(c.Territory, Code, StringComparison.OrdinalIgnoreCase);
    }

    private sealed record Always : Formula
    {
        // A bare `always` can make later rules unreachable, which is an error; this is not recognised as one.
        public override string Yaml() => "{ not: { not: { always: true } } }";

        public override bool Holds(Case c, Row row) => true;
    }

    private sealed record Not(Formula Inner) : Formula
    {
        public override string Yaml() => $"{{ not: {Inner.Yaml()} }}";

        public override bool Holds(Case c, Row row) => !Inner.Holds(c, row);

        public override float Margin(Case c, Row row) => -Inner.Margin(c, row);
    }

    private sealed record Combined(bool All, Formula[] Items) : Formula
    {
        public override string Yaml() => $"{{ {(All ? "all" : "any")}: [{string.Join(", ", Items.Select(item => item.Yaml()))}] }}";

        public override bool Holds(Case c, Row row) => All ? Items.All(item => item.Holds(c, row)) : Items.Any(item => item.Holds(c, row));

        // LINQ's Min and Max order NaN before all numbers; here a NaN anywhere must win.
        public override float Margin(Case c, Row row) =>
            Items.Select(item => item.Margin(c, row)).Aggregate((a, b) => float.IsNaN(a) || float.IsNaN(b) ? float.NaN : All ? Math.Min(a, b) : Math.Max(a, b));
    }
}
