using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Tests.Policy;

/// <summary>What policies may say of missing scores, and what that does.</summary>
public sealed class FailModePolicyTests
{
    private const string BlockByA = "[ { id: by-a, when: { score: m/a, at_least: 0.9 }, action: block, reason: A } ]";

    // A caret marks the place of each error, in order.
    [Theory]
    [InlineData("{ m/a: { fail: ^last-known } }", "", "fail: last-known does not say what a missing score means where none is remembered. Write fail: { last-known: closed } or fail: { last-known: open }.")]
    [InlineData("{ m/a: { fail: ^shut } }", "", "'fail' is 'shut'. Use one of: closed, open, last-known.")]
    [InlineData("{ m/a: { fail: ^{} } }", "", "'fail' has no 'last-known'. Write fail: { last-known: closed } or fail: { last-known: open }.")]
    [InlineData("{ m/a: { fail: { last-known: ^last-known } } }", "", "'last-known' is 'last-known'. Use one of: closed, open.")]
    [InlineData("{ m/a: { fail: { last-known: closed, ^open: closed } } }", "", "unknown key 'open' in 'fail'. Use one of: last-known.")]
    [InlineData("{ m/a: { fail: closed, hard: ^yes } }", "", "'hard' is 'yes'. Use true or false.")]
    [InlineData("{ m/a: { fail: open, hard: ^true } }", "", "classifier 'm/a' is hard and fails open: a missing score would block, and count as 0. Write fail: closed or fail: { last-known: closed }, or remove hard: true.")]
    [InlineData("{ m/a: { fail: { last-known: open }, hard: ^true } }", "", "classifier 'm/a' is hard and fails open: a missing score would block, and count as 0. Write fail: closed or fail: { last-known: closed }, or remove hard: true.")]
    [InlineData("{ m/a: { fail: closed } }", "all_down: ^panic", "'all_down' is 'panic'. Use one of: classifiers, block, allow, refuse.")]
    [InlineData("{ m/a: { fail: closed, hard: true } }", "all_down: ^allow", "all_down: allow would show what the hard classifier 'm/a' gave no score. Use all_down: block, refuse or classifiers, or remove hard: true.")]
    [InlineData("{}", "all_down: ^block", "the policy has no classifiers that could be down. Remove 'all_down'.")]
    [InlineData("{ m/a: { fail: closed, hard: true } }", "rules: [ { id: ^unscored, when: { always: true }, action: block, reason: R } ]", "rule id 'unscored' is taken: what hard classifiers gave no score is blocked by it. Choose another id.")]
    [InlineData("{ m/a: { fail: closed } }", "all_down: block\nrules: [ { id: ^all-down, when: { always: true }, action: block, reason: R } ]", "rule id 'all-down' is taken: all_down decides by it. Choose another id.")]
    [InlineData("{ m/bait: { fail: closed, hard: ^true } }", "", "classifier 'm/bait' is hard, which blocks, and its bundle goes no further than demote. Remove hard: true, or use another classifier.")]
    public void Compile_WrongFailMode_SaysWhereWhatAndWhy(string classifiers, string line, params string[] errors)
    {
        var rules = line.Contains("rules:", StringComparison.Ordinal) ? "" : "rules: [ { id: r, when: { attribute: a, is: true }, action: block, reason: R } ]\n";
        var marked = $"policy: p\nowner: team\nsurfaces: [s]\n{rules}classifiers: {classifiers}\n{line}\n";
        var places = marked.Split('\n').SelectMany((text, row) => text.Select((c, i) => (c, i)).Where(x => x.c == '^').Select((x, carets) => (Line: row + 1, Column: x.i - carets + 1)));
        var known = new Dictionary<string, ClassifierTerms>(StringComparer.Ordinal)
        {
            ["m/a"] = new(CandidateAction.Block, ["*"], ["*"], null),
            ["m/bait"] = new(CandidateAction.Demote, ["*"], ["*"], null),
        };

        Assert.Equal(
            places.Zip(errors, (at, error) => $"p.yaml:{at.Line}:{at.Column}: {error} (owner: team)"),
            PolicyBench.Compile(marked.Replace("^", "", StringComparison.Ordinal), known).Errors.Select(static e => e.ToString()));
    }

