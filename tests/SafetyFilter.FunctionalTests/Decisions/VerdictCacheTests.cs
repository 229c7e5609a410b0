using System.Text.Json;
using SafetyFilter.Cli;
using SafetyFilter.FunctionalTests.Host;
using SafetyFilter.FunctionalTests.Reload;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Decisions;

/// <summary>
/// Content that comes again to a real sidecar: remembered on the wire, in the ledger and in the metrics, switched while it serves, and
/// recomputed by an auditor.
/// </summary>
public sealed class VerdictCacheTests
{
    private const string On = """
        policy: cached
        owner: team
        surfaces: [cached]
        budget_us: 1000000
        verdict_cache: on
        classifiers: { text-safety/hate: { fail: closed }, text-safety/spam: { fail: open }, embedding-safety/toxicity: { fail: closed } }
        rules:
          - { id: block-hate, when: { score: text-safety/hate, at_least: 0.9 }, action: block, reason: HATE }
        record: { inputs: full }
        """;

    private static readonly string Off = On.Replace("verdict_cache: on", "verdict_cache: off", StringComparison.Ordinal);

    private static readonly string[] Titles = Pages.Titles(seed: 1, count: 80);
    private static readonly float[][] Embeddings = Pages.Embeddings(seed: 1, count: 80);

    [Fact]
    public async Task Filter_ContentThatComesAgain_IsRememberedToldRecordedAndReplayed()
    {
        var folder = Directory.CreateTempSubdirectory("sf-cached-");
        try
        {
            var policy = Path.Combine(folder.FullName, "cached.yaml");
            await File.WriteAllTextAsync(policy, On, TestContext.Current.CancellationToken);
            await using var sidecar = await SidecarProcess.StartAsync(
                ("Policies__Folder", folder.FullName), ("Breaker__MinimumThroughput", "1000000"), ("VerdictCache__Entries", "4096"), ("Reload__PollInterval", "00:00:00.050"));
            FilterResponse half;
            using (var wire = Wire.Unix(sidecar.UnixSocket))
            {
                var first = await wire.FilterAsync(Page("first", 0, 40));
                half = await wire.FilterAsync(Page("half", 20, 40));
                var all = await wire.FilterAsync(Page("all", 0, 60));
                Assert.Equal([0u, 0, 0], Remembered(first));
                Assert.Equal([20u, 20, 20], Remembered(half));
                Assert.Equal([60u, 60, 60], Remembered(all));
                Assert.All(all.Classifiers, static classifier => Assert.Equal((FailureKind.Unspecified, 0u), (classifier.Failure, classifier.Micros)));
                Assert.All(all.Bases, static basis => Assert.Equal(Basis.Evaluated, basis));
                Assert.Equal(first.Scores.Take(40), all.Scores.Take(40));
                Assert.Equal(half.Scores.Skip(20).Take(20), all.Scores.Skip(40).Take(20));

                // Another version is other content; so is another text under the same version.
                Assert.Equal([0u, 0, 0], Remembered(await wire.FilterAsync(Page("version", 0, 40, "w"))));
                var lie = Page("lie", 0, 40);
                lie.Texts[0].Values[3] = "something else entirely";
                Assert.Equal([39u, 39, 39], Remembered(await wire.FilterAsync(lie)));

                var scraped = await Scraped.FromAsync(sidecar);
                Assert.Equal(20 + 60 + 39, scraped.Value("safetyfilter_verdict_cache_lookups", "bundle=\"text-safety\"", "outcome=\"hit\""));
                Assert.Equal(40 + 20 + 40 + 1, scraped.Value("safetyfilter_verdict_cache_lookups", "bundle=\"text-safety\"", "outcome=\"miss\""));
                Assert.Equal(2 * (60 + 40 + 1), scraped.Value("safetyfilter_verdict_cache_entries"));
                Assert.Equal(0, scraped.Value("safetyfilter_verdict_cache_evictions"));

                await Switch(wire, policy, Off, first.PolicyRevision);
                Assert.Equal([0u, 0, 0], Remembered(await wire.FilterAsync(Page("off", 0, 40))));

                // The endpoint answers scrapes that follow each other closely with the same text.
                await ReloadingSidecar.UntilAsync(
                    async () => (await Scraped.FromAsync(sidecar)).Value("safetyfilter_verdict_cache_entries") == 0, "the cache is given back");
                await Switch(wire, policy, On, (await wire.FilterAsync(Page("off-again", 0, 1))).PolicyRevision);
                await wire.FilterAsync(Page("on", 70, 10));
                Assert.Equal([10u, 10, 10], Remembered(await wire.FilterAsync(Page("on-again", 70, 10))));
            }

            Assert.Equal(0, await sidecar.StopAsync());
            Audit(sidecar, half);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static void Audit(SidecarProcess sidecar, FilterResponse half)
    {
        var record = SpoolRecords.Find(sidecar.Spool, half.Receipt.Sequence).Decision;
        Assert.All(record.Bundles, static run => Assert.Equal("ffff0f0000", Convert.ToHexStringLower(run.Remembered.Span)));
        Assert.Equal(half.Scores, record.Scores);

        var models = Path.Combine(AppContext.BaseDirectory, "models");
        var (code, text) = Run("replay", "--json", "--models", models, sidecar.Spool);
        using var replayed = JsonDocument.Parse(text);
        var root = replayed.RootElement;
        Assert.True(code == 0, text);
        Assert.Equal(root.GetProperty("decisions").GetInt32(), root.GetProperty("rescored_decisions").GetInt32());
        Assert.True(root.GetProperty("remembered_scores").GetInt32() >= 3 * (20 + 60 + 39 + 10));

        const string Told = "score remembered from an earlier run of the same content version and bundle";
        (code, text) = Run("show", "--request", "half", "--candidate", "c20", sidecar.Spool);
        Assert.True(code == 0, text);
        Assert.Equal(3, text.Split('\n').Count(static line => line.Contains(Told, StringComparison.Ordinal)));
        Assert.Contains("the scores of 20 candidates are remembered; for the others it ran", text, StringComparison.Ordinal);
        Assert.DoesNotContain(Told, Run("show", "--request", "half", "--candidate", "c50", sidecar.Spool).Output, StringComparison.Ordinal);
    }

    // Until an answer is by another revision than this one.
    private static async Task Switch(Wire wire, string path, string policy, string from)
    {
        var aside = path + ".tmp";
        await File.WriteAllTextAsync(aside, policy, TestContext.Current.CancellationToken);
        File.Move(aside, path, overwrite: true);
        await ReloadingSidecar.UntilAsync(async () => (await wire.FilterAsync(Page("asking", 79, 1))).PolicyRevision != from, "the edited policy serves");
    }

    private static IEnumerable<uint> Remembered(FilterResponse response) => response.Classifiers.Select(static classifier => classifier.Remembered);

    private static FilterRequest Page(string id, int from, int count, string version = "v")
    {
        var request = Pages.Shorts(id, Embeddings[from..(from + count)]);
        request.Surface = "cached";
        request.CandidateIds.Clear();
        request.CandidateIds.AddRange(Enumerable.Range(from, count).Select(static content => $"c{content}"));
        request.ContentVersions.AddRange(Enumerable.Repeat(version, count));
        request.Texts.Add(new TextColumn { Name = "text", Values = { Titles[from..(from + count)] } });
        return request;
    }

    private static (int Code, string Output) Run(params string[] arguments)
    {
        var output = new StringWriter();
        var code = AuditCommand.Create().Parse(arguments).Invoke(new() { Output = output, Error = TextWriter.Null });
        return (code, output.ToString());
    }
}
