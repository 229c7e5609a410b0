using System.Collections.Frozen;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Observability;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;
using SafetyFilter.Tests.Breaker;
using SafetyFilter.Tests.Scoring;

namespace SafetyFilter.Tests.Filtering;

/// <summary>
/// The engine with real models, policies and spool. Bundle "numbers" (alpha, beta) reads "embedding" [2]; bundle "roots"
/// (gamma) reads "root" [1] and gives NaN for a negative one. On request bundle "rounds" (delta) reads "root" too; its scores depend on the largest of
/// their batch.
/// </summary>
internal sealed class EngineBench : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-engine-");
    private readonly ClassifierSet _classifiers;
    private readonly Meter _meter = new("engine-bench");
    private readonly MeterListener _listener = new();
    private readonly FilterMetrics _metrics;
    private readonly ProtoWriter _record = new();
    private readonly int _splitAbove;

    public EngineBench(string policy, TimeProvider? time = null, ChaosOptions? chaos = null, int maxRecordBytes = 256 << 10, bool measured = true,
        Action<SpoolOptions>? spool = null, RunWatchdog? watchdog = null, VerdictCache? verdicts = null, float[]? weights = null, BreakerThresholds? breaker = null,
        RunSplitter? splitter = null, int splitAbove = 0, bool rounds = false)
    {
        TestBundle.Linear(weights ?? [4, -2, -2, 4], 2, ["alpha", "beta"], root: _folder.FullName).Write();
        var roots = new TestBundle(
            Onnx.Single("Sqrt"),
            """[ { "kind": "tensor", "feature": "root", "input": "embedding", "dtype": "float32", "shape": [1], "range": [-100, 100] } ]""",
            "roots",
            ["gamma"],
            _folder.FullName);
        roots.Golden["candidates"]![0]!["root"] = new System.Text.Json.Nodes.JsonArray(0.25);
        roots.Write();
        if (rounds)
        {
            Rounds();
        }

        _splitAbove = splitAbove;
        _classifiers = ClassifierSet.Load(_folder.FullName, BundleLimits.Default, roots.Time).Value!;
        Listen(measured);
        _metrics = new FilterMetrics(_meter);
        var events = new BreakerEvents(new EventLog(), _metrics);
        Bundles = _classifiers.Bundles.ToFrozenDictionary(
            static bundle => bundle.Name,
            bundle => new GuardedBundle(
                bundle, new BreakerGate(bundle.Name, "default", events, TimeProvider.System), breaker ?? new BreakerOptions(), chaos?.For(bundle.Name), TimeProvider.System),
            StringComparer.Ordinal);
        var options = new SpoolOptions
        {
            Folder = Path.Combine(_folder.FullName, "spool"),
            SegmentBytes = 4 << 20,
            MaxRecordBytes = maxRecordBytes,
            AppendPatience = TimeSpan.FromSeconds(10),
            DiskPatience = TimeSpan.FromSeconds(10),
        };
        spool?.Invoke(options);
        Ledger = Spool.Open(options, "build", TimeProvider.System);
        Serving.Swap(Snapshot(policy));
        Engine = new FilterEngine(Serving, Ledger, _metrics, time ?? TimeProvider.System, NullLogger<FilterEngine>.Instance, watchdog: watchdog, recent: Recent, verdicts: verdicts, splitter: splitter);
        Engine.Prepare(Serving.Current!);
    }

    /// <summary>Where its bundles lie.</summary>
    public string Folder => _folder.FullName;

    public ServingStore Serving { get; } = new();

    public RecentDecisions Recent { get; } = new(100, 1 << 20);

    public IReadOnlyDictionary<string, GuardedBundle> Bundles { get; }

    public Spool Ledger { get; }

    public FilterEngine Engine { get; }

    /// <summary>Every count measured, as "instrument tag=value ... : sum".</summary>
    public SortedDictionary<string, long> Counts { get; } = new(StringComparer.Ordinal);

    /// <summary>A policy over the given classifiers and rules. A test may be slow on a busy machine, so its budget is the longest there is.</summary>
    public static string Policy(string classifiers, string rules, int budget = 1_000_000) => $$"""
        policy: p
        owner: team
        surfaces: [feed, home]
        purposes: [recommendation]
        budget_us: {{budget}}
        classifiers: {{classifiers}}
        rules: {{rules}}
        """;

    public PolicySnapshot Compile(string policy)
    {
        var (snapshot, errors) = PolicyCompiler.Compile([new PolicySource("p.yaml", policy)], _classifiers.PolicyTerms());
        Assert.Empty(errors);
        return snapshot!;
    }

    public ServingSnapshot Snapshot(string policy) => ServingSnapshot.Bind(Compile(policy), Bundles, new string('c', 64), "build", splitAbove: _splitAbove);

    public Refusal? Decide(Decision decision, out LedgerReceipt receipt) => Engine.Decide(decision, _record, out receipt);

    /// <summary>Decides a request that must be decided, and reads its record back.</summary>
    public (Decision Decision, DecisionRecord Record) Decided(Action<BatchBuilder> request, int candidates = 1)
    {
        var decision = Request(request, candidates);
        var refusal = Decide(decision, out var receipt);
        Assert.True(refusal is null, refusal?.Message);
        return (decision, Records().Single(record => record.Sequence == receipt.Sequence));
    }

    /// <summary>Sends a request that must be refused.</summary>
    public Refusal Refused(Action<BatchBuilder> request, int candidates = 1)
    {
        var before = Ledger.LastSequence;
        var refusal = Decide(Request(request, candidates), out var receipt);
        Assert.NotNull(refusal);
        Assert.Equal((before, 0ul), (Ledger.LastSequence, receipt.Sequence));
        return refusal;
    }

    public static Decision Request(Action<BatchBuilder> request, int candidates = 1)
    {
        var decision = new Decision();
        var builder = BatchBuilder.Of(candidates, decision.Batch).Request(surface: "feed");
        request(builder);
        builder.Build();
        return decision;
    }

    public List<DecisionRecord> Records()
    {
        var records = new List<DecisionRecord>();
        using var reader = SpoolReader.OpenStream(Ledger.StreamFolder, follow: true);
        while (reader.Read() == SpoolRead.Record)
        {
            if (reader.Type == RecordType.Decision)
            {
                records.Add(DecisionRecord.Parser.ParseFrom(reader.Payload));
            }
        }

        return records;
    }

    public void Dispose()
    {
        _listener.Dispose();
        _meter.Dispose();
        Ledger.Dispose();
        _classifiers.Dispose();
        _folder.Delete(recursive: true);
    }

    private void Rounds()
    {
        var rounds = new TestBundle(
            Onnx.Rounds(),
            """[ { "kind": "tensor", "feature": "root", "input": "embedding", "dtype": "float32", "shape": [1], "range": [0, 1e12] } ]""",
            "rounds",
            ["delta"],
            _folder.FullName);
        rounds.Golden["candidates"]![0]!["root"] = new System.Text.Json.Nodes.JsonArray(0);
        rounds.Write();
    }

    private void Listen(bool measured)
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (measured && ReferenceEquals(instrument.Meter, _meter))
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<long>((instrument, count, tags, _) =>
        {
            var key = string.Join(' ', tags.ToArray().Select(static tag => $"{tag.Key}={tag.Value}").Prepend(instrument.Name));
            lock (Counts)
            {
                Counts[key] = Counts.GetValueOrDefault(key) + count;
            }
        });
        _listener.Start();
    }
}

/// <summary>A clock that goes on by one step each time it is read.</summary>
internal sealed class SteppingTime(TimeSpan step) : TimeProvider
{
    private long _now;

    public override long TimestampFrequency => TimeSpan.TicksPerSecond;

    public override long GetTimestamp() => Interlocked.Add(ref _now, step.Ticks);

    public override DateTimeOffset GetUtcNow() => new(2026, 6, 1, 0, 0, 0, TimeSpan.Zero);
}