    [Fact]
    public void Compile_RuleOfTheNameOfAnUnwrittenOneThatThePolicyHasNot_IsARule() =>
        Assert.Equal("unscored", Policy("{ m/a: { fail: closed } }", rules: "[ { id: unscored, when: { always: true }, action: block, reason: R } ]").Rules[1].Id);

    [Fact]
    public void Canonical_FailModes_AreWrittenWhereTheySaySomethingAndReadBack()
    {
        var plain = Policy("{ m/a: { fail: closed, hard: false } }", "all_down: classifiers");
        Assert.DoesNotContain("hard", plain.Canonical, StringComparison.Ordinal);
        Assert.DoesNotContain("all_down", plain.Canonical, StringComparison.Ordinal);

        var full = Policy("{ m/a: { fail: { last-known: closed }, hard: true }, m/b: { fail: { last-known: open } } }", "all_down: block");
        Assert.Contains(
            """
            "budget_us": 1000,
            "all_down": "block",
            "classifiers": {
            "m/a": {"fail": {"last-known": "closed"}, "hard": true},
            "m/b": {"fail": {"last-known": "open"}}
            },
            """,
            full.Canonical,
            StringComparison.Ordinal);
        var again = PolicyBench.Single(full.Canonical);
        Assert.Equal((full.Revision, full.AllDown), (again.Revision, again.AllDown));
        Assert.Equal(full.Classifiers, again.Classifiers);
        Assert.Equal(["default", "by-a", "unscored", "all-down"], again.Rules.Select(static rule => rule.Id));
    }

    [Fact]
    public void Decide_RememberedScore_DecidesAndIsMarked()
    {
        var policy = Policy("{ m/a: { fail: { last-known: closed } }, m/b: { fail: open } }");
        var scores = Scores(policy, [0.95f, 0.1f, float.NaN, 0.95f], [0.5f, 0.5f, 0.5f, float.NaN]);
        Mark(scores, 0, 0, 1, 3);
        var verdicts = Decide(policy, scores);

        Assert.Equal([CandidateAction.Block, CandidateAction.Allow, CandidateAction.Block, CandidateAction.Block], verdicts.Actions.ToArray());
        Assert.Equal([Basis.LastKnown, Basis.LastKnown, Basis.FailedClosed, Basis.FailedOpen], verdicts.Bases.ToArray());
        Assert.All(verdicts.Margins.ToArray(), static margin => Assert.Equal(float.NaN, margin));
    }

    [Fact]
    public void Decide_NothingIsRemembered_TakesTheModeThatIsNamedForThat()
    {
        var policy = Policy("{ m/a: { fail: { last-known: open } } }");
        var verdicts = Decide(policy, Scores(policy, [float.NaN]));
        Assert.Equal((CandidateAction.Allow, Basis.FailedOpen), (verdicts.Actions[0], verdicts.Bases[0]));
    }

