using System.Security.Cryptography;
using BitFaster.Caching.Lfu;
using BitFaster.Caching.Scheduler;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Filtering;
using static SafetyFilter.Benchmarks.Report;

namespace SafetyFilter.Benchmarks.Cache;

/// <summary>
/// Who does the cache's upkeep, and how often: what it costs the whole process per page of 256 look-ups, and how much is found. Between pages
/// the thread works for about as long as an engine does, or no upkeep would find the time.
/// </summary>
internal static class UpkeepFigures
{
    private const int Contents = ZipfPages.Contents;
    private const int Rounds = 7;

    private static readonly byte[] Work = new byte[64 << 10];

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

        report.Line($"## Upkeep ({Number(drawn.Length / ZipfPages.Candidates, 0)} pages a round in one thread, what is not found is added; medians of {Rounds} rounds in turns)");
        report.Line();
        var rows = new List<string[]>();
        foreach (var entries in (int[])[1 << 17, 4096])
        {
            rows.AddRange(Rows(keys, drawn, entries));
        }

        report.Table(["entries", "upkeep", "CPU us/page, with the work in between", "found"], rows);
    }

    private static IEnumerable<string[]> Rows(ScoreKey[] keys, int[] drawn, int entries)
    {
        using var upkeep = new CacheUpkeep(TimeProvider.System);
        (string Name, IScheduler Scheduler)[] schedulers =
        [
            ("never, but when writes wait", new NullScheduler()),
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
                var micros = (Environment.CpuUsage.TotalTime - before).TotalMicroseconds * ZipfPages.Candidates / drawn.Length;

                // The first one fills it.
                if (round > 0)
                {
                    times[i].Add(micros);
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
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        for (var i = 0; i < drawn.Length; i++)
        {
            if (i % ZipfPages.Candidates == 0)
            {
                SHA256.HashData(Work, hash);
            }

            var content = drawn[i];
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
