using System.Collections.Concurrent;
using System.Diagnostics;
using SafetyFilter.Tests;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Reload;

/// <summary>Reloads at half of what the machine can do: phases with and without them in turn, so that both meet the same neighbours.</summary>
public sealed class ReloadUnderLoadTests
{
    private const int ReloadsPerPhase = 10;
    private const int Callers = 4;
    private static readonly TimeSpan Phase = TimeSpan.FromSeconds(3);

    private readonly ConcurrentDictionary<string, (uint Budget, string Rule)> _seen = new(StringComparer.Ordinal);

    [Fact]
    public async Task Reload_AtHalfCapacity_FailsNothingMixesNothingAndCostsLittle()
    {
        await using var reloading = await ReloadingSidecar.StartAsync(new { });
        await LoadAsync(reloading, TimeSpan.FromSeconds(1), TimeSpan.Zero);
        var capacity = (await LoadAsync(reloading, Phase, TimeSpan.Zero)).Count / Phase.TotalSeconds;
        var pace = TimeSpan.FromSeconds(Callers / (capacity / 2));

        var (with, without) = (new List<double>(), new List<double>());
        var reloads = 0;
        for (var phase = 0; phase < LongRun.Count(2, 20); phase++)
        {
            without.AddRange(await LoadAsync(reloading, Phase, pace));
            var load = LoadAsync(reloading, Phase, pace);
            for (var i = 0; i < ReloadsPerPhase; i++)
            {
                var next = Task.Delay(Phase / ReloadsPerPhase, TestContext.Current.CancellationToken);
                reloading.RenamePolicy(++reloads);
                await reloading.UntilServesAsync(reloads);
                await next;
            }

            with.AddRange(await load);
        }

        // Each answer was of one policy only, and every policy came.
        Assert.Equal(reloads + 1, _seen.Count);
        Assert.Equal(reloads, reloading.Changes().Count);
        Host.SpoolRecords.Verify(reloading.Sidecar.Spool);
        var (p99With, p99Without) = (Percentile(with, 0.99), Percentile(without, 0.99));
        var report = $"{reloads} reloads at {capacity / 2:F0} requests/s: {with.Count} + {without.Count} answers, 0 failed, p50 {Percentile(with, 0.5):F3} / {Percentile(without, 0.5):F3} ms, "
            + $"p99 {p99With:F3} ms with and {p99Without:F3} ms without reloads ({p99With / p99Without:F2})";
        TestContext.Current.TestOutputHelper!.WriteLine(report);
        Assert.True(!LongRun.IsAskedFor || p99With <= 1.5 * p99Without, report);
    }

    /// <summary>Round trips in milliseconds. A call that fails, fails the test.</summary>
    /// <param name="pace">Between the calls of one caller; zero for as fast as it goes.</param>
    private async Task<List<double>> LoadAsync(ReloadingSidecar reloading, TimeSpan time, TimeSpan pace)
    {
        var took = await Task.WhenAll(Enumerable.Range(0, Callers).Select(caller => Task.Run(() => CallAsync(reloading, time, pace, pace * caller / Callers))));
        return [.. took.SelectMany(static one => one)];
    }

    private async Task<List<double>> CallAsync(ReloadingSidecar reloading, TimeSpan time, TimeSpan pace, TimeSpan start)
    {
        var took = new List<double>();
        var since = Stopwatch.GetTimestamp();
        for (var due = start; Stopwatch.GetElapsedTime(since) < time; due += pace)
        {
            var wait = due - Stopwatch.GetElapsedTime(since);
            if (pace > TimeSpan.Zero && wait > TimeSpan.Zero)
            {
                await Task.Delay(wait);
            }

            var sent = Stopwatch.GetTimestamp();
            var response = await reloading.AskAsync();
            took.Add(Stopwatch.GetElapsedTime(sent).TotalMilliseconds);
            Check(response);
        }

        return took;
    }

    private void Check(FilterResponse response)
    {
        var number = (int)(response.BudgetMicros - ReloadingSidecar.Budget(0));
        Assert.Equal(ReloadingSidecar.Rule(number), response.Rules[(int)response.RuleIndexes[0]].Id);
        var answer = (response.BudgetMicros, response.Rules[(int)response.RuleIndexes[0]].Id);
        Assert.Equal(answer, _seen.GetOrAdd(response.PolicyRevision, answer));
    }

    private static double Percentile(List<double> values, double share)
    {
        values.Sort();
        return values[(int)(share * (values.Count - 1))];
    }
}
