using SafetyFilter.Breaker;
using SafetyFilter.Decisions;

namespace SafetyFilter.Tests.Breaker;

public sealed class BreakerBoardTests(RootsModels models) : IClassFixture<RootsModels>, IDisposable
{
    private static readonly BreakerThresholds FourCalls = new() { MinimumThroughput = 4 };
    private static readonly BreakerThresholds SixCalls = new() { MinimumThroughput = 6, BreakDuration = TimeSpan.FromSeconds(60), TrialCalls = 2 };

    private readonly BoardBench _bench = new();

    public void Dispose() => _bench.Dispose();

    [Fact]
    public void Score_TroubleOfOneGroup_LeavesTheOthersBreakerClosed()
    {
        _bench.Reload(models.Versions[0], FourCalls, "feed", "shorts");
        Fail("shorts", 10);
        Assert.Equal([BreakerState.Closed, BreakerState.Open], _bench.Board.Read().Select(static reading => reading.State));
        Assert.Equal(default, _bench.Call("feed", good: true));
        Assert.Equal("shorts", Assert.Single(_bench.Changes).Group);
    }

    [Fact]
    public void Commit_NothingChanged_KeepsTheVerySameGuardedBundle()
    {
        _bench.Reload(models.Versions[0], FourCalls, "feed");
        var before = _bench.Serving.Guarded("roots", "feed");
        Fail("feed", 3);
        _bench.Reload(models.Versions[0], FourCalls, "feed", "shorts");
        Assert.Same(before, _bench.Serving.Guarded("roots", "feed"));
        Fail("feed", 1);
        Assert.Equal((BreakerState.Open, 4), (Reading("feed").State, Reading("feed").Failures));
    }

    [Fact]
    public void Commit_OtherThresholds_LeavesWhatIsLeftOfTheBreakAndCounts()
    {
        _bench.Reload(models.Versions[0], FourCalls, "feed");
        Fail("feed", 4);
        _bench.Time.Advance(TimeSpan.FromSeconds(2));
        _bench.Reload(models.Versions[0], SixCalls, "feed");
        Assert.Equal((BreakerState.Open, TimeSpan.FromSeconds(3), 4, 2), (Reading("feed").State, Reading("feed").BreakLeft, Reading("feed").Calls, Reading("feed").TrialsNeeded));
        _bench.Time.Advance(TimeSpan.FromSeconds(3));
        _bench.Call("feed", good: true);
        Assert.Equal((BreakerState.HalfOpen, 1), (Reading("feed").State, Reading("feed").Trials));
        Fail("feed", 1);
        Assert.Equal((BreakerState.Open, TimeSpan.FromSeconds(60)), (Reading("feed").State, Reading("feed").BreakLeft));
    }

    [Fact]
    public void Commit_OtherThresholdsWhileCallsOfTheOldOnesRun_HearsWhatTheyOpen()
    {
        _bench.Reload(models.Versions[0], FourCalls, "feed");
        Fail("feed", 3);
        var old = _bench.Serving.Guarded("roots", "feed");
        _bench.Reload(models.Versions[0], SixCalls, "feed");
        BoardBench.Call(old, good: false);
        Assert.Equal(BreakerState.Open, Reading("feed").State);
        Assert.Equal(FailureKind.BreakerOpen, _bench.Call("feed", good: true).Failure);
    }

    [Fact]
    public void Commit_AnotherModel_BeginsClosedAndTellsThatTheOldOneIsGone()
    {
        _bench.Reload(models.Versions[0], FourCalls, "feed");
        Fail("feed", 4);
        _bench.Reload(models.Versions[1], FourCalls, "feed");
        Assert.Equal((BreakerState.Closed, 0), (Reading("feed").State, Reading("feed").Calls));
        Assert.Equal(new BreakerTransition("roots", "feed", BreakerState.Closed, BreakerReason.Reloaded), _bench.Changes[^1]);
    }

    [Fact]
    public void Commit_AnotherModelWhileIsolated_StaysIsolated()
    {
        _bench.Reload(models.Versions[0], FourCalls, "feed");
        Assert.True(_bench.Board.TryIsolate("roots", "feed", "ada"));
        _bench.Reload(models.Versions[1], SixCalls, "feed");
        Assert.Equal(FailureKind.BreakerOpen, _bench.Call("feed", good: true).Failure);
        Assert.True(_bench.Board.TryClose("roots", "feed", "bob"));
        Assert.Equal(default, _bench.Call("feed", good: true));
        Assert.Equal(
            [(BreakerState.Isolated, "ada"), (BreakerState.Closed, "bob")], _bench.Changes.Select(static change => (change.State, change.Actor)));
    }

