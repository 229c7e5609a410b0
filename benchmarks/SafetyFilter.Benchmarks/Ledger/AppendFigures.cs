using System.Diagnostics;
using HdrHistogram;
using SafetyFilter.Ledger;

namespace SafetyFilter.Benchmarks.Ledger;

/// <summary>What appending a record costs the request's thread: frame, checksum, copy, leaf hash and receipt, with the disk at work beside it.</summary>
internal static class AppendFigures
{
    // Records of about 1, 16 and 256 candidates.
    private static readonly int[] Sizes = [300, 1_000, 8_000];

    public static void Measure(Report report, int scale)
    {
        report.Line($"## Append on the request's thread ({Report.Machine})");
        report.Line();
        var rows = new List<string[]>();
        foreach (var size in Sizes)
        {
            rows.Add(Row(size, "20,000/s", 200_000 / scale, perPause: 20));
            rows.Add(Row(size, "without pause", 400_000 / scale, perPause: int.MaxValue));
        }

        report.Table(["record bytes", "rate", "appends", "p50 ns", "p99 ns", "p99.9 ns", "allocated B/append", "refused"], rows);
        report.Line($"Reading the clock twice is in every figure: {Number(ClockCost(), 0)} ns (p50).");
        report.Line();
    }

    private static string[] Row(int size, string rate, int appends, int perPause)
    {
        var folder = Directory.CreateTempSubdirectory("safetyfilter-bench-");
        try
        {
            using var spool = Spool.Open(new SpoolOptions { Folder = folder.FullName }, "benchmark", TimeProvider.System);
            var body = Records.Body(spool, size);
            var times = new LongHistogram(TimeSpan.TicksPerSecond * 100, 3);
            long refused = 0;
            Run(spool, body, appends / 10, perPause, times, ref refused);
            times.Reset();
            refused = 0;
            var before = GC.GetAllocatedBytesForCurrentThread();
            Run(spool, body, appends, perPause, times, ref refused);
            var allocated = GC.GetAllocatedBytesForCurrentThread() - before;
            return
            [
                Number(size, 0), rate, Number(appends, 0), Number(times.GetValueAtPercentile(50), 0), Number(times.GetValueAtPercentile(99), 0),
                Number(times.GetValueAtPercentile(99.9), 0), Number((double)allocated / appends), Number(refused, 0),
            ];
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    private static void Run(Spool spool, byte[] body, int appends, int perPause, LongHistogram times, ref long refused)
    {
        for (var i = 0; i < appends; i++)
        {
            var start = Stopwatch.GetTimestamp();
            var result = spool.Append(RecordType.Decision, body, out _);
            times.RecordValue(Math.Max(1, Nanoseconds(Stopwatch.GetTimestamp() - start)));
            refused += result == AppendResult.Appended ? 0 : 1;
            if (i % perPause == perPause - 1)
            {
                Pause(TimeSpan.FromMilliseconds(1));
            }
        }
    }

    private static void Pause(TimeSpan time)
    {
        var start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start) < time)
        {
            Thread.SpinWait(20);
        }
    }

    private static double ClockCost()
    {
        var costs = new double[10_000];
        for (var i = 0; i < costs.Length; i++)
        {
            var start = Stopwatch.GetTimestamp();
            costs[i] = Nanoseconds(Stopwatch.GetTimestamp() - start);
        }

        return Report.Median(costs);
    }

    private static long Nanoseconds(long ticks) => ticks * 1_000_000_000 / Stopwatch.Frequency;

    private static string Number(double value, int decimals = 2) => Report.Number(value, decimals);
}
