using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Decisions;

public sealed class BreakerGroupTests
{
    private const string Policies = """
        policy: feed
        owner: team
        surfaces: [feed]
        budget_us: 1000000
        classifiers: { text-safety/hate: { fail: open } }
        rules:
          - { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE }
        ---
        policy: shorts
        owner: team
        surfaces: [shorts]
        breaker_group: shorts
        budget_us: 1000000
        classifiers: { text-safety/hate: { fail: open } }
        rules:
          - { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE }
        """;

    // The latency is thirty times the threshold and more than a busy machine adds to a run; the budget is longer than either.
    [Fact]
    public async Task Filter_TheModelIsSlowForOneGroup_OpensThatGroupsBreakerAloneAndRecordsWhy()
    {
        var folder = Directory.CreateTempSubdirectory("sf-groups-");
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "two.yaml"), Policies, TestContext.Current.CancellationToken);
            await using var sidecar = await SidecarProcess.StartAsync(
                ("Policies__Folder", folder.FullName),
                ("Breaker__SlowCallMicros", "5000"),
                ("Breaker__MinimumThroughput", "4"),
                ("Breaker__BreakDuration", "00:10:00"),
                ("Breaker__SamplingDuration", "00:10:00"),
                ("Chaos__Enabled", "true"),
                ("Chaos__Bundles__text-safety__LatencyRate", "1"),
                ("Chaos__Bundles__text-safety__Latency", "00:00:00.150"));
            using var wire = Wire.Tcp(sidecar);
            for (var call = 0; call < 4; call++)
            {
                Assert.Equal(FailureKind.Unspecified, await FailureOf(wire, "shorts"));
            }

            Assert.Equal(FailureKind.BreakerOpen, await FailureOf(wire, "shorts"));
            Assert.Equal(FailureKind.Unspecified, await FailureOf(wire, "feed"));

            var change = BreakerChange.Parser.ParseFrom(
                Assert.Single(SpoolRecords.Read(sidecar.Spool), static record => record.Type == RecordType.BreakerChange).Bytes);
            Assert.Equal(("text-safety", "shorts", ""), (change.Bundle, change.Group, change.Actor));
            Assert.Equal(
                (DecisionRecord.Types.BreakerState.Open, BreakerChange.Types.Reason.SlowCalls, DecisionRecord.Types.FailureKind.Unspecified, 600_000ul),
                (change.State, change.Reason, change.Cause, change.BreakMillis));
            SpoolRecords.Verify(sidecar.Spool);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static async Task<FailureKind> FailureOf(Wire wire, string surface) =>
        Assert.Single((await wire.FilterAsync(Wire.Page("slow", surface, "Ten quiet walks"))).Classifiers).Failure;
}
