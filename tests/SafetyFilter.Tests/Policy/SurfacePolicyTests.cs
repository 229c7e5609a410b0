using SafetyFilter.Decisions;
using SafetyFilter.Policy;

namespace SafetyFilter.Tests.Policy;

public sealed class SurfacePolicyTests
{
    private const CandidateAction Allow = CandidateAction.Allow;
    private const CandidateAction Block = CandidateAction.Block;

    [Theory]
    [InlineData("at_least: 0.92", new[] { Allow, Block, Block, Block })]
    [InlineData("above: 0.92", new[] { Allow, Allow, Block, Block })]
    [InlineData("at_most: 0.92", new[] { Block, Block, Allow, Allow })]
    [InlineData("below: 0.92", new[] { Block, Allow, Allow, Allow })]
    [InlineData("at_least: 0.92, below: 1", new[] { Allow, Block, Block, Allow })]
    [InlineData("at_least: 1", new[] { Allow, Allow, Allow, Block })]
    public void Decide_ScoreAroundThreshold_FollowsTheComparison(string bounds, object actions)
    {
        var request = Request.Of(("m/a", [MathF.BitDecrement(0.92f), 0.92f, MathF.BitIncrement(0.92f), 1f]));

        Assert.Equal(actions, PolicyBench.When($"{{ score: m/a, {bounds} }}").Actions(request));
    }

    [Fact]
    public void Decide_NoRuleMatches_AllowsByTheDefaultRule()
    {
        var policy = PolicyBench.When("{ score: m/a, at_least: 0.5 }");

        var verdicts = policy.Decide(Request.Of(("m/a", [0.4f])));

        Assert.Equal((Allow, Basis.Evaluated, 0), (verdicts.Actions[0], verdicts.Bases[0], verdicts.Rules[0]));
        Assert.Equal("default", policy.Rules[0].Id);
        Assert.True(float.IsNaN(verdicts.Margins[0]));
    }

    [Fact]
    public void Decide_ClassifierThatFailsClosedFails_CountsAsScoreOneAndIsMarked()
    {
        var verdicts = PolicyBench.When("{ score: m/a, at_least: 1 }").Decide(Request.Of(("m/a", [float.NaN, 0.1f])));

        Assert.Equal([Block, Allow], verdicts.Actions.ToArray());
        Assert.Equal([Basis.FailedClosed, Basis.Evaluated], verdicts.Bases.ToArray());
        Assert.True(float.IsNaN(verdicts.Margins[0]));
    }

    [Fact]
    public void Decide_ClassifierThatFailsOpenFails_CountsAsScoreZeroAndIsMarked()
    {
        var request = Request.Of(("m/b", [float.NaN, 0.9f]));

        var verdicts = PolicyBench.When("{ score: m/b, at_least: 0.5 }").Decide(request);
        var below = PolicyBench.When("{ score: m/b, below: 0.5 }").Decide(request);

        Assert.Equal([Allow, Block], verdicts.Actions.ToArray());
        Assert.Equal([Basis.FailedOpen, Basis.Evaluated], verdicts.Bases.ToArray());
        Assert.Equal([Block, Allow], below.Actions.ToArray());
    }

    [Fact]
    public void Decide_BothFail_IsMarkedFailedClosed()
    {
        var request = Request.Of(("m/a", [float.NaN]), ("m/b", [float.NaN]));

        Assert.Equal(Basis.FailedClosed, PolicyBench.When("{ score: m/b, at_least: 0.5 }").Decide(request).Bases[0]);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(1.0000001f)]
    [InlineData(-0.0000001f)]
    public void Decide_CellThatIsNoScore_IsAFailureWhateverTheTableSays(float cell)
    {
        var policy = PolicyBench.When("{ score: m/a, below: 0.9 }");
        var request = new Request(1);
        var scores = request.ScoresFor(policy);
        scores.Row(0)[0] = cell;
        var verdicts = new Verdicts();

        policy.Decide(request.Batch, scores, 0, verdicts);

        Assert.Equal((Allow, Basis.FailedClosed), (verdicts.Actions[0], verdicts.Bases[0]));
    }

    [Fact]
    public void Decide_MatchStrongest_TakesTheStrongestActionThenTheStrongerParameterThenTheEarlierRule()
    {
        var policy = PolicyBench.Rules("""
            - { id: label, when: { always: true }, action: { label: x }, reason: R }
            - { id: age12, when: { score: m/a, at_least: 0.1 }, action: { age-restrict: 12 }, reason: R }
            - { id: age18, when: { score: m/a, at_least: 0.2 }, action: { age-restrict: 18 }, reason: R }
            - { id: demote5, when: { score: m/a, at_least: 0.3 }, action: { demote: 0.5 }, reason: R }
            - { id: demote2, when: { score: m/a, at_least: 0.4 }, action: { demote: 0.2 }, reason: R }
            - { id: demote2-again, when: { score: m/a, at_least: 0.4 }, action: { demote: 0.2 }, reason: R }
            - { id: block, when: { score: m/a, at_least: 0.5 }, action: block, reason: R }
            - { id: block-again, when: { score: m/a, at_least: 0.5 }, action: block, reason: R }
            """);

        var verdicts = policy.Decide(Request.Of(("m/a", [0f, 0.1f, 0.2f, 0.3f, 0.4f, 0.5f])));

        Assert.Equal(["label", "age12", "age18", "demote5", "demote2", "block"], verdicts.Rules.ToArray().Select(rule => policy.Rules[rule].Id));
    }