    [Theory]
    [InlineData("strongest")]
    [InlineData("first")]
    public void Decide_HardClassifierGaveNoScore_BlocksBeforeAnyRule(string match)
    {
        // No rule reads the hard classifier, and one allows whatever the others say.
        var except = match == "first" ? "{ id: except, when: { attribute: staff, is: true }, action: allow, reason: OK }, " : "";
        var policy = Policy("{ m/a: { fail: open }, m/b: { fail: closed, hard: true } }", $"match: {match}", $"[ {except}{BlockByA[1..]}");
        var request = new Request(3).Flags("staff", true, true, true);
        var verdicts = new Verdicts();
        policy.Decide(request.Batch, Scores(policy, [0.1f, 0.95f, 0.1f], [float.NaN, float.NaN, 0.2f]), 0, verdicts);

        Assert.Equal([CandidateAction.Block, CandidateAction.Block, CandidateAction.Allow], verdicts.Actions.ToArray());
        Assert.Equal(["unscored", "unscored", match == "first" ? "except" : "default"], verdicts.Rules.ToArray().Select(rule => policy.Rules[rule].Id));
        Assert.Equal([Basis.FailedClosed, Basis.FailedClosed, Basis.Evaluated], verdicts.Bases.ToArray());
        Assert.Equal("UNSCORED", policy.Rules[verdicts.Rules[0]].ReasonCode);
        Assert.Equal(float.NaN, verdicts.Margins[0]);
    }

    [Fact]
    public void Decide_HardClassifierWithARememberedScore_IsDecidedByTheRules()
    {
        var policy = Policy("{ m/a: { fail: { last-known: closed }, hard: true } }");
        var scores = Scores(policy, [0.1f, 0.95f, float.NaN]);
        Mark(scores, 0, 0, 1);
        var verdicts = Decide(policy, scores);
        Assert.Equal(["default", "by-a", "unscored"], verdicts.Rules.ToArray().Select(rule => policy.Rules[rule].Id));
        Assert.Equal([Basis.LastKnown, Basis.LastKnown, Basis.FailedClosed], verdicts.Bases.ToArray());
    }

    [Theory]
    [InlineData("block")]
    [InlineData("allow")]
    public void Decide_EveryClassifierIsDown_DecidesWhatNothingIsRememberedOf(string mode)
    {
        var (action, basis) = mode == "block" ? (CandidateAction.Block, Basis.FailedClosed) : (CandidateAction.Allow, Basis.FailedOpen);
        var policy = Policy("{ m/a: { fail: { last-known: closed } }, m/b: { fail: open } }", $"all_down: {mode}");
        var scores = Scores(policy, [float.NaN, 0.2f], [float.NaN, float.NaN]);
        Mark(scores, 0, 1);
        var verdicts = Decide(policy, scores);

        Assert.Equal((action, basis, "all-down"), (verdicts.Actions[0], verdicts.Bases[0], policy.Rules[verdicts.Rules[0]].Id));
        Assert.Equal(policy.AllDownIndex, verdicts.Rules[0]);
        Assert.Equal((CandidateAction.Allow, Basis.FailedOpen, "default"), (verdicts.Actions[1], verdicts.Bases[1], policy.Rules[verdicts.Rules[1]].Id));
    }

    [Fact]
    public void Decide_HardClassifierAmongThoseDown_IsNamedFirst()
    {
        var policy = Policy("{ m/a: { fail: closed, hard: true } }", "all_down: block");
        Assert.Equal("unscored", policy.Rules[Decide(policy, Scores(policy, [float.NaN])).Rules[0]].Id);
    }

    [Theory]
    [InlineData(nameof(FailureKind.MissingFeature))]
    [InlineData(nameof(FailureKind.FeatureMismatch))]
    public void Decide_OneScoreIsMissingByTheCallersDoing_IsNotAllDown(string callers)
    {
        var policy = Policy("{ m/a: { fail: closed }, m/b: { fail: closed } }", "all_down: allow");
        var scores = Scores(policy, [float.NaN, float.NaN], [float.NaN, float.NaN]);
        scores.Fail(1, 1, Enum.Parse<FailureKind>(callers));
        Assert.All(Decide(policy, scores).Actions.ToArray(), static action => Assert.Equal(CandidateAction.Block, action));
    }

    [Fact]
    public void Decide_OneClassifierWorks_LeavesTheOthersTheirOwnModes()
    {
        var policy = Policy("{ m/a: { fail: closed }, m/b: { fail: closed } }", "all_down: allow");
        var verdicts = Decide(policy, Scores(policy, [float.NaN], [0.1f]));
        Assert.Equal((CandidateAction.Block, Basis.FailedClosed), (verdicts.Actions[0], verdicts.Bases[0]));
    }

