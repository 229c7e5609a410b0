using System.Collections.Concurrent;
using System.Diagnostics;
using System.Runtime.InteropServices;
using CsCheck;
using SafetyFilter.Decisions;
using SafetyFilter.Scoring;

namespace SafetyFilter.Tests.Scoring;

public sealed class RunSplitterTests
{
    private const int Cores = 4;
    private const int Width = 8;

    private static readonly string[] Labels = ["a", "b", "c"];

    [Theory]
    [InlineData(100, 0, 1)]
    [InlineData(1, 32, 1)]
    [InlineData(32, 32, 1)]
    [InlineData(33, 32, 2)]
    [InlineData(64, 32, 2)]
    [InlineData(65, 32, 3)]
    [InlineData(128, 32, 4)]
    [InlineData(129, 32, 4)]
    [InlineData(10_000, 32, 4)]
    public void PartsOf_SoManyCandidates_AreAsManyAsNeededAndNoMoreThanCores(int candidates, int splitAbove, int parts)
    {
        using var splitter = new RunSplitter(Cores);
        Assert.Equal(parts, splitter.PartsOf(candidates, splitAbove));
    }

    [Fact]
    public void StartOf_AnySplit_CutsIntoPartsOfOneSizeButForOne() => Gen.Int[1, 100].SelectMany(static parts => Gen.Int[parts, 10_000], static (parts, candidates) => (parts, candidates)).Sample(static split =>
    {
        var starts = Enumerable.Range(0, split.parts + 1).Select(part => RunSplitter.StartOf(part, split.parts, split.candidates)).ToList();
        Assert.Equal((0, split.candidates), (starts[0], starts[^1]));
        var least = split.candidates / split.parts;
        Assert.All(starts.Skip(1).Zip(starts), size => Assert.InRange(size.First - size.Second, least, least + 1));
    });

    [Theory]
    [InlineData(Help.None)]
    [InlineData(Help.First)]
    [InlineData(Help.Beside)]
    public void Score_SizesRoundTheBoundaries_GivesTheBitsOfEachPartScoredAlone(Help help)
    {
        using var files = Linear();
        using var model = files.Load();
        using var splitter = Splitter(help);
        foreach (var count in new[] { 2, 3, 7, 8, 9, 31, 32, 33, 63, 64, 65, 95, 96, 97, 127, 128, 129, 500 })
        {
            var batch = Batch(count);
            for (var parts = 2; parts <= Math.Min(count, 9); parts++)
            {
                var (outcome, table) = Score(splitter, model, batch, parts);
                Assert.Equal(new ScoringOutcome(FailureKind.None, 0, null) { Parts = parts }, outcome);
                AssertSame(Alone(model, batch, parts, []), table);
            }
        }
    }

    [Fact]
    public void Score_PickedCandidates_LeavesTheOthersCellsAlone()
    {
        using var files = Linear();
        using var model = files.Load();
        using var splitter = Splitter(Help.Beside);
        var batch = Batch(100);
        int[] picked = [.. Enumerable.Range(0, 100).Where(static candidate => candidate % 3 != 1)];

        var (_, table) = Score(splitter, model, batch, 3, picked);

        AssertSame(Alone(model, batch, 3, picked), table);
        Assert.Equal(Untouched, table.Row(0)[1]);
    }

    [Fact]
    public void Score_CandidatesWithoutTheFeatureInSeveralParts_FailAlone()
    {
        using var files = Linear();
        using var model = files.Load();
        using var splitter = Splitter(Help.Beside);

        // All of the second part of four, and one each of the first and the last.
        int[] missing = [3, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 39];
        var batch = Batch(40, missing);

        var (outcome, table) = Score(splitter, model, batch, 4);

        Assert.Equal(new ScoringOutcome(FailureKind.None, 0, null) { Parts = 4 }, outcome);
        for (var candidate = 0; candidate < 40; candidate++)
        {
            Assert.Equal(missing.Contains(candidate) ? FailureKind.MissingFeature : FailureKind.None, table.Failures(2)[candidate]);
        }

        AssertSame(Alone(model, batch, 4, []), table);
    }

