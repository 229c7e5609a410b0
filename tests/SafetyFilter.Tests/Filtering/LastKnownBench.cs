using System.Diagnostics;
using System.Globalization;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Filtering;

public sealed class LastKnownBench(ITestOutputHelper output)
{
    private const int Candidates = 256;
    private const int Pages = 1000;
    private const int Rounds = 20;

    // The best of many: the machine has other things to do.
    private const int PagesAtOnce = 10;

    /// <summary>Run it from a Release build: <c>-method '*LastKnownBench*' -explicit only</c>.</summary>
    [Fact(Explicit = true)]
    public void Apply_PagesOf256UnderTwoClassifiers_Microseconds()
    {
        var terms = new DecisionTerms(
            "feed", "p", new string('a', 64), new string('c', 64), "build",
            [new BundleSlot("b", "1.0.0", new byte[32])],
            [new ClassifierSlot("b/x", 0, FailMode.LastKnown, FailMode.Closed), new ClassifierSlot("b/y", 0, FailMode.LastKnown, FailMode.Closed)], [], [], [], false);
        var rows = LastKnownRows.Of(terms, [0x1234_5678_9abc_def0, 0x0fed_cba9_8765_4321])!;
        var decisions = Enumerable.Range(0, Pages).Select(page => Page(terms, page)).ToList();
        var known = new LastKnownScores(new LastKnownOptions());
        foreach (var (what, failing) in new[] { ("remember", false), ("recall", true) })
        {
            var best = TimeSpan.MaxValue;
            for (var round = 0; round < Rounds; round++)
            {
                decisions.ForEach(decision => Fill(decision, failing));
                foreach (var some in decisions.Chunk(PagesAtOnce))
                {
                    var started = Stopwatch.GetTimestamp();
                    foreach (var decision in some)
                    {
                        rows.Apply(decision, known);
                    }

                    best = TimeSpan.FromTicks(Math.Min(best.Ticks, Stopwatch.GetElapsedTime(started).Ticks));
                }
            }

            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{what}: {best.TotalMicroseconds / PagesAtOnce:N1} us per page"));
        }
    }

    private static Decision Page(DecisionTerms terms, int page)
    {
        var decision = new Decision();
        var ids = Enumerable.Range(0, Candidates).Select(row => $"video:{page * 100_003 + row * 7}").ToArray();
        new BatchBuilder(decision.Batch, ids).Versions([.. ids.Select(static (_, row) => $"v{row}")]).Build();
        decision.Begin(terms);
        return decision;
    }

    // A second later each time: then every score is written again.
    private static void Fill(Decision decision, bool failing)
    {
        decision.TimeUnixNanos += 1_000_000_000;
        decision.Scores.Reset(2, Candidates);
        for (var row = 0; row < 2; row++)
        {
            decision.Scores.Row(row).Fill(0.25f);
            if (failing)
            {
                decision.Scores.FailAll(row, FailureKind.Error);
            }
        }
    }
}
