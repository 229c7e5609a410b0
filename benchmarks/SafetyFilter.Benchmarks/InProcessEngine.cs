using System.Collections.Frozen;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging.Abstractions;
using SafetyFilter.Breaker;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Observability;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;

namespace SafetyFilter.Benchmarks;

/// <summary>The engine as the sidecar assembles it, with one policy and a spool of its own at <c>process</c>; no server around it.</summary>
internal sealed class InProcessEngine : IDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("safetyfilter-bench-");
    private readonly Meter _meter = new("benchmark");
    private readonly RunWatchdog _watchdog = new();

    /// <param name="models">Stay the caller's.</param>
    /// <param name="policy">YAML.</param>
    /// <param name="verdicts">Stays the caller's.</param>
    /// <param name="splitAbove">As <c>Scoring:SplitAbove</c>.</param>
    public InProcessEngine(ClassifierSet models, string policy, VerdictCache? verdicts = null, int splitAbove = 0)
    {
        var (policies, errors) = PolicyCompiler.Compile([new PolicySource("benchmark.yaml", policy)], models.PolicyTerms());
        var metrics = new FilterMetrics(_meter);
        var events = new BreakerEvents(NullLogger<BreakerEvents>.Instance, metrics);

        // A machine that is busy with something else must not open a breaker.
        var thresholds = new BreakerThresholds { MinimumThroughput = int.MaxValue, SlowCallMicros = 0 };
        var guarded = models.Bundles.ToFrozenDictionary(
            static bundle => bundle.Name,
            bundle => new GuardedBundle(bundle, new BreakerGate(bundle.Name, "default", events, TimeProvider.System), thresholds, null, TimeProvider.System),
            StringComparer.Ordinal);
        var serving = new ServingStore();
        serving.Swap(ServingSnapshot.Bind(policies ?? throw new InvalidOperationException(string.Join('\n', errors)), guarded, new string('c', 64), "build", splitAbove: splitAbove));
        Ledger = Spool.Open(new SpoolOptions { Folder = _folder.FullName, AppendPatience = TimeSpan.FromSeconds(10) }, "benchmark", TimeProvider.System);
        Engine = new FilterEngine(
            serving, Ledger, metrics, TimeProvider.System, NullLogger<FilterEngine>.Instance, watchdog: _watchdog, recent: new RecentDecisions(1000, 4 << 20), verdicts: verdicts, splitter: Splitter);
        Engine.Prepare(serving.Current!);
        Plan = serving.Current!.Plans.First();
    }

    public Spool Ledger { get; }

    public RunSplitter Splitter { get; } = new(Environment.ProcessorCount);

    public FilterEngine Engine { get; }

    /// <summary>Of the policy's first surface.</summary>
    public SurfacePlan Plan { get; }

    public void Dispose()
    {
        Ledger.Dispose();
        _watchdog.Dispose();
        Splitter.Dispose();
        _meter.Dispose();
        _folder.Delete(recursive: true);
    }
}