    [Fact]
    public void Decide_MatchFirst_TakesTheFirstRuleThatMatches()
    {
        var policy = PolicyBench.Rules(
            """
            - { id: exception, when: { attribute: kind, in: [news] }, action: allow, reason: R }
            - { id: demote, when: { score: m/a, at_least: 0.5 }, action: { demote: 0.2 }, reason: R }
            - { id: block, when: { score: m/a, at_least: 0.9 }, action: block, reason: R }
            """,
            match: "first");

        var verdicts = policy.Decide(Request.Of(("m/a", [1f, 1f, 0.1f])).Strings("kind", "news", "blog", "blog"));

        Assert.Equal([1, 2, 0], verdicts.Rules.ToArray().Select(rule => (int)rule));
    }

    [Fact]
    public void Decide_ShadowRule_IsReportedAndNeverDecides()
    {
        var policy = PolicyBench.Rules("""
            - { id: shadow, when: { score: m/a, at_least: 0.5 }, action: block, reason: R, shadow: true }
            - { id: real, when: { score: m/a, at_least: 0.9 }, action: { demote: 0.5 }, reason: R }
            """);

        var verdicts = policy.Decide(Request.Of(("m/a", [0.6f, 0.1f, 1f])));

        Assert.Equal(0b101UL, verdicts.Shadow(0)[0]);
        Assert.Equal([Allow, Allow, CandidateAction.Demote], verdicts.Actions.ToArray());
        Assert.Equal("shadow", Assert.Single(policy.ShadowRules).Id);
        Assert.Equal(["default", "real"], policy.Rules.Select(rule => rule.Id));
    }

    [Theory]
    [InlineData("2027-12-31", "2027-12-31T23:59:59.999Z", Block)]
    [InlineData("2027-12-31", "2028-01-01T00:00:00Z", Allow)]
    [InlineData("2027-12-31T18:00:00+02:00", "2027-12-31T15:59:59.999Z", Block)]
    [InlineData("2027-12-31T18:00:00+02:00", "2027-12-31T16:00:00Z", Allow)]
    public void Decide_RuleExpires_MatchesUntilThen(string expires, string now, object action)
    {
        var policy = PolicyBench.Rules($$"""
            - { id: r, when: { always: true }, action: block, reason: R, expires: {{expires}} }
            - { id: s, when: { always: true }, action: block, reason: R, expires: {{expires}}, shadow: true }
            """);

        var verdicts = policy.Decide(new Request(1), DateTimeOffset.Parse(now, System.Globalization.CultureInfo.InvariantCulture));

        Assert.Equal(action, verdicts.Actions[0]);
        Assert.Equal(Equals(action, Block) ? 1UL : 0UL, verdicts.Shadow(0)[0]);
    }

    [Theory]
    [InlineData("{ attribute: t, in: [NO, x] }", new[] { Block, Allow, Allow })]
    [InlineData("{ attribute: t, equals: \"\" }", new[] { Allow, Allow, Block })]
    [InlineData("{ attribute: n, at_least: 7 }", new[] { Allow, Block, Allow })]
    [InlineData("{ attribute: n, below: 7 }", new[] { Block, Allow, Allow })]
    [InlineData("{ attribute: f, is: true }", new[] { Block, Allow, Allow })]
    [InlineData("{ attribute: f, is: false }", new[] { Allow, Block, Block })]
    [InlineData("{ attribute: absent, in: [\"\"] }", new[] { Allow, Allow, Allow })]
    [InlineData("{ attribute: n, in: [x] }", new[] { Allow, Allow, Allow })]
    [InlineData("{ attribute: t, at_most: 1 }", new[] { Allow, Allow, Allow })]
    [InlineData("{ not: { attribute: absent, is: true } }", new[] { Block, Block, Block })]
    [InlineData("{ language: [de, no] }", new[] { Block, Block, Allow })]
    [InlineData("{ language: [de-CH] }", new[] { Block, Allow, Allow })]
    [InlineData("{ language: [\"\"] }", new[] { Allow, Allow, Block })]
    [InlineData("{ viewer: territory, in: [NO, DE] }", new[] { Block, Block, Block })]
    [InlineData("{ viewer: territory, in: [\"\"] }", new[] { Allow, Allow, Allow })]
    [InlineData("{ viewer: age_band, in: [13-17] }", new[] { Block, Block, Block })]
    [InlineData("{ viewer: experiment, equals: \"\" }", new[] { Block, Block, Block })]
    [InlineData("{ all: [{ attribute: f, is: false }, { attribute: t, in: [x] }] }", new[] { Allow, Allow, Allow })]
    [InlineData("{ any: [{ attribute: f, is: true }, { attribute: t, equals: xy }] }", new[] { Block, Block, Allow })]
    public void Decide_OtherConditions_MatchAsWritten(string condition, object actions)
    {
        var request = new Request(3)
            .Strings("t", "NO", "xy", "")
            .Numbers("n", 6.5, 7, double.NaN)
            .Flags("f", true, false, false)
            .Languages("DE-ch-1996", "no", "")
            .Viewer(territory: "de", ageBand: "13-17");

        Assert.Equal(actions, PolicyBench.When(condition).Actions(request));
    }

