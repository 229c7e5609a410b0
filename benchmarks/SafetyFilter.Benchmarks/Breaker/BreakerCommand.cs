using System.CommandLine;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;
using SafetyFilter.Scoring;
using static SafetyFilter.Benchmarks.Report;

namespace SafetyFilter.Benchmarks.Breaker;

/// <summary><c>breaker</c>: what a closed breaker costs a call, the model's run and the clock apart.</summary>
internal static class BreakerCommand
{
    private const int Calls = 2_000_000;
    private const int Rounds = 9;

    public static Command Create()
    {
        var command = new Command("breaker", "Cost of a closed breaker per call, with the window of failures alone and with that of slow calls too.");
        command.SetAction(static parsed =>
        {
            var report = new Report(parsed.InvocationConfiguration.Output);
            using var models = ClassifierSet.Load(Path.Combine(AppContext.BaseDirectory, "models"), BundleLimits.Default, TimeProvider.System).Value
                ?? throw new InvalidOperationException("The models beside the benchmark do not load.");
            using var meter = new Meter("benchmark");
            var events = new BreakerEvents(NullLogger<BreakerEvents>.Instance, new FilterMetrics(meter));
            report.Line($"## A closed breaker ({Machine})");
            report.Line();
            report.Table(
                ["windows", "ns/call (median)", "allocated B/call"],
                [
                    Row("failures", Guard(models.Bundles[0], events, new BreakerThresholds { SlowCallMicros = 0 })),
                    Row("failures and slow calls", Guard(models.Bundles[0], events, new BreakerThresholds())),
                ]);
        });
        return command;
    }

    private static GuardedBundle Guard(ModelBundle bundle, BreakerEvents events, BreakerThresholds thresholds) =>
        new(bundle, new BreakerGate(bundle.Name, "default", events, TimeProvider.System), thresholds, null, TimeProvider.System);

    private static string[] Row(string windows, GuardedBundle guarded)
    {
        var times = new List<double>();
        var allocated = 0L;
        for (var round = 0; round <= Rounds; round++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            var start = Stopwatch.GetTimestamp();
            for (var call = 0; call < Calls; call++)
            {
                // What Score does around the run.
                if (!guarded.Gate.TurnsAway() && guarded.Gate.TryEnter(out var trial))
                {
                    guarded.Judge(default, isSlow: false, trial, isEvidence: true);
                }
            }

            // The first one compiles.
            if (round > 0)
            {
                times.Add(Stopwatch.GetElapsedTime(start).TotalNanoseconds / Calls);
                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            }
        }

        return [windows, Number(Median(times), 0), Number((double)allocated / ((long)Rounds * Calls))];
    }
}
