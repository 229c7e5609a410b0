using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Decisions;

/// <summary>A sidecar whose text bundle always fails, and a policy that trusts the same classifiers in three ways.</summary>
public sealed class FailingSidecar : IAsyncLifetime
{
    private const string Policies = """
        policy: strict
        owner: team
        surfaces: [strict]
        budget_us: 1000000
        classifiers: { text-safety/hate: { fail: closed } }
        rules:
          - { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE, severity: critical }
        ---
        policy: lenient
        owner: team
        surfaces: [lenient]
        budget_us: 1000000
        classifiers: { text-safety/hate: { fail: open } }
        rules:
          - { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE, severity: critical }
        ---
        policy: mixed
        owner: team
        surfaces: [mixed]
        budget_us: 1000000
        classifiers: { text-safety/spam: { fail: closed }, text-safety/hate: { fail: open }, embedding-safety/hate: { fail: closed } }
        rules:
          - { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE, severity: critical }
          - { id: demote-spam, when: { score: text-safety/spam, at_least: 0.6 }, action: { demote: 0.25 }, reason: SPAM }
          - { id: block-seen-hate, when: { score: embedding-safety/hate, at_least: 1 }, action: block, reason: HATE }
        """;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-failing-");

    internal SidecarProcess Sidecar { get; private set; } = null!;

    internal Wire Wire { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        await File.WriteAllTextAsync(Path.Combine(_folder.FullName, "three.yaml"), Policies);
        Sidecar = await SidecarProcess.StartAsync(
            ("ASPNETCORE_ENVIRONMENT", "Production"),
            ("Limits__MaxBudget", "00:00:00.900"),
            ("Chaos__Enabled", "true"),
            ("Chaos__AllowInProduction", "true"),
            ("Chaos__Bundles__text-safety__FaultRate", "1"),
            ("Policies__Folder", _folder.FullName));
        Wire = Wire.Tcp(Sidecar);
    }

    public async ValueTask DisposeAsync()
    {
        Wire.Dispose();
        await Sidecar.DisposeAsync();
        _folder.Delete(recursive: true);
    }
}

public sealed class FailModeTests(FailingSidecar fixture) : IClassFixture<FailingSidecar>
{
    // Whether the breaker has opened by then depends on the tests before; both are failures of the text bundle.
    private static readonly FailureKind[] TextFailures = [FailureKind.Error, FailureKind.BreakerOpen];

    [Fact]
    public async Task Filter_ClosedClassifierFails_IsBlockedByItsRuleAndMarked()
    {
        var response = await fixture.Wire.FilterAsync(Wire.Page("closed", "strict", "Ten quiet walks", "A bicycle tyre"));
        Assert.Equal([V1.Action.Block, V1.Action.Block], response.Actions);
        Assert.Equal([Basis.FailedClosed, Basis.FailedClosed], response.Bases);
        Assert.Equal(["block-hate", "block-hate"], response.RuleIndexes.Select(index => response.Rules[(int)index].Id));
        AssertDegraded(response, "text-safety/hate", FailMode.Closed);
        AssertRecorded(response);
    }

    [Fact]
    public async Task Filter_OpenClassifierFails_IsAllowedByTheDefaultAndMarked()
    {
        var response = await fixture.Wire.FilterAsync(Wire.Page("open", "lenient", "Ten quiet walks", "A bicycle tyre"));
        Assert.Equal([V1.Action.Allow, V1.Action.Allow], response.Actions);
        Assert.Equal([Basis.FailedOpen, Basis.FailedOpen], response.Bases);
        Assert.Equal(["default", "default"], response.RuleIndexes.Select(index => response.Rules[(int)index].Id));
        AssertDegraded(response, "text-safety/hate", FailMode.Open);
        AssertRecorded(response);
    }

