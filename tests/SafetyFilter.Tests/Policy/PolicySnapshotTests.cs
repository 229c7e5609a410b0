using SafetyFilter.Policy;

namespace SafetyFilter.Tests.Policy;

public sealed class PolicySnapshotTests
{
    private const string Plain = """
        policy: p
        owner: team
        surfaces: [feed, home]
        classifiers: { m/a: { fail: closed }, m/b: { fail: open } }
        rules:
          - { id: r, when: { all: [{ score: m/a, at_least: 0.5 }, { attribute: t, in: [x, NO] }] }, action: { demote: 0.25 }, reason: R }
        """;

    // The same said differently: comments, order of keys, block style, quotes, spelled-out defaults, equals for in.
    private const string Respelled = """
        # Written on another day.
        rules:
          - reason: "R"
            severity: medium
            action:
              demote: 2.50e-1
            when:
              all:
                - at_least: 0.500
                  score: 'm/a'
                - { attribute: t, in: ["NO", x] }
            shadow: false
            id: r
        budget_us: 1000
        match: strongest
        purposes:
          - recommendation
        classifiers:
          m/b: { fail: open, priority: 100 }
          m/a: { fail: closed }
        surfaces: [home, feed]
        owner: team
        schema: safetyfilter.policy/1
        policy: p
        """;

    [Fact]
    public void Revision_SamePolicySpelledDifferently_IsTheSame() =>
        Assert.Equal(Snapshot(Plain).Surfaces[0].Revision, Snapshot(Respelled).Surfaces[0].Revision);

    [Theory]
    [InlineData("0.5", "0.51")]
    [InlineData("0.25", "0.26")]
    [InlineData("at_least", "above")]
    [InlineData("open", "closed")]
    [InlineData("owner: team", "owner: other")]
    [InlineData("[feed, home]", "[feed]")]
    [InlineData("reason: R", "reason: S")]
    [InlineData("reason: R", "reason: R, shadow: true")]
    [InlineData("reason: R", "reason: R, severity: low")]
    [InlineData("reason: R", "reason: R, expires: 2027-12-31")]
    [InlineData("m/b: { fail: open }", "m/b: { fail: open, priority: 99 }")]
    [InlineData("owner: team", "owner: team\nmatch: first")]
    [InlineData("owner: team", "owner: team\nbudget_us: 999")]
    [InlineData("owner: team", "owner: team\nbreaker_group: shorts")]
    [InlineData("owner: team", "owner: team\npriority: low")]
    [InlineData("owner: team", "owner: team\noverload: fail-mode")]
    public void Revision_AnotherPolicy_IsAnother(string from, string to) =>
        Assert.NotEqual(Snapshot(Plain).Surfaces[0].Revision, Snapshot(Plain.Replace(from, to, StringComparison.Ordinal)).Surfaces[0].Revision);

    [Fact]
    public void Canonical_BreakerGroup_IsWrittenOnlyWhereItIsNotTheDefault()
    {
        var plain = Snapshot(Plain).Surfaces[0];
        var spelled = Snapshot(Plain.Replace("owner: team", "owner: team\nbreaker_group: default", StringComparison.Ordinal)).Surfaces[0];
        var own = Snapshot(Plain.Replace("owner: team", "owner: team\nbreaker_group: shorts", StringComparison.Ordinal)).Surfaces[0];
        Assert.Equal(("default", "default", "shorts"), (plain.BreakerGroup, spelled.BreakerGroup, own.BreakerGroup));
        Assert.Equal((plain.Canonical, plain.Revision), (spelled.Canonical, spelled.Revision));
        Assert.Contains("\"budget_us\": 1000,\n\"breaker_group\": \"shorts\",\n\"classifiers\": {", own.Canonical, StringComparison.Ordinal);
        Assert.Equal((own.Revision, "shorts"), (Snapshot(own.Canonical).Surfaces[0].Revision, Snapshot(own.Canonical).Surfaces[0].BreakerGroup));
    }

    [Fact]
    public void Canonical_IsThisText()
    {
        // Revisions are quoted in records that outlive this code: a change of this text needs another schema name.
        const string Expected = """
            {
            "schema": "safetyfilter.policy/1",
            "policy": "p",
            "owner": "team",
            "surfaces": ["feed", "home"],
            "purposes": ["recommendation"],
            "match": "strongest",
            "budget_us": 1000,
            "classifiers": {
            "m/a": {"fail": "closed"},
            "m/b": {"fail": "open"}
            },
            "rules": [
            {"id": "r", "when": {"all": [{"score": "m/a", "at_least": 0.5}, {"attribute": "t", "in": ["NO", "x"]}]}, "action": {"demote": 0.25}, "reason": "R", "severity": "medium"}
            ],
            "record": {"durability": "process", "late": "pending", "full": "refuse", "inputs": "digest", "hash": [], "mask": [], "seal": []}
            }

            """;

        var policy = Snapshot(Respelled).Surfaces[0];

        Assert.Equal(Expected, policy.Canonical);
        Assert.Equal("9463e446395322029ad4d4e40ebda9aacf833d540ef2ebc8596ce223ffea2aaf", policy.Revision);
    }

