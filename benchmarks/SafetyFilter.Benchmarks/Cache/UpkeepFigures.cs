using BitFaster.Caching.Lfu;
using BitFaster.Caching.Scheduler;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Filtering;
using static SafetyFilter.Benchmarks.Report;

namespace SafetyFilter.Benchmarks.Cache;

/// <summary>Who does the cache's upkeep, and how often: what an access costs the whole process, and how much is found.</summary>
internal static class UpkeepFigures
{
    private const int Contents = ZipfPages.Contents;
    private const int Rounds = 9;

    public static void Measure(Report report, int scale)
    {
        var random = new SplitMix64(1);
        var keys = new ScoreKey[Contents];
        for (var i = 0; i < keys.Length; i++)
        {
            keys[i] = new ScoreKey(random.Next(), random.Next());
        }

        var law = new Zipf(Contents, 1.0);
        var drawn = new int[1_000_000 / scale];
        for (var i = 0; i < drawn.Length; i++)
        {
            drawn[i] = law.Sample(ref random);
        }

        report.Line($"## Upkeep ({Number(drawn.Length, 0)} look-ups a round in one thread, what is not found is added; medians of {Rounds} rounds in turns)");
        report.Line();
        var rows = new List<string[]>();
        foreach (var entries in (int[])[1 << 17, 4096])
        {
            rows.AddRange(Rows(keys, drawn, entries));
        }

        report.Table(["entries", "upkeep", "CPU ns/look-up", "found"], rows);
    }

    private static IEnumerable<string[]> Rows(ScoreKey[] keys, int[] drawn, int entries)
    {
        using var upkeep = new CacheUpkeep(TimeProvider.System);
        (string Name, IScheduler Scheduler)[] schedulers =
        [
            ("at once, by the request", new ForegroundScheduler()),
            ("at once, by the pool", new ThreadPoolScheduler()),
            ("at once, by a thread", new BackgroundThreadScheduler()),
            ("every 10 ms, by the pool", upkeep),
        ];
        var caches = schedulers.Select(one => new ConcurrentLfu<ScoreKey, float[]>(Environment.ProcessorCount, entries, one.Scheduler, EqualityComparer<ScoreKey>.Default)).ToArray();
        var times = caches.Select(static _ => new List<double>()).ToArray();
        var found = new double[caches.Length];
        for (var round = 0; round <= Rounds; round++)
        {
            for (var i = 0; i < caches.Length; i++)
            {
                var before = Environment.CpuUsage.TotalTime;
                found[i] = (double)LookUp(caches[i], keys, drawn) / drawn.Length;
                var nanos = (Environment.CpuUsage.TotalTime - before).TotalNanoseconds / drawn.Length;

                // The first one fills it.
                if (round > 0)
                {
                    times[i].Add(nanos);
                }
            }
        }

        for (var i = 0; i < caches.Length; i++)
        {
            yield return [Number(entries, 0), schedulers[i].Name, Number(Median(times[i]), 0), $"{Number(100 * found[i], 1)} %"];
        }

        foreach (var (_, scheduler) in schedulers)
        {
            (scheduler as IDisposable)?.Dispose();
        }
    }

    private static int LookUp(ConcurrentLfu<ScoreKey, float[]> cache, ScoreKey[] keys, int[] drawn)
    {
        var found = 0;
        foreach (var content in drawn)
        {
            if (cache.TryGet(keys[content], out _))
            {
                found++;
            }
            else
            {
                cache.AddOrUpdate(keys[content], new float[4]);
            }
        }

        return found;
    }
}
