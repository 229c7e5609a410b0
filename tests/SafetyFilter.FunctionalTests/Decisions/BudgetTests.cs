using Grpc.Core;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Decisions;

public sealed class BudgetTests
{
    // The text bundle comes second by name.
    private const string Policy = """
        policy: hurried
        owner: team
        surfaces: [hurried]
        budget_us: 20000
        classifiers: { text-safety/hate: { fail: open, priority: 1 }, embedding-safety/hate: { fail: closed } }
        rules:
          - { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE }
          - { id: block-seen-hate, when: { score: embedding-safety/hate, at_least: 0.9 }, action: block, reason: HATE }
        ---
        policy: patient
        owner: team
        surfaces: [patient]
        budget_us: 1000000
        classifiers: { text-safety/hate: { fail: open } }
        rules:
          - { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE }
        """;

    [Fact]
    public async Task Filter_HungModel_IsCutAtTheBudgetAndOnlyTheServersBudgetsCountAsSlow()
    {
        var folder = Directory.CreateTempSubdirectory("sf-budget-");
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "two.yaml"), Policy, TestContext.Current.CancellationToken);

            // Nobody waits a minute here: what is answered was cut.
            await using var sidecar = await SidecarProcess.StartAsync(
                ("Policies__Folder", folder.FullName),
                ("Breaker__SlowCallMicros", "1000"),
                ("Breaker__MinimumThroughput", "3"),
                ("Chaos__Enabled", "true"),
                ("Chaos__Bundles__text-safety__LatencyRate", "1"),
                ("Chaos__Bundles__text-safety__Latency", "00:01:00"));
            using var wire = Wire.Tcp(sidecar);
            await OverrunDeadlinesAsync(sidecar, wire, calls: 6);
            Assert.DoesNotContain(SpoolRecords.Read(sidecar.Spool), static record => record.Type == RecordType.BreakerChange);

            for (var call = 0; call < 3; call++)
            {
                await AnswerIsMarkedAsync(sidecar, wire, $"hurried-{call}");
            }

            var change = BreakerChange.Parser.ParseFrom(
                SpoolRecords.Read(sidecar.Spool).Single(static record => record.Type == RecordType.BreakerChange).Bytes);
            Assert.Equal(("text-safety", DecisionRecord.Types.BreakerState.Open), (change.Bundle, change.State));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Filter_HungModelOnTheDefaultBudget_OpensItsBreakerThoughEachRunIsCutBeforeItIsSlow()
    {
        var folder = Directory.CreateTempSubdirectory("sf-hung-");
        try
        {
            await File.WriteAllTextAsync(
                Path.Combine(folder.FullName, "quick.yaml"),
                Policy[..Policy.IndexOf("---", StringComparison.Ordinal)].Replace("budget_us: 20000", "budget_us: 1000", StringComparison.Ordinal),
                TestContext.Current.CancellationToken);

            // The breaker's defaults, but for a window that no machine is too slow for: most requests find the model too slow to be started.
            await using var sidecar = await SidecarProcess.StartAsync(
                ("Policies__Folder", folder.FullName),
                ("Breaker__SlowCallMicros", "5000"),
                ("Breaker__SamplingDuration", "01:00:00"),
                ("Chaos__Enabled", "true"),
                ("Chaos__Bundles__text-safety__LatencyRate", "1"),
                ("Chaos__Bundles__text-safety__Latency", "00:01:00"));
            using var wire = Wire.Tcp(sidecar);
            var calls = 0;
            FilterResponse response;
            do
            {
                Assert.InRange(++calls, 1, 10_000);
                response = await wire.FilterAsync(Wire.Page($"hung-{calls}", "hurried", "Ten quiet walks"));
            }
            while (response.Classifiers.Single(static one => one.Name == "text-safety/hate").Failure != V1.FailureKind.BreakerOpen);

            TestContext.Current.SendDiagnosticMessage($"The breaker of a hung model opened after {calls} requests.");
            var change = BreakerChange.Parser.ParseFrom(
                SpoolRecords.Read(sidecar.Spool).Single(static record => record.Type == RecordType.BreakerChange).Bytes);
            Assert.Equal(
                ("text-safety", DecisionRecord.Types.BreakerState.Open, BreakerChange.Types.Reason.SlowCalls), (change.Bundle, change.State, change.Reason));
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static async Task OverrunDeadlinesAsync(SidecarProcess sidecar, Wire wire, int calls)
    {
        static bool IsOverrun(DecisionRecord record) => record.BudgetBound == DecisionRecord.Types.BudgetBound.Deadline
            && record.Bundles.All(static run => run is { Failure: DecisionRecord.Types.FailureKind.OverBudget, Micros: > 0 });

        // On a busy machine a call may be over before it is read.
        for (var call = 0; call < 10 * calls; call++)
        {
            try
            {
                await wire.FilterAsync(Wire.Page($"tiny-{call}", "patient", "Ten quiet walks"), TimeSpan.FromMilliseconds(300));
            }
            catch (RpcException late)
            {
                Assert.Equal(StatusCode.DeadlineExceeded, late.StatusCode);
            }

            if (Decisions(sidecar).Count(IsOverrun) >= calls)
            {
                return;
            }
        }

        Assert.Fail("Too few runs overran their caller's deadline.");
    }

    private static async Task AnswerIsMarkedAsync(SidecarProcess sidecar, Wire wire, string id)
    {
        var request = Wire.Page(id, "hurried", "Ten quiet walks", "A bicycle tyre");
        request.Tensors.Add(Pages.Shorts("x", Pages.Embeddings(seed: 1, count: 2)).Tensors[0]);
        var response = await wire.FilterAsync(request);
        Assert.Equal(V1.BudgetBound.Policy, response.BudgetBound);
        Assert.Equal([V1.Action.Block, V1.Action.Block], response.Actions);
        Assert.Equal([V1.Basis.FailedClosed, V1.Basis.FailedClosed], response.Bases);
        Assert.Equal(
            ["embedding-safety/hate", "text-safety/hate"],
            response.Degradations.Where(static mark => mark.Failure == V1.FailureKind.OverBudget)
                .Select(mark => response.Classifiers[(int)mark.ClassifierIndex].Name).Order(StringComparer.Ordinal));

        var record = Decisions(sidecar).Single(record => record.Sequence == response.Receipt.Sequence);
        Assert.Equal(
            [("text-safety", true), ("embedding-safety", false)],
            record.Bundles.Select(static run => (run.Name, run.Micros > 0)));
        Assert.All(record.Bundles, static run => Assert.Equal(DecisionRecord.Types.FailureKind.OverBudget, run.Failure));
    }

    private static IEnumerable<DecisionRecord> Decisions(SidecarProcess sidecar) => SpoolRecords.Read(sidecar.Spool)
        .Where(static record => record.Type == RecordType.Decision)
        .Select(static record => DecisionRecord.Parser.ParseFrom(record.Bytes));
}
