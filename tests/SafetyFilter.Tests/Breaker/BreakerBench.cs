using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Time.Testing;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Observability;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Breaker;

/// <summary>
/// A real model behind its breaker, on a clock that tests move. The model is a square root: a number of at least 0 has a
/// score, a negative one gives NaN.
/// </summary>
internal sealed class BreakerBench : IDisposable
{
    private readonly TestBundle _files;
    private readonly ModelBundle _bundle;
    private readonly Meter _meter = new("breaker-bench");
    private readonly MeterListener _listener = new();

    public BreakerBench(BreakerThresholds thresholds, BundleChaos? chaos = null, TestBundle? files = null)
    {
        _files = files ?? Roots();
        _bundle = _files.Load();
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (ReferenceEquals(instrument.Meter, _meter))
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<long>((instrument, count, tags, _) =>
        {
            lock (Transitions)
            {
                Transitions.Add($"{count} {instrument.Name} {string.Join(' ', tags.ToArray().Select(static tag => $"{tag.Key}={tag.Value}"))}");
            }
        });
        _listener.Start();
        Guarded = new GuardedBundle(_bundle, new BreakerGate(_bundle.Name, "shorts", new BreakerEvents(Log, new FilterMetrics(_meter)), Time), thresholds, chaos, Time);
    }

    public SteppingTime Time { get; } = new();

    public GuardedBundle Guarded { get; }

    public EventLog Log { get; } = new();

    /// <summary>Every measurement of the metrics that breakers report to.</summary>
    public List<string> Transitions { get; } = [];

    /// <summary>Opens after four calls of which half failed, within 10 s, for 5 s.</summary>
    public static BreakerThresholds FourCalls => new() { MinimumThroughput = 4 };

    public ScoringOutcome Good() => Score(BatchBuilder.Of(1).Tensor("embedding", [0.25f]).Build());

    public ScoringOutcome Bad() => Score(BatchBuilder.Of(1).Tensor("embedding", [-1f]).Build());

    /// <summary>A good call during whose run that much time passes.</summary>
    public ScoringOutcome Slow(TimeSpan run, int candidates = 1, RunLimit limit = default)
    {
        Time.Step = run;
        var outcome = Score(BatchBuilder.Of(candidates).Tensor("embedding", [.. Enumerable.Repeat(new[] { 0.25f }, candidates)]).Build(), limit);
        Time.Step = TimeSpan.Zero;
        return outcome;
    }

    public ScoringOutcome Score(CandidateBatch batch, RunLimit limit = default, RunSplitter? splitter = null, int splitAbove = 0)
    {
        var table = new ScoreTable();
        table.Reset(1, batch.Count);
        return Guarded.Score(batch, table, new[] { 0 }, limit, splitter: splitter, splitAbove: splitAbove);
    }

    /// <summary>Fails until it is open.</summary>
    public void Open()
    {
        for (var call = 0; call < 4; call++)
        {
            Bad();
        }

        Assert.Equal(BreakerState.Open, Guarded.State);
    }

    private static TestBundle Roots()
    {
        var roots = new TestBundle(Onnx.Single("Sqrt"), TestBundle.EmbeddingFeature(1), "roots");
        roots.SetGoldenRow([0.25f]);
        return roots;
    }

    public void Dispose()
    {
        _listener.Dispose();
        _meter.Dispose();
        _bundle.Dispose();
        _files.Dispose();
    }
}

/// <summary>A clock that tests move, and that moves by a step after each timestamp taken.</summary>
internal sealed class SteppingTime() : FakeTimeProvider(new DateTimeOffset(2026, 6, 1, 0, 0, 0, TimeSpan.Zero))
{
    public TimeSpan Step { get; set; }

    public override long GetTimestamp()
    {
        var now = base.GetTimestamp();
        if (Step > TimeSpan.Zero)
        {
            Advance(Step);
        }

        return now;
    }
}

/// <summary>Keeps what was logged, and lets a test act the moment an event is logged.</summary>
internal sealed class EventLog : ILogger<BreakerEvents>
{
    public List<(int Id, LogLevel Level, string Text)> Entries { get; } = [];

    public Action<int>? OnEvent { get; set; }

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        lock (Entries)
        {
            Entries.Add((eventId.Id, logLevel, formatter(state, exception)));
        }

        OnEvent?.Invoke(eventId.Id);
    }
}