    [Fact]
    public void Score_NoCandidateHasTheFeature_IsVain()
    {
        using var files = Linear();
        using var model = files.Load();
        using var splitter = Splitter(Help.None);
        Assert.True(Score(splitter, model, Batch(4, [0, 1, 2, 3]), 2).Outcome.IsVain);
        Assert.False(Score(splitter, model, Batch(4, [0, 1, 2]), 2).Outcome.IsVain);
    }

    [Theory]
    [InlineData(Help.None)]
    [InlineData(Help.First)]
    [InlineData(Help.Beside)]
    public void Score_APartThrows_FailsTheBundleWithThat(Help help)
    {
        using var files = Lookup();
        using var model = files.Load();
        using var splitter = Splitter(help);
        for (var bad = 0; bad < 8; bad++)
        {
            var batch = Numbers1([.. Enumerable.Range(0, 8).Select(candidate => candidate == bad ? 7f : 1)]);
            var outcome = Score(splitter, model, batch, 4).Outcome;
            Assert.Equal((FailureKind.Error, 4), (outcome.Failure, outcome.Parts));
            Assert.IsType<Microsoft.ML.OnnxRuntime.OnnxRuntimeException>(outcome.Error);
        }

        Assert.Equal(FailureKind.None, Score(splitter, model, Numbers1([0, 1, 0, 1]), 4).Outcome.Failure);
    }

    [Fact]
    public void Score_APartFailed_TheOthersAreNotBegun()
    {
        using var files = Lookup();
        using var model = files.Load();
        using var splitter = Splitter(Help.None);
        var (_, table) = Score(splitter, model, Numbers1([1, 0, 7, 1, 0, 1]), 3);
        Assert.Equal([0.75f, 0.25f, Untouched, Untouched], new[] { table.Row(0)[0], table.Row(0)[1], table.Row(0)[4], table.Row(0)[5] });
    }

    [Theory]
    [InlineData(0)]
    [InlineData(3)]
    public void Score_APartHangs_IsCutAndFailsTheBundleAsOverBudget(int hangs)
    {
        using var watchdog = new RunWatchdog();
        using var files = new TestBundle(Onnx.Rounds(), TestBundle.EmbeddingFeature(1, "[0, 1e12]"));
        files.SetGoldenRow([0]);
        using var model = files.Load();
        using var splitter = Splitter(Help.Beside);
        var batch = Numbers1([.. Enumerable.Range(0, 4).Select(candidate => candidate == hangs ? 1e12f : 1)]);
        var outcome = Score(splitter, model, batch, 4, limit: new RunLimit(1000, IsCallers: false, watchdog)).Outcome;
        Assert.Equal(new ScoringOutcome(FailureKind.OverBudget, 0, null) { Parts = 4 }, outcome);

        // The scratches that were cut are as good as new.
        Assert.Equal(FailureKind.None, Score(splitter, model, Numbers1([1, 2, 3, 4]), 4).Outcome.Failure);
    }

    [Fact]
    public void Watch_ThreadHasUsedTheLimitUp_SaysThatNothingIsLeft()
    {
        using var watchdog = new RunWatchdog(startThread: false);
        using var files = TestBundle.Simple();
        using var model = files.Load();
        using var run = model.Prepare(BatchBuilder.Of(1).Tensor("embedding", [1f, 0]).Build());
        var limit = new RunLimit(100_000, IsCallers: false, watchdog);
        Assert.False(run.Watch(limit, Stopwatch.Frequency / 10));
        Assert.True(run.Watch(limit, Stopwatch.Frequency / 20));
    }

    [Fact]
    public void Score_BundleIsDisposed_FailsAsError()
    {
        using var files = TestBundle.Simple();
        var model = files.Load();
        model.Dispose();
        using var splitter = Splitter(Help.None);
        var table = new ScoreTable();
        table.Reset(1, 2);
        var outcome = splitter.Score(model, BatchBuilder.Of(2).Tensor("embedding", [1f, 0], [0f, 1]).Build(), table, new[] { 0 }, [], 2, default).Outcome;
        Assert.Equal(FailureKind.Error, outcome.Failure);
        Assert.IsType<ObjectDisposedException>(outcome.Error);
    }

