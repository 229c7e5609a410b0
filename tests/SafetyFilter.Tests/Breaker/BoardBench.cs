using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Breaker;

/// <summary>Two versions of a real model "roots": a number of at least 0 has a score, a negative one gives NaN.</summary>
public sealed class RootsModels : IDisposable
{
    private readonly TestBundle[] _files = [Files("1.0.0"), Files("1.0.1")];

    public RootsModels() => Versions = [.. _files.Select(static files => files.Load())];

    internal ModelBundle[] Versions { get; }

    public void Dispose()
    {
        Array.ForEach(Versions, static version => version.Dispose());
        Array.ForEach(_files, static files => files.Dispose());
    }

    private static TestBundle Files(string version)
    {
        var files = new TestBundle(Onnx.Single("Sqrt"), TestBundle.EmbeddingFeature(1), "roots", version: version);
        files.SetGoldenRow([0.25f]);
        return files;
    }
}

/// <summary>A board on a clock that tests move, with every change that it told of.</summary>
internal sealed class BoardBench : IDisposable
{
    private readonly Meter _meter = new("board-bench");

    public BoardBench() => Board = new BreakerBoard(
        new BreakerEvents(NullLogger<BreakerEvents>.Instance, new FilterMetrics(_meter), change =>
        {
            lock (Changes)
            {
                Changes.Add(change);
            }

            return true;
        }),
        Time);

    public SteppingTime Time { get; } = new();

    public BreakerBoard Board { get; }

    public List<BreakerTransition> Changes { get; } = [];

    /// <summary>What requests use.</summary>
    public BreakerSet Serving { get; private set; } = BreakerSet.Empty;

    /// <summary>One surface for each group, of its name.</summary>
    public BreakerSet Prepare(ModelBundle bundle, BreakerThresholds thresholds, params string[] groups) => Board.Prepare(
        groups.Select(group => new BreakerUse(bundle, group, group)), Options(thresholds), new ChaosOptions());

    public void Reload(ModelBundle bundle, BreakerThresholds thresholds, params string[] groups) => Commit(Prepare(bundle, thresholds, groups));

    public void Commit(BreakerSet next)
    {
        Board.Commit(next);
        Serving = next;
    }

    public ScoringOutcome Call(string group, bool good) => Call(Serving.Guarded("roots", group), good);

    public static ScoringOutcome Call(GuardedBundle guarded, bool good)
    {
        var batch = BatchBuilder.Of(1).Tensor("embedding", [good ? 0.25f : -1]).Build();
        var table = new ScoreTable();
        table.Reset(1, 1);
        return guarded.Score(batch, table, new[] { 0 });
    }

    public void Dispose() => _meter.Dispose();

    private static BreakerOptions Options(BreakerThresholds from) => new()
    {
        FailureRatio = from.FailureRatio,
        MinimumThroughput = from.MinimumThroughput,
        SamplingDuration = from.SamplingDuration,
        BreakDuration = from.BreakDuration,
        SlowCallMicros = from.SlowCallMicros,
        SlowCallRatio = from.SlowCallRatio,
        TrialCalls = from.TrialCalls,
    };
}
