using System.Globalization;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Health.V1;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.FunctionalTests.Kafka;
using SafetyFilter.FunctionalTests.Reload;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Operations.V1;
using SafetyFilter.V1;
using BreakerState = SafetyFilter.Operations.V1.BreakerStatus.Types.State;

namespace SafetyFilter.FunctionalTests.Faults;

/// <summary>
/// Every failure that a classifier can have, under every mode: the answer, its marks, the record, the metrics, the breaker and health.
/// And those of other parts, which have no modes.
/// </summary>
/// <remarks>
/// Held whole elsewhere:
/// <code>
/// ledger full, refuse / serve         Host/FullLedgerTests
/// disk late, refuse / pending         Host/DiskLevelTests
/// disk fails                          Faults/DiskFaultTests
/// Kafka down for long                 Kafka/KafkaOutageTests, Host/FullLedgerTests (until the spool is full)
/// overload, refused                   Overload/ShedTests
/// no time left to start, deadline     Decisions/BudgetTests
/// all classifiers down, one hard      Host/HealthTests (the sidecar as a whole)
/// break over, trials                  TrialTests (SafetyFilter.Tests)
/// each kind of bad input              BadInput/BadInputTests
/// unauthorised                        Operations/OperationsTests
/// each kind of bad edit               Reload/EditTests
/// bad model or policy at the start    Host/StartTests
/// sidecar crashes                     Faults/KillLoopTests; what its caller does then: Client/LostSidecarTests
/// </code>
/// </remarks>
public sealed class FailureMatrixTests(FailureMatrix fixture) : IClassFixture<FailureMatrix>
{
    private static readonly TimeSpan LongestScrape = TimeSpan.FromSeconds(10);