    [Fact]
    public void Score_CoresHaveRequests_AsksForNoMoreHelpersThanAreIdle()
    {
        using var files = Linear();
        using var model = files.Load();
        var late = new List<PartedRun>();
        using var splitter = new RunSplitter(Cores, late.Add);
        for (var request = 0; request < 3; request++)
        {
            splitter.Enter();
        }

        Score(splitter, model, Batch(40), 4);
        Assert.Single(late);

        // That helper has not come yet, so its core is taken.
        Score(splitter, model, Batch(40), 4);
        Assert.Single(late);
        late[0].Execute();
        Score(splitter, model, Batch(40), 4);
        Assert.Equal(2, late.Count);
    }

    [Fact]
    public void Execute_AfterTheEnd_TouchesNothingAndGivesTheCoreBack()
    {
        using var files = Linear();
        var late = new List<PartedRun>();
        using var splitter = new RunSplitter(Cores, late.Add);
        var batch = Batch(40);
        using (var model = files.Load())
        {
            Score(splitter, model, batch, 3);
            Assert.Equal(2, late.Count);

            // While its helpers are to come, nobody else gets it.
            Score(splitter, model, batch, 4);
            Assert.Equal(2, late.Distinct().Count());
        }

        late.ForEach(static helper => helper.Execute());
        Assert.Equal(Cores, splitter.Claim(100));
    }

    [Fact]
    public void Score_AllHelpersHaveLeft_TheSameObjectServesAgain()
    {
        using var files = Linear();
        using var model = files.Load();
        var late = new List<PartedRun>();
        using var splitter = new RunSplitter(Cores, late.Add);
        var batch = Batch(40);
        Score(splitter, model, batch, 3);
        late[0].Execute();
        Score(splitter, model, batch, 3);
        late[1].Execute();
        Score(splitter, model, batch, 3);
        Assert.Same(late[0], late[1]);
        Assert.NotSame(late[0], late[2]);
        Assert.Same(late[0], late[4]);
    }

    [Fact]
    public void Score_ManyCallersAndAPoolThatNeverComes_AllEndWithTheirOwnScores()
    {
        using var files = Linear();
        using var model = files.Load();
        var never = new ConcurrentQueue<PartedRun>();
        using var splitter = new RunSplitter(Cores, never.Enqueue);
        ScoreFromManyThreads(splitter, model);

        // However long the pool is away, it is not asked for more than there are cores.
        Assert.InRange(never.Count, 1, Cores);
        foreach (var helper in never)
        {
            helper.Execute();
        }

        Assert.Equal(Cores, splitter.Claim(100));
    }

    [Fact]
    public void Score_ManyCallersAndHelpersThatComeAtAnyTime_AllEndWithTheirOwnScores()
    {
        using var files = Linear();
        using var model = files.Load();
        using var asked = new BlockingCollection<PartedRun>();
        using var splitter = new RunSplitter(16, asked.Add);
        var helpers = Enumerable.Range(0, 3).Select(seed => new Thread(() =>
        {
            var random = new Random(seed);
            foreach (var run in asked.GetConsumingEnumerable())
            {
                Thread.SpinWait(random.Next(2000));
                run.Execute();
            }
        })).ToList();
        helpers.ForEach(static helper => helper.Start());

        ScoreFromManyThreads(splitter, model);

        asked.CompleteAdding();
        helpers.ForEach(static helper => helper.Join());
        Assert.Equal(16, splitter.Claim(100));
    }

    [Fact]
    public void Score_SameSizeAgain_AllocatesNothingOnTheCallersThread()
    {
        using var files = Linear();
        using var model = files.Load();
        using var splitter = new RunSplitter(Cores);
        var batch = Batch(64);
        var table = new ScoreTable();
        int[] slots = [0, 1, 2];
        Assert.Equal(0, AllocatedBytes.Of(200, () =>
        {
            table.Reset(Labels.Length, 64);
            splitter.Score(model, batch, table, slots, [], 4, default);
        }));
    }

    // Each caller has pages of its own sizes, and knows what they must score.
    private static void ScoreFromManyThreads(RunSplitter splitter, ModelBundle model)
    {
        var failures = new ConcurrentBag<Exception>();
        var callers = Enumerable.Range(0, 4).Select(caller => new Thread(() =>
        {
            try
            {
                var batches = Enumerable.Range(0, 4).Select(i => Batch(20 + 11 * caller + 7 * i, [caller + i])).ToList();
                var expected = batches.Select(batch => Alone(model, batch, 2 + caller, [])).ToList();
                for (var round = 0; round < 300; round++)
                {
                    var (outcome, table) = Score(splitter, model, batches[round % 4], 2 + caller);
                    Assert.Equal(new ScoringOutcome(FailureKind.None, 0, null) { Parts = 2 + caller }, outcome);
                    AssertSame(expected[round % 4], table);
                }
            }
            catch (Exception failure)
            {
                failures.Add(failure);
            }
        })).ToList();
        callers.ForEach(static caller => caller.Start());
        callers.ForEach(static caller => caller.Join());
        Assert.Empty(failures);
    }