    [Fact]
    public void Commit_AmongCallsOfSeveralThreads_LosesNoCount()
    {
        const int Threads = 3;
        const int CallsEach = 1000;
        _bench.Reload(models.Versions[0], FourCalls, "feed");
        var wrong = 0;
        var threads = Enumerable.Range(0, Threads).Select(_ => new Thread(() =>
        {
            for (var call = 0; call < CallsEach; call++)
            {
                Interlocked.Add(ref wrong, _bench.Call("feed", good: true) == default ? 0 : 1);
            }
        })).ToArray();
        Array.ForEach(threads, static thread => thread.Start());
        for (var reload = 0; reload < 200 || threads.Any(static thread => thread.IsAlive); reload++)
        {
            _bench.Reload(models.Versions[0], reload % 3 == 0 ? SixCalls : FourCalls, "feed");
        }

        Array.ForEach(threads, static thread => thread.Join());
        Assert.Equal((0, Threads * CallsEach, 0, BreakerState.Closed), (wrong, Reading("feed").Calls, Reading("feed").Failures, Reading("feed").State));
    }

    [Fact]
    public void TryIsolate_WhileAnotherModelIsCommitted_IsNeverForgotten()
    {
        for (var round = 0; round < 500; round++)
        {
            using var bench = new BoardBench();
            bench.Reload(models.Versions[0], FourCalls, "feed");
            var next = bench.Prepare(models.Versions[1], FourCalls, "feed");
            using var start = new Barrier(2);
            var operating = new Thread(() =>
            {
                start.SignalAndWait(TestContext.Current.CancellationToken);
                bench.Board.TryIsolate("roots", "feed", "ada");
            });
            operating.Start();
            start.SignalAndWait(TestContext.Current.CancellationToken);
            bench.Commit(next);
            operating.Join();
            Assert.Equal(BreakerState.Isolated, bench.Serving.Guarded("roots", "feed").State);
            Assert.NotEmpty(bench.Changes);
            Assert.All(bench.Changes, static change => Assert.Equal((BreakerState.Isolated, "ada"), (change.State, change.Actor)));
        }
    }

    [Fact]
    public void Prepare_NeverCommitted_ChangesNothing()
    {
        _bench.Reload(models.Versions[0], FourCalls, "feed");
        Fail("feed", 4);
        var before = _bench.Board.Read();
        _bench.Prepare(models.Versions[1], SixCalls, "shorts");
        Assert.Equal(before.Select(static reading => reading.ToString()), _bench.Board.Read().Select(static reading => reading.ToString()));
        Assert.Single(_bench.Changes);
    }

    [Fact]
    public void Commit_AnotherSetCameFirst_IsRefused()
    {
        var late = _bench.Prepare(models.Versions[0], FourCalls, "feed");
        _bench.Reload(models.Versions[0], FourCalls, "shorts");
        Assert.Throws<InvalidOperationException>(() => _bench.Board.Commit(late));
        Assert.Throws<InvalidOperationException>(() => _bench.Board.Commit(_bench.Serving));
        Assert.Equal("shorts", Assert.Single(_bench.Board.Read()).Group);
    }

    [Fact]
    public void Commit_OnlyTheChaosChanged_KeepsTheGateAndInjects()
    {
        _bench.Reload(models.Versions[0], FourCalls, "feed");
        _bench.Call("feed", good: true);
        var chaos = new ChaosOptions { Enabled = true, Bundles = { ["roots"] = new BundleChaos { FaultRate = 1 } } };
        _bench.Commit(_bench.Board.Prepare([new BreakerUse(models.Versions[0], "feed", "a")], new BreakerOptions { MinimumThroughput = 4 }, chaos));
        Assert.Equal(FailureKind.Error, _bench.Call("feed", good: true).Failure);
        Assert.Equal((2, 1), (Reading("feed").Calls, Reading("feed").Failures));
    }

    [Fact]
    public void Read_SeveralSurfacesOfAGroup_ListsThemInOrder()
    {
        _bench.Commit(_bench.Board.Prepare(
            [new(models.Versions[0], "g", "b"), new(models.Versions[0], "g", "a"), new(models.Versions[0], "f", "c")], new BreakerOptions(), new ChaosOptions()));
        Assert.Equal(
            ["roots f: c", "roots g: a b"],
            _bench.Board.Read().Select(static reading => $"{reading.Bundle} {reading.Group}: {string.Join(' ', reading.Surfaces)}"));
    }

    [Fact]
    public void TryIsolate_NoSuchBreaker_IsFalse()
    {
        _bench.Reload(models.Versions[0], FourCalls, "feed");
        Assert.False(_bench.Board.TryIsolate("roots", "shorts", "ada"));
        Assert.False(_bench.Board.TryClose("root", "feed", "ada"));
        Assert.Empty(_bench.Changes);
    }

    private BreakerReading Reading(string group) => _bench.Board.Read().Single(reading => reading.Group == group);

    private void Fail(string group, int calls)
    {
        for (var call = 0; call < calls; call++)
        {
            _bench.Call(group, good: false);
        }
    }
}
