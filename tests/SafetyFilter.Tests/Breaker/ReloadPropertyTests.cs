using CsCheck;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;

namespace SafetyFilter.Tests.Breaker;

/// <summary>Random reloads between random calls, against a model of what the breakers of a process should be.</summary>
public sealed class ReloadPropertyTests(RootsModels models) : IClassFixture<RootsModels>
{
    private static readonly string[] Groups = ["feed", "shorts"];

    private static readonly BreakerThresholds[] Thresholds =
    [
        new() { MinimumThroughput = 4 },
        new() { MinimumThroughput = 3, BreakDuration = TimeSpan.FromSeconds(8), TrialCalls = 3 },
        new() { MinimumThroughput = 4, FailureRatio = 1, BreakDuration = TimeSpan.FromSeconds(3), TrialCalls = 2 },
    ];

    // Calls come in bursts, or no window would ever fill between two reloads.
    private static readonly Gen<Step> Steps = Gen.Frequency(
        (3, Gen.Select(Gen.Int[0, 1], Gen.Int[0, 2], Gen.Int[1, 3], Gen.Bool).Select((version, thresholds, groups, isRefused) => (Step)new Reload(version, thresholds, groups, isRefused))),
        (8, Gen.Select(Gen.Int[0, 1], Gen.Frequency((2, Gen.Const(false)), (3, Gen.Const(true))), Gen.Int[1, 4]).Select((group, good, times) => (Step)new Calls(Groups[group], good, times))),
        (4, Gen.Int[1, 6].Select(seconds => (Step)new Wait(seconds))),
        (1, Gen.Select(Gen.Int[0, 1], Gen.Bool).Select((group, isolates) => (Step)new ByHand(Groups[group], isolates))));

    [Fact]
    public void Commit_RandomReloadsAmongCalls_BreakersAreWhatTheModelSays() => Steps.Array[300].Sample(
        steps =>
        {
            using var bench = new BoardBench();
            var expected = new Process();
            foreach (var step in steps.Prepend(new Reload(0, 0, 3, IsRefused: false)))
            {
                step.Do(bench, models);
                step.Do(expected);
                Assert.Equal(expected.Read(), bench.Board.Read().Select(static reading => new Row(
                    reading.Group, reading.State, reading.BreakLeft, reading.Calls, reading.Failures, reading.TurnedAway, reading.Trials, reading.TrialsNeeded)));
            }

            Assert.Equal(expected.Changes, bench.Changes.Select(static change => (change.Group, change.State, change.Reason)));
        },
        iter: 100);

    private sealed record Row(string Group, BreakerState State, TimeSpan Left, long Calls, long Failures, long TurnedAway, int Trials, int Needed);

    private abstract record Step
    {
        public abstract void Do(BoardBench bench, RootsModels models);

        public abstract void Do(Process process);
    }

    private sealed record Reload(int Version, int Thresholds, int GroupBits, bool IsRefused) : Step
    {
        private string[] Named => [.. Groups.Where((_, bit) => (GroupBits & (1 << bit)) != 0)];

        public override void Do(BoardBench bench, RootsModels models)
        {
            var next = bench.Prepare(models.Versions[Version], ReloadPropertyTests.Thresholds[Thresholds], Named);
            if (!IsRefused)
            {
                bench.Commit(next);
            }
        }

        public override void Do(Process process)
        {
            if (!IsRefused)
            {
                process.Reload(Version, ReloadPropertyTests.Thresholds[Thresholds], Named);
            }
        }
    }

    private sealed record Calls(string Group, bool Good, int Times) : Step
    {
        public override void Do(BoardBench bench, RootsModels models)
        {
            for (var call = 0; call < Times && bench.Serving.Find(("roots", Group)) is not null; call++)
            {
                bench.Call(Group, Good);
            }
        }

        public override void Do(Process process)
        {
            for (var call = 0; call < Times; call++)
            {
                process.Call(Group, Good);
            }
        }
    }

    // Whole seconds: then each second is a window of Polly's, and what is older than the sampling duration is exactly known.
    private sealed record Wait(int Seconds) : Step
    {
        public override void Do(BoardBench bench, RootsModels models) => bench.Time.Advance(TimeSpan.FromSeconds(Seconds));

        public override void Do(Process process) => process.Now += Seconds;
    }

    private sealed record ByHand(string Group, bool Isolates) : Step
    {
        public override void Do(BoardBench bench, RootsModels models) =>
            _ = Isolates ? bench.Board.TryIsolate("roots", Group, "ada") : bench.Board.TryClose("roots", Group, "ada");

