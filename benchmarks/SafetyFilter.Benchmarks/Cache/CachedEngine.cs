using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Scoring;

namespace SafetyFilter.Benchmarks.Cache;

/// <summary>The whole engine with the shipped models, ten rules and a ledger at "process", with a verdict cache or without.</summary>
internal sealed class CachedEngine : IDisposable
{
    private readonly ProtoWriter _record = new();
    private readonly InProcessEngine _engine;

    /// <param name="entries">The cache's; 0: none.</param>
    public CachedEngine(ClassifierSet models, string[] bundles, int entries)
    {
        Cache = new VerdictCache(new VerdictCacheOptions { Entries = Math.Max(entries, VerdictCacheOptions.LeastEntries) }, TimeProvider.System);
        _engine = new InProcessEngine(models, Policy(models, bundles, entries > 0), Cache);
    }

    public VerdictCache Cache { get; }

    public SurfacePlan Plan => _engine.Plan;

    public long LookedUp { get; private set; }

    public long Remembered { get; private set; }

    public void Decide(Decision decision)
    {
        decision.BudgetMicros = uint.MaxValue;
        if (_engine.Engine.Decide(decision, _record, out _) is { } refusal)
        {
            throw new InvalidOperationException(refusal.Message);
        }

        foreach (var run in decision.Runs)
        {
            LookedUp += run.LookedUp;
            Remembered += run.Remembered;
            Failed |= run.Failure != FailureKind.None;
        }
    }

    /// <summary>Whether a bundle gave no scores in time, on a machine that was busy otherwise: then the turn is no measurement.</summary>
    public bool Failed { get; private set; }

    public void Forget() => (LookedUp, Remembered, Failed) = (0, 0, false);

    public void Dispose()
    {
        _engine.Dispose();
        Cache.Dispose();
    }

    // Every classifier of the bundles is read; ten rules go round them.
    private static string Policy(ClassifierSet models, string[] bundles, bool cached)
    {
        var read = models.Classifiers.Where(name => bundles.Contains(name[..name.IndexOf('/')], StringComparer.Ordinal)).ToArray();
        var rules = Enumerable.Range(0, 10).Select(i => $"  - {{ id: r{i}, when: {{ score: {read[i % read.Length]}, at_least: 0.9{i} }}, action: {{ demote: 0.{i + 1:D2} }}, reason: R{i} }}");
        return $"""
            policy: bench
            owner: bench
            surfaces: [feed]
            budget_us: 1000000
            verdict_cache: {(cached ? "on" : "off")}
            classifiers: {"{"} {string.Join(", ", read.Select(static name => name + ": { fail: closed }"))} {"}"}
            rules:
            {string.Join('\n', rules)}
            """;
    }
}