    [Fact]
    public void Canonical_PriorityOtherThanTheDefault_IsInIt()
    {
        var policy = Snapshot(Plain.Replace("m/b: { fail: open }", "m/b: { fail: open, priority: 0 }", StringComparison.Ordinal)).Surfaces[0];

        Assert.Contains("\"m/b\": {\"fail\": \"open\", \"priority\": 0}\n", policy.Canonical, StringComparison.Ordinal);
        Assert.Equal((policy.Revision, 0), (Snapshot(policy.Canonical).Surfaces[0].Revision, Snapshot(policy.Canonical).Surfaces[0].Classifiers[1].Priority));
    }

    [Fact]
    public void Canonical_PriorityAndOverload_AreThereWhenTheyAreNotTheDefaults()
    {
        var same = Snapshot(Plain.Replace("owner: team", "owner: team\npriority: normal\noverload: refuse", StringComparison.Ordinal)).Surfaces[0];
        Assert.Equal(Snapshot(Plain).Surfaces[0].Canonical, same.Canonical);

        var policy = Snapshot(Plain.Replace("owner: team", "owner: team\npriority: high\noverload: fail-mode", StringComparison.Ordinal)).Surfaces[0];
        Assert.Contains("\"budget_us\": 1000,\n\"priority\": \"high\",\n\"overload\": \"fail-mode\",\n\"classifiers\"", policy.Canonical, StringComparison.Ordinal);
        var again = Snapshot(policy.Canonical).Surfaces[0];
        Assert.Equal((policy.Revision, SafetyFilter.Decisions.SurfacePriority.High, true), (again.Revision, again.Priority, again.ServesWhenShed));
    }

    [Fact]
    public void Canonical_VerdictCache_IsThereWhenItIsOn()
    {
        var same = Snapshot(Plain.Replace("owner: team", "owner: team\nverdict_cache: off", StringComparison.Ordinal)).Surfaces[0];
        Assert.Equal((Snapshot(Plain).Surfaces[0].Canonical, false), (same.Canonical, same.UsesVerdictCache));

        var policy = Snapshot(Plain.Replace("owner: team", "owner: team\nverdict_cache: on", StringComparison.Ordinal)).Surfaces[0];
        Assert.Contains("\"budget_us\": 1000,\n\"verdict_cache\": \"on\",\n\"classifiers\"", policy.Canonical, StringComparison.Ordinal);
        var again = Snapshot(policy.Canonical).Surfaces[0];
        Assert.Equal((policy.Revision, true), (again.Revision, again.UsesVerdictCache));
    }

    [Theory]
    [InlineData("a\u2028b")]
    [InlineData("a\u2029 b")]
    [InlineData("a\uFEFFb")]
    [InlineData(" \"a\\' # é 😀 ")]
    public void Canonical_LabelThatYamlWouldChange_SurvivesTheRoundTrip(string label)
    {
        var escaped = string.Concat(label.Select(c => char.IsSurrogate(c) ? c.ToString() : $"\\u{(int)c:x4}"));
        var policy = Snapshot(Plain.Replace("demote: 0.25", $"label: \"{escaped}\"", StringComparison.Ordinal)).Surfaces[0];

        Assert.Equal(label, policy.Rules[1].Label);
        Assert.Equal(label, Snapshot(policy.Canonical).Surfaces[0].Rules[1].Label);
    }

    [Fact]
    public void TryGetSurface_KnownSurface_GivesItsPolicy()
    {
        var snapshot = Snapshot(Plain);

        Assert.True(snapshot.TryGetSurface("home"u8, out var policy));
        Assert.Equal(("home", "p"), (policy.Surface, policy.Name));
        Assert.False(snapshot.TryGetSurface("hom"u8, out _));
        Assert.False(snapshot.TryGetSurface(""u8, out _));
    }

    [Fact]
    public void TryGetSurface_AllocatesNothing()
    {
        var snapshot = Snapshot(Plain);
        var found = false;

        Assert.Equal(0, AllocatedBytes.Of(100, () => found = snapshot.TryGetSurface("home"u8, out _) && !snapshot.TryGetSurface("elsewhere"u8, out _)));
        Assert.True(found);
    }

    [Fact]
    public void Compile_SeveralFilesAndDocuments_GiveOneSnapshot()
    {
        var other = Plain.Replace("policy: p", "policy: q", StringComparison.Ordinal);
        var third = other.Replace("[feed, home]", "[kids]", StringComparison.Ordinal).Replace("policy: q", "policy: r", StringComparison.Ordinal);
        PolicySource[] sources = [new("b.yaml", Plain), new("a.yaml", other.Replace("[feed, home]", "[search]", StringComparison.Ordinal) + "\n---\n" + third)];

        var (snapshot, errors) = PolicyCompiler.Compile(sources, null);

        Assert.Empty(errors);
        Assert.Equal(["feed", "home", "kids", "search"], snapshot!.Surfaces.Select(policy => policy.Surface));
        Assert.Equal(snapshot.Revision, PolicyCompiler.Compile([.. sources.Reverse()], null).Snapshot!.Revision);
    }

    [Theory]
    [InlineData("recommendation", true)]
    [InlineData("Recommendation", false)]
    [InlineData("ads", false)]
    [InlineData("", false)]
    public void Serves_Purpose_IsListed(string purpose, bool served) =>
        Assert.Equal(served, Snapshot(Plain).Surfaces[0].Serves(System.Text.Encoding.UTF8.GetBytes(purpose)));

    private static PolicySnapshot Snapshot(string yaml)
    {
        var (snapshot, errors) = PolicyBench.Compile(yaml);
        Assert.Empty(errors);
        return snapshot!;
    }
}