    [Fact]
    public void Refuses_EveryClassifierIsDown_UnlessSomethingIsRememberedOfEveryCandidate()
    {
        var policy = Policy("{ m/a: { fail: { last-known: closed } }, m/b: { fail: open } }", "all_down: refuse");
        var scores = Scores(policy, [float.NaN, float.NaN], [float.NaN, float.NaN]);
        Assert.True(policy.Refuses(scores));
        (scores.Row(0)[0], scores.Row(0)[1]) = (0.5f, float.NaN);
        Assert.True(policy.Refuses(scores));
        scores.Row(0)[1] = 0.5f;
        Assert.False(policy.Refuses(scores));
        Assert.False(policy.Refuses(Scores(policy, [float.NaN], [0.5f])));
        Assert.False(Policy("{ m/a: { fail: closed } }").Refuses(Scores(Policy("{ m/a: { fail: closed } }"), [float.NaN])));
    }

    [Fact]
    public void Check_FailModes_AreTold()
    {
        var folder = Directory.CreateTempSubdirectory("policy-check");
        try
        {
            var file = Path.Combine(folder.FullName, "p.yaml");
            File.WriteAllText(file, Yaml("{ m/a: { fail: { last-known: closed }, hard: true }, m/b: { fail: open }, m/c: { fail: { last-known: open } } }", "all_down: refuse", BlockByA));
            var (text, json) = (new StringWriter(), new StringWriter());
            Assert.Equal(PolicyCheck.Fine, new PolicyCheck(text, TextWriter.Null).Run([file], null, json: false, PolicyBench.Now));
            Assert.Equal(PolicyCheck.Fine, new PolicyCheck(json, TextWriter.Null).Run([file], null, json: true, PolicyBench.Now));
            Assert.Contains(
                """
                  fails open: m/b
                  fails to the last known score, without one closed: m/a
                  fails to the last known score, without one open: m/c
                  hard, blocks without a score: m/a
                  when all of them are down: refuse
                  block                    A                    medium   by-a
                  block                    UNSCORED             medium   unscored
                """,
                text.ToString(),
                StringComparison.Ordinal);
            var surface = System.Text.Json.JsonDocument.Parse(json.ToString()).RootElement.GetProperty("surfaces")[0];
            Assert.Equal("""{"last-known": "closed"}""", surface.GetProperty("classifiers").GetProperty("m/a").GetRawText());
            Assert.Equal("open", surface.GetProperty("classifiers").GetProperty("m/b").GetString());
            Assert.Equal(("m/a", "refuse"), (surface.GetProperty("hard")[0].GetString(), surface.GetProperty("all_down").GetString()));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static string Yaml(string classifiers, string line, string rules) =>
        $"policy: p\nowner: team\nsurfaces: [s]\n{line}\nclassifiers: {classifiers}\nrules: {rules}\n";

    private static SurfacePolicy Policy(string classifiers, string line = "", string rules = BlockByA) => PolicyBench.Single(Yaml(classifiers, line, rules));

    private static Verdicts Decide(SurfacePolicy policy, ScoreTable scores)
    {
        var verdicts = new Verdicts();
        policy.Decide(new Request(scores.Count).Batch, scores, 0, verdicts);
        return verdicts;
    }

    private static ScoreTable Scores(SurfacePolicy policy, params float[][] rows)
    {
        var request = new Request(rows[0].Length);
        for (var row = 0; row < rows.Length; row++)
        {
            request.Scores(policy.Classifiers[row].Name, rows[row]);
        }

        return request.ScoresFor(policy);
    }

    // What is in these cells was remembered.
    private static void Mark(ScoreTable scores, int classifier, params int[] candidates) =>
        Array.ForEach(candidates, candidate => scores.Mark(classifier, candidate, FailureKind.BreakerOpen));
}