        public override void Do(Process process) => process.ByHand(Group, Isolates);
    }

    private sealed class One(int version, BreakerThresholds thresholds)
    {
        public int Version { get; } = version;
        public BreakerThresholds Thresholds { get; set; } = thresholds;
        public BreakerState State { get; set; } = BreakerState.Closed;
        public int OpenUntil { get; set; }
        public int Trials { get; set; }
        public int Calls { get; set; }
        public int Failures { get; set; }
        public int TurnedAway { get; set; }
        public List<(int At, bool Good)> Window { get; } = [];
    }

    private sealed class Process
    {
        private SortedDictionary<string, One> _breakers = new(StringComparer.Ordinal);

        public int Now { get; set; }

        public List<(string Group, BreakerState State, BreakerReason Reason)> Changes { get; } = [];

        public IEnumerable<Row> Read() => _breakers.Select(pair => new Row(
            pair.Key,
            pair.Value.State,
            TimeSpan.FromSeconds(pair.Value.State == BreakerState.Open ? Math.Max(0, pair.Value.OpenUntil - Now) : 0),
            pair.Value.Calls,
            pair.Value.Failures,
            pair.Value.TurnedAway,
            pair.Value.State == BreakerState.HalfOpen ? pair.Value.Trials : 0,
            pair.Value.Thresholds.TrialCalls));

        public void Reload(int version, BreakerThresholds thresholds, string[] groups)
        {
            var next = new SortedDictionary<string, One>(StringComparer.Ordinal);
            foreach (var group in groups)
            {
                var old = _breakers.GetValueOrDefault(group);
                if (old?.Version != version)
                {
                    next[group] = new One(version, thresholds) { State = old?.State == BreakerState.Isolated ? BreakerState.Isolated : BreakerState.Closed };
                    continue;
                }

                if (old.Thresholds != thresholds)
                {
                    old.Window.Clear();
                    old.Thresholds = thresholds;
                }

                next[group] = old;
            }

            foreach (var (group, old) in _breakers)
            {
                var isCarried = next.TryGetValue(group, out var now) && (now == old || old.State == BreakerState.Isolated);
                if (!isCarried && old.State != BreakerState.Closed)
                {
                    Changes.Add((group, BreakerState.Closed, BreakerReason.Reloaded));
                }
            }

            _breakers = next;
        }

        public void Call(string group, bool good)
        {
            if (!_breakers.TryGetValue(group, out var one))
            {
                return;
            }

            if (one.State == BreakerState.Isolated || (one.State == BreakerState.Open && Now < one.OpenUntil))
            {
                one.TurnedAway++;
                return;
            }

            one.Calls++;
            one.Failures += good ? 0 : 1;
            if (one.State == BreakerState.Closed)
            {
                Count(group, one, good);
                return;
            }

            if (one.State == BreakerState.Open)
            {
                Change(group, one, BreakerState.HalfOpen, BreakerReason.BreakEnded);
            }

            if (!good)
            {
                Open(group, one, BreakerReason.TrialFailed);
            }
            else if (++one.Trials >= one.Thresholds.TrialCalls)
            {
                one.Window.Clear();
                Change(group, one, BreakerState.Closed, BreakerReason.TrialsSucceeded);
            }
        }

        public void ByHand(string group, bool isolates)
        {
            if (!_breakers.TryGetValue(group, out var one))
            {
                return;
            }

            if (!isolates)
            {
                one.Window.Clear();
            }

            var state = isolates ? BreakerState.Isolated : BreakerState.Closed;
            if (one.State != state)
            {
                Change(group, one, state, BreakerReason.Operator);
            }
        }

        private void Count(string group, One one, bool good)
        {
            one.Window.RemoveAll(call => Now - call.At >= one.Thresholds.SamplingDuration.TotalSeconds);
            one.Window.Add((Now, good));
            var failed = one.Window.Count(static call => !call.Good);
            if (!good && one.Window.Count >= one.Thresholds.MinimumThroughput && failed >= one.Thresholds.FailureRatio * one.Window.Count)
            {
                Open(group, one, BreakerReason.Failures);
            }
        }

        private void Open(string group, One one, BreakerReason reason)
        {
            one.OpenUntil = Now + (int)one.Thresholds.BreakDuration.TotalSeconds;
            one.Trials = 0;
            Change(group, one, BreakerState.Open, reason);
        }

        private void Change(string group, One one, BreakerState state, BreakerReason reason)
        {
            one.State = state;
            Changes.Add((group, state, reason));
        }
    }
}
