using System.Diagnostics;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

public sealed class RunWatchdogTests
{
    [Fact]
    public void Look_SomeAreOverdue_CutsThoseAndTellsTheNext()
    {
        using var watchdog = new RunWatchdog(startThread: false);
        using RunCutoff first = new(), second = new(), third = new();
        var slots = new[] { watchdog.Watch(first, 100), watchdog.Watch(second, 200), watchdog.Watch(third, 300) };
        Assert.Equal(3, slots.Distinct().Count());
        Assert.Equal(200, watchdog.Look(100));
        Assert.Equal((true, false, false), (first.IsCut, second.IsCut, third.IsCut));
        Assert.True(first.Options.Terminate);
        Assert.Equal(long.MaxValue, watchdog.Look(300));
        Assert.Equal((true, true), (second.IsCut, third.IsCut));
    }

    [Fact]
    public void Release_BeforeTheDeadline_IsNeverCut()
    {
        using var watchdog = new RunWatchdog(startThread: false);
        using var run = new RunCutoff();
        watchdog.Release(watchdog.Watch(run, 100));
        Assert.Equal(long.MaxValue, watchdog.Look(1000));
        Assert.False(run.IsCut);
    }

    [Fact]
    public void Watch_MoreThanThereAreSlots_IsNotWatchedUntilOneIsFree()
    {
        using var watchdog = new RunWatchdog(startThread: false);
        using var run = new RunCutoff();
        var slots = Enumerable.Range(0, 64).Select(_ => watchdog.Watch(run, 100)).ToList();
        Assert.Equal(-1, watchdog.Watch(run, 100));
        watchdog.Look(100);
        watchdog.Release(slots[7]);
        Assert.Equal(slots[7], watchdog.Watch(run, 200));
    }

    [Fact]
    public void DeadlineOf_LessThanALook_IsALook() =>
        Assert.Equal(RunWatchdog.LookEvery, Stopwatch.GetElapsedTime(0, RunWatchdog.DeadlineOf(0, 50)));

    [Fact]
    public void PauseAfter_NothingWasCut_IsLongWhateverIsRunning()
    {
        using var watchdog = new RunWatchdog(startThread: false);
        Assert.Equal(Ticks(RunWatchdog.CalmLook), watchdog.PauseAfter(1000, earliest: 1001));
    }

    [Fact]
    public void PauseAfter_ACut_EndsWithTheNextDeadlineOrALookUntilTheAlertIsOver()
    {
        using var watchdog = new RunWatchdog(startThread: false);
        using var run = new RunCutoff();
        watchdog.Watch(run, 100);
        watchdog.Look(100);
        Assert.Equal(1, watchdog.PauseAfter(100, earliest: 101));
        Assert.Equal(Ticks(RunWatchdog.LookEvery), watchdog.PauseAfter(100, long.MaxValue));
        Assert.Equal(Ticks(RunWatchdog.CalmLook), watchdog.PauseAfter(100 + Ticks(RunWatchdog.Alert), long.MaxValue));
    }

    [Fact]
    public void Score_ModelHangs_IsCutAndTheNextRunScores()
    {
        // The number is how often the model goes round; all but forever.
        using var watchdog = new RunWatchdog();
        using var files = new TestBundle(Onnx.Rounds(), TestBundle.EmbeddingFeature(1, "[0, 1e12]"));
        files.SetGoldenRow([0]);
        using var model = files.Load();
        var expected = model.Score(BatchBuilder.Of(1).Tensor("embedding", [3f]).Build()).Table.Row(0)[0];
        for (var round = 0; round < 3; round++)
        {
            Assert.Equal(new ScoringOutcome(FailureKind.OverBudget, 0, null), Run(model, 1e12f, watchdog).Outcome);
            var (outcome, score) = Run(model, 3, watchdog: null);
            Assert.Equal((default, expected), (outcome, score));
        }
    }

    [Fact]
    public void Score_RunsOfManyThreads_AreCutOrScoreAndNeverCutANeighbour()
    {
        using var watchdog = new RunWatchdog();
        using var files = new TestBundle(Onnx.Rounds(), TestBundle.EmbeddingFeature(1, "[0, 1e12]"));
        files.SetGoldenRow([0]);
        using var model = files.Load();
        Parallel.For(0, 200, new ParallelOptions { MaxDegreeOfParallelism = 4 }, i =>
        {
            // Every other run hangs; the limit of the rest is one that no machine exceeds.
            var hangs = i % 2 == 0;
            var outcome = Run(model, hangs ? 1e12f : 3, watchdog, hangs ? 50u : 60_000_000).Outcome;
            Assert.Equal(hangs ? FailureKind.OverBudget : FailureKind.None, outcome.Failure);
        });
    }

    private static (ScoringOutcome Outcome, float Score) Run(ModelBundle model, float rounds, RunWatchdog? watchdog, uint micros = 50)
    {
        var table = new ScoreTable();
        table.Reset(1, 1);
        using var run = model.Prepare(BatchBuilder.Of(1).Tensor("embedding", [rounds]).Build());
        run.Watch(new RunLimit(micros, IsCallers: false, watchdog));
        return (run.Run(table, [0]), table.Row(0)[0]);
    }

    private static long Ticks(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);
}