    [Fact]
    public void Decide_AttributeAbsentOrOfAnotherKind_IsTold()
    {
        var policy = PolicyBench.When("{ any: [{ attribute: a, is: true }, { attribute: b, at_least: 1 }, { attribute: c, in: [x] }] }");
        var request = new Request(1).Strings("b", "1").Strings("c", "y");

        var gaps = policy.Decide(request.Batch, request.ScoresFor(policy), 0, new Verdicts());

        Assert.Equal(["a", "b", "c"], policy.Attributes.Select(attribute => attribute.Name));
        Assert.Equal(new AttributeGaps(Absent: 0b001, Mismatched: 0b010), gaps);
    }

    [Theory]
    [InlineData("{ score: m/a, at_least: 0.5 }", 0.25f)]
    [InlineData("{ score: m/a, below: 1 }", 0.25f)]
    [InlineData("{ score: m/a, at_least: 0.5, at_most: 0.875 }", 0.125f)]
    [InlineData("{ all: [{ score: m/a, at_least: 0.5 }, { score: m/b, at_least: 0.125 }] }", 0.125f)]
    [InlineData("{ any: [{ score: m/a, at_least: 0.5 }, { score: m/b, at_least: 0.125 }] }", 0.25f)]
    [InlineData("{ not: { score: m/b, at_least: 0.375 } }", 0.125f)]
    [InlineData("{ all: [{ score: m/a, at_least: 0.5 }, { viewer: territory, in: [DE] }] }", 0.25f)]
    [InlineData("{ any: [{ score: m/a, at_least: 0.5 }, { viewer: territory, in: [DE] }] }", float.NaN)]
    [InlineData("{ any: [{ score: m/a, at_least: 0.5 }, { viewer: territory, in: [FR] }] }", 0.25f)]
    [InlineData("{ viewer: territory, in: [DE] }", float.NaN)]
    [InlineData("{ always: true }", float.NaN)]
    public void Decide_RuleDecides_MarginTellsHowFarScoresMayMove(string condition, float margin)
    {
        var request = Request.Of(("m/a", [0.75f]), ("m/b", [0.25f])).Viewer(territory: "DE");

        Assert.Equal(margin, PolicyBench.When(condition).Decide(request).Margins[0]);
    }

    [Fact]
    public void Decide_NoCandidates_DecidesNothing() =>
        Assert.Equal(0, PolicyBench.When("{ always: true }").Decide(new Request(0)).Count);

    [Fact]
    public void Decide_TableOfAnotherShape_Throws()
    {
        var table = new ScoreTable();
        table.Reset(1, 1);

        Assert.Throws<ArgumentException>(() => PolicyBench.When("{ always: true }").Decide(new Request(1).Batch, table, 0, new Verdicts()));
    }

    [Fact]
    public void Decide_AfterWarmUp_AllocatesNothing()
    {
        var policy = PolicyBench.Rules("""
            - { id: all, when: { all: [{ score: m/a, at_least: 0.5 }, { attribute: t, in: [x, y] }, { language: [de] }] }, action: block, reason: R }
            - { id: not, when: { not: { any: [{ attribute: n, above: 1 }, { attribute: f, is: true }] } }, action: { demote: 0.5 }, reason: R }
            - { id: shadow, when: { viewer: territory, in: [DE] }, action: block, reason: R, shadow: true }
            """);
        const int Count = 300;
        var request = Request.Of(("m/a", [.. Enumerable.Range(0, Count).Select(i => i % 7 == 0 ? float.NaN : i / (float)Count)]))
            .Strings("t", [.. Enumerable.Repeat("x", Count)]).Numbers("n", new double[Count]).Flags("f", new bool[Count])
            .Languages([.. Enumerable.Repeat("de-DE", Count)]).Viewer(territory: "DE");
        var scores = request.ScoresFor(policy);
        var verdicts = new Verdicts();

        Assert.Equal(0, AllocatedBytes.Of(100, () => policy.Decide(request.Batch, scores, 0, verdicts)));
        Assert.Contains(Block, verdicts.Actions.ToArray());
    }
}