    [Fact]
    public async Task Filter_OneBundleFails_TheOtherStillScores()
    {
        var request = Wire.Page("mixed", "mixed", "Ten quiet walks", "A bicycle tyre");
        request.Tensors.Add(Pages.Shorts("x", Pages.Embeddings(seed: 1, count: 2)).Tensors[0]);
        var response = await fixture.Wire.FilterAsync(request);
        Assert.Equal([V1.Action.Demote, V1.Action.Demote], response.Actions);
        Assert.Equal([Basis.FailedClosed, Basis.FailedClosed], response.Bases);
        Assert.Equal(0.25f, response.Rules[(int)response.RuleIndexes[0]].DemoteFactor);
        Assert.Equal(["text-safety/hate", "text-safety/spam"], response.Degradations.Select(mark => response.Classifiers[(int)mark.ClassifierIndex].Name).Order(StringComparer.Ordinal));
        var seen = response.Classifiers.ToList().FindIndex(static report => report.Name == "embedding-safety/hate");
        Assert.All(response.Scores.Skip(seen * 2).Take(2), static score => Assert.InRange(score, 0, 1));
        Assert.True(response.Classifiers[seen] is { Failure: FailureKind.Unspecified, Micros: > 0 });
        AssertRecorded(response);
    }

    [Fact]
    public async Task Filter_FailuresReachTheThroughput_AreAnsweredByTheOpenBreaker()
    {
        var kinds = new List<FailureKind>();
        for (var call = 0; call < 30; call++)
        {
            var response = await fixture.Wire.FilterAsync(Wire.Page($"breaker-{call}", "lenient", "Ten quiet walks"));
            kinds.Add(Assert.Single(response.Classifiers).Failure);
            Assert.Equal(kinds[^1] == FailureKind.BreakerOpen, response.Classifiers[0].Micros == 0);
        }

        Assert.All(kinds, static kind => Assert.Contains(kind, TextFailures));
        Assert.Contains(FailureKind.BreakerOpen, kinds);
        var changes = SpoolRecords.Read(fixture.Sidecar.Spool)
            .Where(static record => record.Type == RecordType.BreakerChange)
            .Select(static record => BreakerChange.Parser.ParseFrom(record.Bytes));
        Assert.Contains(changes, static change => change is
        {
            Bundle: "text-safety",
            State: DecisionRecord.Types.BreakerState.Open,
            Cause: DecisionRecord.Types.FailureKind.Error,
            BreakMillis: 5000,
        });
        SpoolRecords.Verify(fixture.Sidecar.Spool);
    }

    [Fact]
    public async Task Filter_NoDeadlineAndAPolicyAboveTheServersCap_IsBoundByTheServer()
    {
        var response = await fixture.Wire.FilterAsync(Wire.Page("capped", "lenient", "Ten quiet walks"));
        Assert.Equal((900_000u, BudgetBound.Server), (response.BudgetMicros, response.BudgetBound));
        var record = SpoolRecords.Find(fixture.Sidecar.Spool, response.Receipt.Sequence).Decision;
        Assert.Equal((900_000u, DecisionRecord.Types.BudgetBound.Server), (record.BudgetMicros, record.BudgetBound));
    }

    [Fact]
    public async Task Filter_ARepeatedAttempt_IsRecordedUnderItsKey()
    {
        var request = Wire.Page("again", "lenient", "Ten quiet walks");
        (request.IdempotencyKey, request.Attempt) = ("page-7", 1);
        var response = await fixture.Wire.FilterAsync(request);
        var record = SpoolRecords.Find(fixture.Sidecar.Spool, response.Receipt.Sequence).Decision;
        Assert.Equal(("page-7", 1u), (record.IdempotencyKey, record.Attempt));
    }

    private static void AssertDegraded(FilterResponse response, string classifier, FailMode mode)
    {
        var mark = Assert.Single(response.Degradations);
        Assert.Equal(classifier, response.Classifiers[(int)mark.ClassifierIndex].Name);
        Assert.Equal((mode, 0), (mark.FailMode, mark.CandidateIndexes.Count));
        Assert.Contains(mark.Failure, TextFailures);
        Assert.All(response.Scores, static score => Assert.Equal(float.NaN, score));
    }

    private void AssertRecorded(FilterResponse response)
    {
        var record = SpoolRecords.Find(fixture.Sidecar.Spool, response.Receipt.Sequence).Decision;
        Assert.Equal(response.Bases.Select(static basis => (int)basis), record.Bases.Select(static basis => (int)basis));
        Assert.Equal(
            response.Degradations.Select(static mark => ((int)mark.Failure, (int)mark.FailMode, mark.ClassifierIndex)),
            record.Degradations.Select(static mark => ((int)mark.Failure, (int)mark.FailMode, mark.ClassifierIndex)));
    }
}
