using System.Collections.Frozen;
using System.Diagnostics.Metrics;
using System.Text;
using Google.Protobuf;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Breaker;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Observability;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;
using SafetyFilter.Sidecar.Grpc;

namespace SafetyFilter.Benchmarks.Micro;

/// <summary>The engine as the sidecar assembles it, on the committed bundles and a spool of its own, with one request that it has decided once.</summary>
internal sealed class EngineScene : IDisposable
{
    private static readonly RequestLimits Limits = new();

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("safetyfilter-micro-");
    private readonly Meter _meter = new("micro");
    private readonly RunWatchdog _watchdog = new();
    private readonly RunSplitter _splitter = new(Environment.ProcessorCount);
    private readonly ClassifierSet _classifiers;
    private readonly Spool _spool;
    private readonly FilterEngine _engine;
    private readonly byte[] _wire;
    private LedgerReceipt _receipt;

    /// <param name="workload">One of <see cref="MicroRequests"/>.</param>
    /// <param name="splitAbove">As <c>Scoring:SplitAbove</c>.</param>
    /// <param name="isAlone">Whether the other cores are idle; else they are taken to have requests.</param>
    public EngineScene(string workload, int splitAbove = 0, bool isAlone = true)
    {
        for (var core = 1; core < Environment.ProcessorCount && !isAlone; core++)
        {
            _splitter.Enter();
        }

        var models = ClassifierSet.Load(Path.Combine(AppContext.BaseDirectory, "models"), BundleLimits.Default, TimeProvider.System);
        _classifiers = models.Value ?? throw new InvalidOperationException(string.Join('\n', models.Errors));
        var (policies, errors) = PolicyCompiler.Compile([new PolicySource("micro.yaml", MicroRequests.Policy(workload))], _classifiers.PolicyTerms());
        if (policies is null)
        {
            throw new InvalidOperationException(string.Join('\n', errors));
        }

        var metrics = new FilterMetrics(_meter);
        var events = new BreakerEvents(NullLogger<BreakerEvents>.Instance, metrics);

        // A machine that is busy with something else must not open a breaker.
        var thresholds = new BreakerOptions { SlowCallMicros = 0 };
        var guarded = _classifiers.Bundles.ToFrozenDictionary(
            static bundle => bundle.Name,
            bundle => new GuardedBundle(bundle, new BreakerGate(bundle.Name, "default", events, TimeProvider.System), thresholds, null, TimeProvider.System),
            StringComparer.Ordinal);
        var serving = new ServingStore();
        serving.Swap(ServingSnapshot.Bind(policies, guarded, new string('c', 64), "build", splitAbove: splitAbove));
        _spool = Spool.Open(new SpoolOptions { Folder = _folder.FullName, AppendPatience = TimeSpan.FromSeconds(10) }, "benchmark", TimeProvider.System);
        _engine = new FilterEngine(
            serving, _spool, metrics, TimeProvider.System, NullLogger<FilterEngine>.Instance, watchdog: _watchdog, recent: new RecentDecisions(1000, 4 << 20), splitter: _splitter);
        _wire = MicroRequests.Compose(workload).Seal().ToByteArray();
        Read();
        Decide();
        foreach (var basis in Decision.Verdicts.Bases)
        {
            if (basis != Basis.Evaluated)
            {
                throw new InvalidOperationException($"A candidate of {workload} was decided by {basis}: that is another, cheaper way.");
            }
        }

        _ = serving.Current!.TryGetPlan(Encoding.UTF8.GetBytes(workload), out var plan);
        Policy = plan!.Policy;
    }

    public Decision Decision { get; } = new();

    public SurfacePolicy Policy { get; }

    public ProtoWriter Record { get; } = new();

    public ProtoWriter Reply { get; } = new();

    /// <summary>Wire to columns. Returns the number of candidates.</summary>
    public int Read()
    {
        var batch = Decision.Batch;
        batch.Reset();
        batch.Buffer = _wire;
        return (FilterRequestReader.Read(batch, _wire.Length, Limits) ?? FilterRequestRules.Check(batch)) is { } refusal
            ? throw new InvalidOperationException(refusal.Message)
            : batch.Count;
    }

    /// <summary>The engine's whole way. Returns the number of verdicts.</summary>
    public int Decide()
    {
        Decision.BudgetMicros = uint.MaxValue;
        return _engine.Decide(Decision, Record, out _receipt) is { } refusal
            ? throw new InvalidOperationException(refusal.Message)
            : Decision.Verdicts.Actions.Length;
    }

    /// <summary>The decision as a record. Returns its bytes.</summary>
    public int Encode()
    {
        DecisionRecordEncoder.Encode(Decision, _engine.StreamId, _spool.Epoch, 0, Record);
        return Record.Length;
    }

    /// <summary>The decision as an answer. Returns its bytes.</summary>
    public int Write()
    {
        Reply.Clear();
        FilterResponseWriter.Write(Decision, _receipt, _engine.StreamId, Reply);
        return Reply.Length;
    }

    public void Dispose()
    {
        _spool.Dispose();
        _classifiers.Dispose();
        _watchdog.Dispose();
        _splitter.Dispose();
        _meter.Dispose();
        _folder.Delete(recursive: true);
    }
}
