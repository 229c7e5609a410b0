using System.CommandLine;
using System.Diagnostics;
using static SafetyFilter.Benchmarks.Report;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary><c>split</c>: what a page of 500 gains when its runs are split over idle cores, and costs when none is idle; engine against engine in turns, in process.</summary>
internal static class SplitCommand
{
    private const int Turns = 40;
    private const int PagesAtATurn = 50;
    private const int WarmUp = 400;

    public static Command Create()
    {
        var command = new Command("split", "Engine time of pages of 500, unsplit against Scoring:SplitAbove, in process.");
        command.SetAction(static parsed =>
        {
            var report = new Report(parsed.InvocationConfiguration.Output);
            report.Line($"## One request at a time ({Machine})");
            report.Line();
            report.Table(["workload", "SplitAbove", "other cores", "parts", "p50 us", "against unsplit, median of the turns", "same bits"], [.. Rows(MicroRequests.E500), .. Rows(MicroRequests.T500)]);
            return 0;
        });
        return command;
    }

    private static IEnumerable<string[]> Rows(string workload)
    {
        (int SplitAbove, bool IsAlone)[] ways = [(0, true), (250, true), (250, false)];
        var scenes = ways.Select(way => new EngineScene(workload, way.SplitAbove, way.IsAlone)).ToArray();
        var took = scenes.Select(static _ => new List<double>()).ToArray();
        var medians = scenes.Select(static _ => new List<double>()).ToArray();
        Array.ForEach(scenes, static scene => Measure(scene, WarmUp));
        for (var turn = 0; turn < Turns; turn++)
        {
            for (var i = 0; i < scenes.Length; i++)
            {
                var at = (i + turn) % scenes.Length;
                var pages = Measure(scenes[at], PagesAtATurn);
                took[at].AddRange(pages);
                medians[at].Add(Median(pages));
            }
        }

        var whole = scenes[0].Decision.Scores.All.ToArray();
        for (var i = 0; i < scenes.Length; i++)
        {
            var same = scenes[i].Decision.Scores.All.ToArray().Zip(whole, static (score, other) => BitConverter.SingleToInt32Bits(score) == BitConverter.SingleToInt32Bits(other)).Count(static same => same);
            yield return
            [
                workload,
                Number(ways[i].SplitAbove, 0),
                ways[i].IsAlone ? "idle" : "taken",
                Number(Math.Max(1, scenes[i].Decision.Runs[0].Parts), 0),
                Number(Median(took[i]), 0),
                Number(Median(medians[i].Zip(medians[0], static (split, unsplit) => split / unsplit))),
                $"{same} of {whole.Length}",
            ];
        }

        Array.ForEach(scenes, static scene => scene.Dispose());
    }

    private static List<double> Measure(EngineScene scene, int pages)
    {
        var took = new List<double>(pages);
        for (var page = 0; page < pages; page++)
        {
            var started = Stopwatch.GetTimestamp();
            scene.Decide();
            took.Add(Stopwatch.GetElapsedTime(started).TotalMicroseconds);
        }

        return took;
    }
}
