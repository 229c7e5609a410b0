using System.Text.Json;
using Grpc.Core;
using SafetyFilter.Cli;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Decisions;

/// <summary>
/// A sidecar whose text bundle fails every other time, by chaos, and whose breaker does not open: what each fail mode makes of it, on
/// the wire, in the ledger, in the metrics, and years later.
/// </summary>
public sealed class DegradedTests
{
    private const string Block = "[ { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE } ]";

    private static readonly string Policies = string.Join(
        "\n---\n",
        Policy("remembering", "{ fail: { last-known: closed } }", ""),
        Policy("hard", "{ fail: closed, hard: true }", "", "[ { id: harmless, when: { always: true }, action: allow, reason: FINE } ]", "first"),
        Policy("down-classifiers", "{ fail: open }", "all_down: classifiers"),
        Policy("down-block", "{ fail: open }", "all_down: block"),
        Policy("down-allow", "{ fail: closed }", "all_down: allow"),
        Policy("down-refuse", "{ fail: open }", "all_down: refuse"));

    [Fact]
    public async Task Filter_BundleFailsByChaos_EveryFailModeIsAppliedMarkedRecordedAndReplayed()
    {
        var folder = Directory.CreateTempSubdirectory("sf-degraded-");
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "all.yaml"), Policies, TestContext.Current.CancellationToken);
            await using var sidecar = await SidecarProcess.StartAsync(
                ("Chaos__Enabled", "true"),
                ("Chaos__Bundles__text-safety__FaultRate", "0.5"),
                ("Breaker__MinimumThroughput", "1000000"),
                ("LastKnown__MemoryBytes", "65536"),
                ("Policies__Folder", folder.FullName));
            using (var wire = Wire.Tcp(sidecar))
            {
                await LastKnown(sidecar, wire);
                Assert.Equal((Basis.FailedClosed, V1.Action.Block, "unscored", "UNSCORED"), Verdict(await Failed(wire, "hard")));
                Assert.Equal((Basis.FailedOpen, V1.Action.Allow, "default", ""), Verdict(await Failed(wire, "down-classifiers")));
                Assert.Equal((Basis.FailedClosed, V1.Action.Block, "all-down", "ALL_DOWN"), Verdict(await Failed(wire, "down-block")));
                Assert.Equal((Basis.FailedOpen, V1.Action.Allow, "all-down", "ALL_DOWN"), Verdict(await Failed(wire, "down-allow")));
                await Refused(sidecar, wire);
                await Measured(sidecar);
            }

            Assert.Equal(0, await sidecar.StopAsync());
            Replays(sidecar, folder.FullName);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static async Task LastKnown(SidecarProcess sidecar, Wire wire)
    {
        var known = await Until(wire, "remembering", "v1", static response => response.Bases[0] == Basis.Evaluated);
        var recalled = await Until(wire, "remembering", "v1", static response => response.Bases[0] == Basis.LastKnown);
        Assert.Equal(known.Scores, recalled.Scores);
        Assert.Equal(known.Actions, recalled.Actions);
        var mark = Assert.Single(recalled.Degradations);
        Assert.Equal((FailureKind.Error, FailMode.LastKnown, 0), (mark.Failure, mark.FailMode, mark.CandidateIndexes.Count));
        Assert.Equal(FailMode.LastKnown, recalled.Classifiers[0].FailMode);
        var record = SpoolRecords.Find(sidecar.Spool, recalled.Receipt.Sequence).Decision;
        Assert.Equal(recalled.Scores, record.Scores);
        Assert.Equal(((int)Basis.LastKnown, (int)FailMode.LastKnown), ((int)record.Bases[0], (int)Assert.Single(record.Degradations).FailMode));

        // Another version is other content, and one without a version is never remembered.
        foreach (var version in (string[])["v2", ""])
        {
            var unknown = await Until(wire, "remembering", version, static response => response.Bases[0] != Basis.Evaluated, fresh: true);
            Assert.Equal((Basis.FailedClosed, V1.Action.Block, "block-hate", "HATE"), Verdict(unknown));
            Assert.Equal(FailMode.Closed, Assert.Single(unknown.Degradations).FailMode);
        }
    }

    private static async Task Refused(SidecarProcess sidecar, Wire wire)
    {
        RpcException? refusal = null;
        for (var attempt = 0; refusal is null; attempt++)
        {
            Assert.InRange(attempt, 0, 200);
            try
            {
                Assert.Equal(Basis.Evaluated, (await wire.FilterAsync(Page("down-refuse", "v1", attempt))).Bases[0]);
            }
            catch (RpcException error)
            {
                refusal = error;
            }
        }

        Assert.Equal(StatusCode.Unavailable, refusal.StatusCode);
        Assert.Contains("surface 'down-refuse' is down", refusal.Status.Detail, StringComparison.Ordinal);
        Assert.Contains("Apply the ranker's own fail mode", refusal.Status.Detail, StringComparison.Ordinal);
        Assert.All(
            SpoolRecords.Decisions(sidecar.Spool).Where(static record => record.Surface == "down-refuse"),
            static record => Assert.Empty(record.Degradations));
    }

    private static async Task Measured(SidecarProcess sidecar)
    {
        // Asked once: the endpoint gives the same answer again for a while.
        var metrics = await Scraped.FromAsync(sidecar);
        Assert.Equal(1, metrics.Value("safetyfilter_all_down", "surface=\"down-refuse\"", "mode=\"refuse\""));
        Assert.Equal(1, metrics.Value("safetyfilter_requests", "outcome=\"classifiers_down\""));
        foreach (var (surface, mode) in new[]
        {
            ("remembering", "last_known"), ("remembering", "closed"), ("hard", "closed"), ("down-classifiers", "open"), ("down-block", "closed"), ("down-allow", "open"),
        })
        {
            Assert.True(
                metrics.Value("safetyfilter_degraded_candidates", $"surface=\"{surface}\"", "classifier=\"text-safety/hate\"", "cause=\"error\"", $"mode=\"{mode}\"") > 0,
                $"{surface} {mode}");
        }

        Assert.True(metrics.Value("safetyfilter_all_down", "surface=\"down-block\"", "mode=\"block\"") > 0);
    }

    private static void Replays(SidecarProcess sidecar, string policies)
    {
        var output = new StringWriter();
        var code = AuditCommand.Create().Parse(["replay", "--json", "--policies", policies, sidecar.Spool]).Invoke(new() { Output = output, Error = TextWriter.Null });
        using var verdict = JsonDocument.Parse(output.ToString());
        Assert.Equal(
            (0, SpoolRecords.Decisions(sidecar.Spool).Count), (code, verdict.RootElement.GetProperty("equal_decisions").GetInt32()));
    }

    private static Task<FilterResponse> Failed(Wire wire, string surface) =>
        Until(wire, surface, "v1", static response => response.Degradations.Count > 0);

    // Half of the calls fail: one of each kind comes soon.
    private static async Task<FilterResponse> Until(Wire wire, string surface, string version, Predicate<FilterResponse> wanted, bool fresh = false)
    {
        for (var attempt = 0; attempt < 200; attempt++)
        {
            var response = await wire.FilterAsync(Page(surface, version, attempt, fresh));
            if (wanted(response))
            {
                return response;
            }
        }

        Assert.Fail($"Of 200 pages on {surface} none was as expected.");
        return null!;
    }

    private static FilterRequest Page(string surface, string version, int attempt, bool fresh = false)
    {
        var request = Wire.Page($"{surface}-{attempt}", surface, "Ten quiet walks");
        request.CandidateIds[0] = fresh ? $"video:{surface}-{attempt}" : request.CandidateIds[0];
        request.ContentVersions.Add(version);
        return request;
    }

    private static (Basis Basis, V1.Action Action, string Rule, string Reason) Verdict(FilterResponse response)
    {
        var rule = response.Rules[(int)response.RuleIndexes[0]];
        return (response.Bases[0], response.Actions[0], rule.Id, rule.ReasonCode);
    }

    private static string Policy(string surface, string classifier, string line, string rules = Block, string match = "strongest") => $"""
        policy: {surface}
        owner: team
        surfaces: [{surface}]
        budget_us: 1000000
        match: {match}
        {line}
        classifiers: {"{"} text-safety/hate: {classifier} {"}"}
        rules: {rules}
        """;
}