    public static TheoryData<string, string> Rows
    {
        get
        {
            var rows = new TheoryData<string, string>();
            foreach (var (failure, mode) in FailureMatrix.Rows)
            {
                rows.Add(failure.Name, mode.Name);
            }

            return rows;
        }
    }

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Rows))]
    public async Task Filter_ClassifierFails_IsAnsweredMarkedRecordedAndCountedByItsMode(string failureName, string modeName)
    {
        var failure = Array.Find(MatrixFailure.All, one => one.Name == failureName)!;
        var mode = Array.Find(MatrixMode.All, one => one.Name == modeName)!;
        var sidecar = fixture[failure.Sidecar];
        var row = new MatrixRow(sidecar, failure, mode);

        var (response, refusal) = await row.FailAsync();

        if (mode.IsRefused)
        {
            Assert.Null(response);
            Assert.Contains($"surface '{row.Surface}' is down", refusal.Detail, StringComparison.Ordinal);
            var decisions = SpoolRecords.Decisions(sidecar.Process.Spool).Where(record => record.Surface == row.Surface).ToList();
            Assert.Equal(row.Asked - row.Refused, decisions.Count);
            Assert.All(decisions, static record => Assert.Empty(record.Degradations));
        }
        else
        {
            AssertAnswered(response!, row.Known, failure, mode);
            AssertRecorded(response!, SpoolRecords.Find(sidecar.Process.Spool, response!.Receipt.Sequence).Decision, failure);
        }

        var breaker = await row.BreakerAsync();
        AssertBreaker(breaker, row, failure);
        AssertChangesRecorded(sidecar, row, failure);
        await AssertHealthAsync(sidecar, breaker);
        Assert.Equal(
            mode == MatrixMode.Hard && failure.Breaker != BreakerState.Closed ? HealthCheckResponse.Types.ServingStatus.NotServing : HealthCheckResponse.Types.ServingStatus.Serving,
            await HealthOfAsync(sidecar, "safetyfilter.v1.SafetyFilter/" + row.Surface));
        await AssertMeasuredAsync(sidecar, row, failure, mode);
    }

    [Fact]
    public async Task Filter_NoFeatureThatAClassifierReads_IsRefusedByNameAndHeldAgainstNobody()
    {
        var sidecar = fixture["healthy"];
        var request = Wire.Page("nothing-to-read", FailureMatrix.Holder, "Ten quiet walks");
        request.Texts.Clear();

        var refused = await sidecar.Wire.RefusedAsync(request.ToByteArray());

        Assert.Equal(StatusCode.InvalidArgument, refused.StatusCode);
        Assert.Contains("texts['text']", refused.Detail, StringComparison.Ordinal);
        Assert.DoesNotContain(SpoolRecords.Decisions(sidecar.Process.Spool), static record => record.Surface == FailureMatrix.Holder);
        var breaker = Assert.Single(await BreakersAsync(sidecar), static one => one is { Bundle: "text-safety", Group: "default" });
        Assert.Equal((BreakerState.Closed, 0UL, 0UL, 0UL), (breaker.State, breaker.Calls, breaker.Failures, breaker.TurnedAway));
        await AssertHealthAsync(sidecar, breaker);
        await AssertCountedAsync(sidecar, [("safetyfilter_requests", ["outcome=\"invalid_argument\""], 1), ("safetyfilter_requests", [$"surface=\"{FailureMatrix.Holder}\""], 0)]);
    }

    [Fact]
    public async Task Filter_KafkaIsDown_IsAnsweredAsEverAndOnlyOperatorsAreTold()
    {
        using var kafka = new KafkaUnderTest();
        kafka.Mock.TakeDown();
        var socket = fixture.Socket("kafka");
        var process = await SidecarProcess.StartAsync([.. kafka.Sidecar, ("Operations__UnixSocket", socket)]);
        await using var sidecar = new MatrixSidecar(process, Wire.Tcp(process), Wire.Unix(socket));

        SidecarStatus status = null!;
        await ReloadingSidecar.UntilAsync(
            async () => (status = await StatusAsync(sidecar)).Troubles.Any(static trouble => trouble.StartsWith("kafka: ", StringComparison.Ordinal)), "operators are told of Kafka");
        var response = await sidecar.Wire.FilterAsync(Wire.Page("kafka-down", "for-you", "Ten quiet walks"));

        Assert.Equal([Basis.Evaluated], response.Bases);
        Assert.Equal((V1.Durability.Process, false), (response.Receipt.Durability, response.Receipt.Pending));
        var record = SpoolRecords.Find(process.Spool, response.Receipt.Sequence).Decision;
        Assert.Equal((response.RequestId, (int)response.Actions[0]), (record.RequestId, (int)record.Actions[0]));
        Assert.True(status is { Serving: true, Ledger: { Kafka: true, Unpublished: > 0 } });
        Assert.All(await BreakersAsync(sidecar), static breaker => Assert.Equal((BreakerState.Closed, 0UL), (breaker.State, breaker.Failures)));
        Assert.True(await RecordLevels.IsServingAsync(process));
        await AssertCountedAsync(
            sidecar,
            [
                ("safetyfilter_ledger_publishing_troubled", [], 1),
                ("safetyfilter_requests", ["surface=\"for-you\"", "outcome=\"ok\""], 1),
                ("safetyfilter_degraded_candidates", [], 0),
                ("safetyfilter_breaker_transitions", [], 0),
            ]);
    }

    [Fact]
    public async Task Filter_PolicyIsEditedBadly_IsDecidedByTheLastGoodOneAndItsBreakersStayAsTheyWere()
    {
        var socket = fixture.Socket("edited");
        await using var reloading = await ReloadingSidecar.StartAsync(new { }, ("Operations__UnixSocket", socket));
        using var wire = Wire.Unix(socket);
        var sidecar = new MatrixSidecar(reloading.Sidecar, reloading.Wire, wire);
        var before = await reloading.AskAsync();
        await sidecar.Operations.IsolateBreakerAsync(new BreakerRequest { Bundle = "text-safety" }, cancellationToken: Cancelled);

        // Renamed: on a busy machine a file that is being written may be seen empty twice, which is a bad edit too.
        reloading.RenamePolicy(ReloadingSidecar.Policy(1).Replace("at_least: 0.000001", "at_least: 1.3", StringComparison.Ordinal));
        await ReloadingSidecar.UntilAsync(() => Task.FromResult(reloading.Changes().Count == 1), "the edit is refused");
        var after = await reloading.AskAsync();

        Assert.Equal((before.PolicyRevision, ReloadingSidecar.Budget(0)), (after.PolicyRevision, after.BudgetMicros));
        Assert.Equal((Basis.FailedOpen, FailureKind.BreakerOpen), (Assert.Single(after.Bases), Assert.Single(after.Degradations).Failure));
        Assert.Equal(before.PolicyRevision, SpoolRecords.Find(reloading.Sidecar.Spool, after.Receipt.Sequence).Decision.PolicyRevision);
        Assert.Equal(Change.Types.Outcome.Refused, reloading.Changes()[0].Outcome);
        await AssertHealthAsync(sidecar, Assert.Single(await BreakersAsync(sidecar), static one => one is { Bundle: "text-safety", State: BreakerState.Isolated }));
        Assert.Contains((await StatusAsync(sidecar)).Troubles, static trouble => trouble.StartsWith("reload: ", StringComparison.Ordinal) && trouble.Contains("threshold 1.3", StringComparison.Ordinal));
        await AssertCountedAsync(
            sidecar, [("safetyfilter_reloads", ["outcome=\"refused\"", "source=\"file\""], 1), ("safetyfilter_reloads", ["outcome=\"accepted\""], 0)]);
    }

    private static void AssertAnswered(FilterResponse response, FilterResponse? known, MatrixFailure failure, MatrixMode mode)
    {
        // Only the last candidate lacks the feature.
        var first = failure == MatrixFailure.Missing ? MatrixRow.Candidates - 1 : 0;
        var classifier = response.Classifiers.ToList().FindIndex(report => report.Name == failure.Classifier);
        var mark = Assert.Single(response.Degradations);
        Assert.Equal((failure.Kind, mode.Mark, (uint)classifier), (mark.Failure, mark.FailMode, mark.ClassifierIndex));
        Assert.Equal(first == 0 ? [] : [(uint)first], mark.CandidateIndexes);
        Assert.Equal(first == 0 ? failure.Kind : FailureKind.Unspecified, response.Classifiers[classifier].Failure);
        for (var candidate = 0; candidate < MatrixRow.Candidates; candidate++)
        {
            var rule = response.Rules[(int)response.RuleIndexes[candidate]];
            var score = response.Scores[classifier * MatrixRow.Candidates + candidate];
            if (candidate < first)
            {
                Assert.Equal((V1.Action.Demote, Basis.Evaluated, "demote-scored"), (response.Actions[candidate], response.Bases[candidate], rule.Id));
                Assert.InRange(score, 0, 1);
                continue;
            }

            Assert.Equal((mode.Action, mode.Basis, mode.Rule), (response.Actions[candidate], response.Bases[candidate], rule.Id));
            Assert.Equal(known?.Scores[classifier * MatrixRow.Candidates + candidate] ?? float.NaN, score);
        }
    }

    private static void AssertRecorded(FilterResponse response, DecisionRecord record, MatrixFailure failure)
    {
        Assert.Equal(response.Actions.Select(static action => (int)action), record.Actions.Select(static action => (int)action));
        Assert.Equal(response.Bases.Select(static basis => (int)basis), record.Bases.Select(static basis => (int)basis));
        Assert.Equal(response.RuleIndexes.Select(index => response.Rules[(int)index].Id), record.RuleIndexes.Select(index => record.Rules[(int)index].Id));
        Assert.Equal(response.Scores, record.Scores);
        var (told, recorded) = (Assert.Single(response.Degradations), Assert.Single(record.Degradations));
        Assert.Equal(((int)told.Failure, (int)told.FailMode, told.ClassifierIndex), ((int)recorded.Failure, (int)recorded.FailMode, recorded.ClassifierIndex));
        Assert.Equal(told.CandidateIndexes, recorded.CandidateIndexes);
        var run = Assert.Single(record.Bundles, bundle => bundle.Name == failure.Bundle);
        Assert.Equal(
            (failure == MatrixFailure.Missing ? 0 : (int)failure.Kind, (int)failure.Breaker), ((int)run.Failure, (int)run.Breaker));
    }

    /// <summary>Only what the model did itself is held against it, and what did not reach it is no call.</summary>
    private static void AssertBreaker(BreakerStatus breaker, MatrixRow row, MatrixFailure failure)
    {
        Assert.Equal(failure.Breaker, breaker.State);
        Assert.Equal(failure.Breaker != BreakerState.Closed, breaker.TurnedAway > 0);
        Assert.Equal(failure == MatrixFailure.Slow, breaker.SlowCalls > 0);
        var (asked, failed, away) = ((ulong)row.Asked, (ulong)row.Failed, breaker.TurnedAway);
        var expected = failure.Kind switch
        {
            FailureKind.Error or FailureKind.InvalidOutput => (asked, failed),
            FailureKind.OverBudget or FailureKind.MissingFeature => (asked, 0UL),
            FailureKind.FeatureMismatch or FailureKind.Shed => (asked - failed, 0UL),
            _ => (asked - away, failed - away),
        };
        Assert.Equal(expected, (breaker.Calls, breaker.Failures));
    }

    private static void AssertChangesRecorded(MatrixSidecar sidecar, MatrixRow row, MatrixFailure failure)
    {
        var changes = SpoolRecords.Read(sidecar.Process.Spool)
            .Where(static record => record.Type == RecordType.BreakerChange)
            .Select(static record => BreakerChange.Parser.ParseFrom(record.Bytes))
            .Where(change => change.Group == row.Surface).ToList();
        if (failure.Breaker == BreakerState.Closed)
        {
            Assert.Empty(changes);
            return;
        }

        var change = Assert.Single(changes);
        Assert.Equal((failure.Bundle, (int)failure.Breaker), (change.Bundle, (int)change.State));
        Assert.Equal(
            failure == MatrixFailure.Opens
                ? (BreakerChange.Types.Reason.Failures, DecisionRecord.Types.FailureKind.Error, 86_400_000UL, false)
                : (BreakerChange.Types.Reason.Operator, DecisionRecord.Types.FailureKind.Unspecified, 0UL, true),
            (change.Reason, change.Cause, change.BreakMillis, change.Actor.StartsWith("uid ", StringComparison.Ordinal)));
    }

    /// <summary>No failure of one surface's classifiers takes the sidecar out of service; operators are told of breakers that are not closed.</summary>
    private static async Task AssertHealthAsync(MatrixSidecar sidecar, BreakerStatus breaker)
    {
        Assert.Equal(HealthCheckResponse.Types.ServingStatus.Serving, await HealthOfAsync(sidecar, ""));
        var status = await StatusAsync(sidecar);
        Assert.True(status.Serving);
        Assert.Equal(
            breaker.State == BreakerState.Closed ? [] : [$"breaker of {breaker.Bundle} (group {breaker.Group}): {breaker.State}"],
            status.Troubles.Where(trouble => trouble.Contains($"(group {breaker.Group})", StringComparison.Ordinal)));
    }

    private static async Task<HealthCheckResponse.Types.ServingStatus> HealthOfAsync(MatrixSidecar sidecar, string service) =>
        (await new Health.HealthClient(sidecar.Wire.Channel).CheckAsync(new HealthCheckRequest { Service = service }, cancellationToken: Cancelled)).Status;

    private static async Task AssertMeasuredAsync(MatrixSidecar sidecar, MatrixRow row, MatrixFailure failure, MatrixMode mode)
    {
        Assert.Equal(!mode.IsRefused, row.Marks.ContainsKey((failure.Classifier, failure.Kind, mode.Mark)));
        var surface = $"surface=\"{row.Surface}\"";
        await AssertCountedAsync(
            sidecar,
            [
                .. row.Marks.Select(mark => (
                    "safetyfilter_degraded_candidates",
                    new[] { surface, $"classifier=\"{mark.Key.Classifier}\"", $"cause=\"{CauseOf(mark.Key.Failure, failure)}\"", $"mode=\"{TagOf(mark.Key.Mode)}\"" },
                    (double)mark.Value)),
                ("safetyfilter_all_down", [surface, $"mode=\"{mode.AllDown}\""], failure.IsDown ? row.Failed : 0),
                ("safetyfilter_requests", [surface, "outcome=\"ok\""], row.Asked - row.Refused),
                ("safetyfilter_breaker_transitions", [$"group=\"{row.Surface}\""], failure.Breaker == BreakerState.Closed ? 0 : 1),
            ]);
    }

    private static async Task AssertCountedAsync(MatrixSidecar sidecar, IReadOnlyList<(string Name, string[] Labels, double Value)> expected)
    {
        // The endpoint gives the same answer again for a while: what it says may be of before.
        using var patience = new CancellationTokenSource(LongestScrape);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(20));
        for (var differences = await DifferencesAsync(); differences.Count > 0; differences = await DifferencesAsync())
        {
            Assert.False(patience.IsCancellationRequested, string.Join("; ", differences));
            await timer.WaitForNextTickAsync(Cancelled);
        }

        async Task<List<string>> DifferencesAsync()
        {
            var metrics = await Scraped.FromAsync(sidecar.Process);
            return
            [
                .. expected.Select(one => (one, Is: metrics.Value(one.Name, one.Labels))).Where(static pair => pair.Is != pair.one.Value).Select(
                    static pair => string.Create(CultureInfo.InvariantCulture, $"{pair.one.Name} {string.Join(' ', pair.one.Labels)} is {pair.Is}, not {pair.one.Value}")),
            ];
        }
    }

    private static async Task<IEnumerable<BreakerStatus>> BreakersAsync(MatrixSidecar sidecar) =>
        (await sidecar.Operations.ListBreakersAsync(new ListBreakersRequest(), cancellationToken: Cancelled)).Breakers;

    private static async Task<SidecarStatus> StatusAsync(MatrixSidecar sidecar) =>
        await sidecar.Operations.GetStatusAsync(new GetStatusRequest(), cancellationToken: Cancelled);

    // A breaker opens by errors first.
    private static string CauseOf(FailureKind kind, MatrixFailure failure) => kind == failure.Kind ? failure.Cause : MatrixFailure.Throws.Cause;

    private static string TagOf(FailMode mode) => mode switch
    {
        FailMode.Closed => "closed",
        FailMode.Open => "open",
        _ => "last_known",
    };
}