    private static RunSplitter Splitter(Help help)
    {
        Action<PartedRun> queue = help switch
        {
            Help.None => Never,
            Help.First => static run => run.Execute(),
            _ => static run => new Thread(run.Execute).Start(),
        };
        return new RunSplitter(Cores, queue);
    }

    private static (ScoringOutcome Outcome, ScoreTable Table) Score(
        RunSplitter splitter, ModelBundle model, CandidateBatch batch, int parts, int[]? picked = null, RunLimit limit = default)
    {
        var table = TableOf(model, batch);
        var outcome = splitter.Score(model, batch, table, Enumerable.Range(0, model.Classifiers.Length).ToArray(), picked, parts, limit).Outcome;
        return (outcome, table);
    }

    private static void Never(PartedRun run)
    {
        // The pool has no thread to spare.
    }

    // By the model alone, one part after the other.
    private static ScoreTable Alone(ModelBundle model, CandidateBatch batch, int parts, int[] picked)
    {
        var table = TableOf(model, batch);
        int[] candidates = picked.Length > 0 ? picked : [.. Enumerable.Range(0, batch.Count)];
        for (var part = 0; part < parts; part++)
        {
            var (from, to) = (part * candidates.Length / parts, (part + 1) * candidates.Length / parts);
            model.Score(batch, table, [.. Enumerable.Range(0, model.Classifiers.Length)], candidates.AsSpan(from, to - from));
        }

        return table;
    }

    private const float Untouched = 0.123f;

    private static ScoreTable TableOf(ModelBundle model, CandidateBatch batch)
    {
        var table = new ScoreTable();
        table.Reset(model.Classifiers.Length, batch.Count);
        for (var row = 0; row < model.Classifiers.Length; row++)
        {
            table.Row(row).Fill(Untouched);
        }

        return table;
    }

    private static void AssertSame(ScoreTable expected, ScoreTable table) => Assert.Equal(MemoryMarshal.AsBytes(expected.All), MemoryMarshal.AsBytes(table.All));

    private static TestBundle Linear() => TestBundle.Linear(Numbers(Width * Labels.Length), Width, Labels);

    private static CandidateBatch Batch(int count, params int[] missing) => BatchBuilder.Of(count)
        .Tensor("embedding", DataType.Float32, [Width], [.. Enumerable.Range(0, count).Select(candidate => missing.Contains(candidate) ? null : Numbers(Width, candidate))])
        .Build();

    private static CandidateBatch Numbers1(float[] numbers) => BatchBuilder.Of(numbers.Length).Tensor("embedding", [.. numbers.Select(static number => new[] { number })]).Build();

    private static float[] Numbers(int count, int seed = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];
    }

    // Looks a row of a table of two up by the number: 7 is beyond it and throws.
    private static TestBundle Lookup()
    {
        var bundle = new TestBundle(
            Onnx.Model(Onnx.Graph(
                [Onnx.Node("Cast", ["embedding"], ["index"], Onnx.Attribute("to", Onnx.Int64)), Onnx.Node("Gather", ["table", "index"], ["scores"])],
                [Onnx.Value("embedding", Onnx.Float, -1, 1)],
                [Onnx.Value("scores", Onnx.Float, -1, 1)],
                Onnx.Tensor("table", [0.25f, 0.75f], 2))).Bytes,
            TestBundle.EmbeddingFeature(1));
        bundle.SetGoldenRow([0]);
        bundle.Golden["expected"]!["alpha"]![0] = 0.25;
        return bundle;
    }

    /// <summary>When helpers come.</summary>
    public enum Help
    {
        None,

        /// <summary>Before the caller has begun: they do everything.</summary>
        First,

        /// <summary>On threads of their own.</summary>
        Beside,
    }
}
