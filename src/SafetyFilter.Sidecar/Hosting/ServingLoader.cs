using System.Collections.Frozen;
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using SafetyFilter.Breaker;
using SafetyFilter.Filtering;
using SafetyFilter.Observability;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;
using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Makes serving snapshots: from the folders of models and policies at start, and from other texts of policies and settings later.</summary>
internal sealed partial class ServingLoader(
    SidecarOptions options,
    ServingSettings settings,
    FilterEngine engine,
    BreakerBoard breakers,
    BreakerEvents events,
    TimeProvider time,
    ILogger<ServingLoader> logger)
{
    // What else is configured does not change what is decided.
    private static readonly string[] DecidingSections = ["Limits", "Scoring", "Breaker", "Chaos", "LastKnown"];

    /// <summary>What serves, or every error of the models and then of the policies.</summary>
    public (LoadedServing? Loaded, IReadOnlyList<string> Errors) Load()
    {
        var models = ClassifierSet.Load(options.Models.FullPath, BundleLimits.Default, time);
        if (models.Value is not { } classifiers)
        {
            return (null, [.. models.Errors.Select(static error => error.ToString())]);
        }

        var (sources, unreadable) = PolicySource.ReadFolder(options.Policies.FullPath);
        var (policies, errors) = Compile(classifiers, options.Breaker, sources, unreadable);
        if (policies is null)
        {
            classifiers.Dispose();
            return (null, errors);
        }

        foreach (var bundle in classifiers.Bundles)
        {
            Describe(bundle);
        }

        Rehearse(policies, classifiers);
        return (Bind(policies, classifiers, options, ConfigRevision(settings.InForce)), []);
    }

    /// <summary>The policies that texts make with the bundles that serve, or every error.</summary>
    public (PolicySnapshot? Policies, IReadOnlyList<string> Errors) Compile(
        ClassifierSet classifiers, BreakerOptions breaker, ImmutableArray<PolicySource> sources, ImmutableArray<PolicyError> unreadable)
    {
        var compiled = PolicyCompiler.Compile(sources, classifiers.PolicyTerms(), time.GetUtcNow());
        List<string> errors =
        [
            .. UnknownBundles(classifiers, breaker),
            .. unreadable.Concat(compiled.Errors).Select(static error => error.ToString()),
        ];
        return (errors.Count == 0 ? compiled.Snapshot : null, errors);
    }

    /// <summary>What is to serve after <paramref name="before"/>, on its bundles and sessions. Nothing of it is in effect yet.</summary>
    public LoadedServing Next(LoadedServing before, PolicySnapshot policies, SidecarOptions next, string configRevision)
    {
        var loaded = Bind(policies, before.Classifiers, next, configRevision);
        engine.Prepare(loaded.Snapshot);
        return loaded;
    }

    /// <summary>What serves by now. What only the one before needed is given back.</summary>
    public void Settle(LoadedServing loaded) => engine.Release(loaded.Snapshot);

    public static string ConfigRevision(IConfiguration configuration)
    {
        var text = new StringBuilder();
        foreach (var section in DecidingSections)
        {
            foreach (var (key, value) in configuration.GetSection(section).AsEnumerable().OrderBy(static pair => pair.Key, StringComparer.Ordinal))
            {
                text.Append(key).Append('=').Append(value).Append('\n');
            }
        }

        return Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text.ToString())));
    }

    // The breakers that stay are the very same; the board keeps what the others know.
    private LoadedServing Bind(PolicySnapshot policies, ClassifierSet classifiers, SidecarOptions next, string configRevision)
    {
        var bundles = classifiers.Bundles.ToFrozenDictionary(static bundle => bundle.Name, StringComparer.Ordinal);
        var guarded = breakers.Prepare(ServingSnapshot.UsesOf(policies, bundles), next.Breaker, options.Chaos);
        return new LoadedServing(
            ServingSnapshot.Bind(policies, guarded, configRevision, SidecarSetup.Build, next.Limits.MaxBudgetMicros, next.Scoring.SplitAbove),
            policies,
            classifiers,
            configRevision);
    }

    // A misspelt name would leave a bundle on other thresholds than somebody believes.
    private IEnumerable<string> UnknownBundles(ClassifierSet classifiers, BreakerOptions breaker)
    {
        var loaded = classifiers.Bundles.Select(static bundle => bundle.Name).ToHashSet(StringComparer.Ordinal);
        var named = breaker.Bundles.Keys.Select(static name => ("Breaker", name)).Concat(options.Chaos.Bundles.Keys.Select(static name => ("Chaos", name)));
        foreach (var (section, name) in named.Where(pair => !loaded.Contains(pair.name)))
        {
            yield return $"{section}:Bundles:{name} names no loaded bundle. Use one of: {string.Join(", ", loaded.Order(StringComparer.Ordinal))}.";
        }
    }

    // On breakers of its own that never open: a rehearsal must neither open nor close those that serve, nor tell of it.
    private void Rehearse(PolicySnapshot policies, ClassifierSet classifiers)
    {
        var guarded = classifiers.Bundles.ToFrozenDictionary(
            static bundle => bundle.Name,
            bundle => new GuardedBundle(
                bundle, new BreakerGate(bundle.Name, "", events, time), new BreakerThresholds { MinimumThroughput = int.MaxValue }, null, time),
            StringComparer.Ordinal);
        engine.Rehearse(ServingSnapshot.Bind(policies, guarded, "", SidecarSetup.Build, splitAbove: options.Scoring.SplitAbove));
    }

    private void Describe(ModelBundle bundle)
    {
        BundleLoaded(logger, bundle.Name, bundle.Version, Convert.ToHexStringLower(bundle.ModelSha256.Span));
        if (options.Chaos.For(bundle.Name) is { } chaos)
        {
            ChaosEnabled(logger, bundle.Name, chaos.FaultRate, chaos.InvalidOutputRate, chaos.LatencyRate, chaos.Latency);
        }
    }

    [LoggerMessage(EventIds.BundleLoaded, LogLevel.Information, "Loaded bundle {Bundle} {Version} (model {ModelSha256})")]
    private static partial void BundleLoaded(ILogger logger, string bundle, string version, string modelSha256);

    [LoggerMessage(EventIds.ChaosEnabled, LogLevel.Warning, "Chaos is on for bundle {Bundle}: {FaultRate} of its calls fail, {InvalidOutputRate} give no valid output, {LatencyRate} are {Latency} slower")]
    private static partial void ChaosEnabled(ILogger logger, string bundle, double faultRate, double invalidOutputRate, double latencyRate, TimeSpan latency);
}

/// <summary>What serves, and what it was made of. Immutable.</summary>
internal sealed record LoadedServing(
    ServingSnapshot Snapshot,
    PolicySnapshot Policies,
    ClassifierSet Classifiers,
    string ConfigRevision);
