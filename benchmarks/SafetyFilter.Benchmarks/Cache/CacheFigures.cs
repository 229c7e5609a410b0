using SafetyFilter.Benchmarks.Service;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Scoring;
using static SafetyFilter.Benchmarks.Report;

namespace SafetyFilter.Benchmarks.Cache;

/// <summary>The engine with the cache against the engine without it, in turns over the same pages, by the CPU time of the whole process: the cache's upkeep has a thread of its own.</summary>
internal static class CacheFigures
{
    private const int PagesAtATurn = 48;
    private const int Turns = 15;

    // After these a cache has seen what it is going to see often: half a million candidates.
    private const int WarmUp = 2_000;

    private static readonly (string Name, string[] Bundles, bool Text, bool Embedding)[] Workloads =
    [
        ("embedding-safety", ["embedding-safety"], false, true),
        ("text-safety", ["text-safety"], true, false),
        ("both", ["embedding-safety", "text-safety"], true, true),
    ];

    public static void Measure(Report report, int scale)
    {
        using var models = ClassifierSet.Load(Path.Combine(AppContext.BaseDirectory, "models"), BundleLimits.Default, TimeProvider.System).Value
            ?? throw new InvalidOperationException("The models beside the benchmark do not load.");
        report.Line($"## Pages of {ZipfPages.Candidates} drawn by Zipf (1.0) from {Number(ZipfPages.Contents, 0)} contents ({Machine})");
        report.Line();
        var rows = new List<string[]>();
        foreach (var workload in Workloads)
        {
            rows.AddRange(Rows(models, workload.Bundles, workload.Name, workload.Text, workload.Embedding, scale));
        }

        report.Table(["bundles", "entries", "hits", "CPU us/request (median; turns)", "against none (median)", "allocated B/request", "entries used", "evicted/request"], rows);
        Parts(report, models);
    }

    private static IEnumerable<string[]> Rows(ClassifierSet models, string[] bundles, string name, bool text, bool embedding, int scale)
    {
        var pages = new ZipfPages(seed: 7);
        var decisions = Enumerable.Range(0, PagesAtATurn).Select(static _ => new Decision()).ToArray();
        int[] entries = [0, 1 << 17, 4096 * bundles.Length];
        var engines = entries.Select(size => new CachedEngine(models, bundles, size)).ToArray();
        for (var page = 0; page < WarmUp / scale; page += PagesAtATurn)
        {
            Fill();
            foreach (var engine in page < 4 * PagesAtATurn ? engines : engines[1..])
            {
                Array.ForEach(decisions, engine.Decide);
            }
        }

        var cpu = engines.Select(static _ => new List<double>()).ToArray();
        var (allocated, remembered, lookedUp) = (new long[engines.Length], new long[engines.Length], new long[engines.Length]);
        var evicted = engines.Select(static engine => engine.Cache.Evicted).ToArray();
        for (var turn = 0; turn < Turns; turn++)
        {
            Fill();
            var took = new double[engines.Length];
            Array.ForEach(engines, static engine => engine.Forget());
            for (var i = 0; i < engines.Length; i++)
            {
                var engine = engines[(i + turn) % engines.Length];
                var at = Array.IndexOf(engines, engine);
                GC.Collect();
                var bytes = GC.GetAllocatedBytesForCurrentThread();
                var before = CpuClock.OfProcess(Environment.ProcessId);
                Array.ForEach(decisions, engine.Decide);
                took[at] = (CpuClock.OfProcess(Environment.ProcessId) - before) / 1e3 / PagesAtATurn;
                allocated[at] += GC.GetAllocatedBytesForCurrentThread() - bytes;
                remembered[at] += engine.Remembered;
                lookedUp[at] += engine.LookedUp;
            }

            for (var i = 0; i < engines.Length && !Array.Exists(engines, static engine => engine.Failed); i++)
            {
                cpu[i].Add(took[i]);
            }
        }

        for (var i = 0; i < engines.Length; i++)
        {
            var requests = (double)Turns * PagesAtATurn;
            yield return
            [
                name,
                entries[i] == 0 ? "none" : Number(entries[i], 0),
                entries[i] == 0 ? "" : $"{Number(100.0 * remembered[i] / lookedUp[i], 1)} %",
                $"{Number(Median(cpu[i]), 0)} ({cpu[i].Count})",
                Number(Median(cpu[i].Zip(cpu[0], static (one, none) => one / none))),
                Number(allocated[i] / requests, 0),
                entries[i] == 0 ? "" : Number(engines[i].Cache.Count, 0),
                entries[i] == 0 ? "" : Number((engines[i].Cache.Evicted - evicted[i]) / requests, 1),
            ];
        }

        Array.ForEach(engines, static engine => engine.Dispose());

        void Fill() => Array.ForEach(decisions, decision => pages.Fill(decision, "feed", text, embedding));
    }

    // What a page costs that is all known: the digests, which the record wants in any case; the keys from them; the finding.
    private static void Parts(Report report, ClassifierSet models)
    {
        var pages = new ZipfPages(seed: 7);
        using var engine = new CachedEngine(models, ["embedding-safety"], 1 << 17);
        var decisions = Enumerable.Range(0, 400).Select(static _ => new Decision()).ToArray();
        Array.ForEach(decisions, decision => pages.Fill(decision, "feed", text: false, embedding: true));
        Array.ForEach(decisions, engine.Decide);
        var step = engine.Plan.Steps[0];
        int[] few = [3, 60, 100, 170, 201, 250];
        var turn = 0;
        report.Line("What a page consists of that is all known, microseconds of 256 candidates (least of 10 rounds over 400 pages):");
        report.Line();
        report.Table(
            ["part", "us/page"],
            [
                ["input digests of 128 float32 numbers (for the record, with the cache or without)", Least(static decision => InputDigest.Compute(decision.Batch, decision.InputDigests))],
                ["keys: id and version hashed, with the digest", Least(decision => CacheLookup.Begin(decision, engine.Cache)!.End())],
                ["keys and scores found", Least(decision =>
                {
                    var lookup = CacheLookup.Begin(decision, engine.Cache)!;
                    lookup.Recall(0, step);
                    lookup.End();
                })],
                ["the whole request, all known", Least(engine.Decide)],
                ["the model's run over all 256 instead", Least(decision => step.Bundle.Score(decision.Batch, decision.Scores, step.Rows))],
                ["the model's run over 5 of them, as a page has that are new", Least(decision => step.Bundle.Score(decision.Batch, decision.Scores, step.Rows, default, few.AsSpan(0, 5)))],
                ["the same over 4, 5 and 6 in turn: other shapes than the last", Least(decision =>
                    step.Bundle.Score(decision.Batch, decision.Scores, step.Rows, default, few.AsSpan(0, 4 + turn++ % 3)))],
            ]);

        string Least(Action<Decision> part)
        {
            var least = double.MaxValue;
            for (var round = 0; round < 10; round++)
            {
                Array.ForEach(decisions, static decision => decision.Begin(decision.Terms));
                Array.ForEach(decisions, static decision => InputDigest.Compute(decision.Batch, decision.InputDigests));
                var before = CpuClock.OfThisThread();
                Array.ForEach(decisions, part);
                least = Math.Min(least, (CpuClock.OfThisThread() - before) / 1e3 / decisions.Length);
            }

            return Number(least, 1);
        }
    }
}
