using System.Collections.Frozen;
using System.Security.Cryptography;
using System.Text;
using SafetyFilter.Breaker;
using SafetyFilter.Filtering;
using SafetyFilter.Observability;
using SafetyFilter.Policy;
using SafetyFilter.Scoring;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Loads models and policies from their folders into one serving snapshot.</summary>
internal sealed partial class ServingLoader(
    SidecarOptions options,
    IConfiguration configuration,
    FilterEngine engine,
    BreakerBoard breakers,
    BreakerEvents events,
    TimeProvider time,
    ILogger<ServingLoader> logger)
{
    // What else is configured does not change what is decided.
    private static readonly string[] DecidingSections = ["Limits", "Breaker", "Chaos", "LastKnown"];

    /// <summary>The snapshot, or every error of the models and then of the policies.</summary>
    public (ServingSnapshot? Snapshot, IReadOnlyList<string> Errors) Load()
    {
        var models = ClassifierSet.Load(options.Models.FullPath, BundleLimits.Default, time);
        if (models.Value is not { } classifiers)
        {
            return (null, [.. models.Errors.Select(static error => error.ToString())]);
        }

        var (policies, errors) = LoadPolicies(classifiers);
        errors = [.. UnknownBundles(classifiers), .. errors];
        if (policies is null || errors.Count > 0)
        {
            classifiers.Dispose();
            return (null, errors);
        }

        Rehearse(policies, classifiers);
        var bundles = classifiers.Bundles.ToFrozenDictionary(static bundle => bundle.Name, StringComparer.Ordinal);
        foreach (var bundle in classifiers.Bundles)
        {
            Tell(bundle);
        }

        var guarded = breakers.Prepare(ServingSnapshot.UsesOf(policies, bundles), options.Breaker, options.Chaos);
        return (ServingSnapshot.Bind(policies, guarded, ConfigRevision(), SidecarSetup.Build), []);
    }

    // A misspelt name would leave a bundle on other thresholds than somebody believes.
    private IEnumerable<string> UnknownBundles(ClassifierSet classifiers)
    {
        var loaded = classifiers.Bundles.Select(static bundle => bundle.Name).ToHashSet(StringComparer.Ordinal);
        var named = options.Breaker.Bundles.Keys.Select(static name => ("Breaker", name)).Concat(options.Chaos.Bundles.Keys.Select(static name => ("Chaos", name)));
        foreach (var (section, name) in named.Where(pair => !loaded.Contains(pair.name)))
        {
            yield return $"{section}:Bundles:{name} names no loaded bundle. Use one of: {string.Join(", ", loaded.Order(StringComparer.Ordinal))}.";
        }
    }

    private (PolicySnapshot? Snapshot, IReadOnlyList<string> Errors) LoadPolicies(ClassifierSet classifiers)
    {
        var (sources, unreadable) = PolicySource.ReadFolder(options.Policies.FullPath);
        var compiled = PolicyCompiler.Compile(sources, classifiers.PolicyTerms(), time.GetUtcNow());
        return unreadable.IsEmpty
            ? (compiled.Snapshot, [.. compiled.Errors.Select(static error => error.ToString())])
            : (null, [.. unreadable.Concat(compiled.Errors).Select(static error => error.ToString())]);
    }

    // On breakers of its own that never open: a rehearsal must neither open nor close those that serve, nor tell of it.
    private void Rehearse(PolicySnapshot policies, ClassifierSet classifiers)
    {
        var guarded = classifiers.Bundles.ToFrozenDictionary(
            static bundle => bundle.Name,
            bundle => new GuardedBundle(
                bundle, new BreakerGate(bundle.Name, "", events, time), new BreakerThresholds { MinimumThroughput = int.MaxValue }, null, time),
            StringComparer.Ordinal);
        engine.Rehearse(ServingSnapshot.Bind(policies, guarded, "", SidecarSetup.Build));
    }

    private void Tell(ModelBundle bundle)
    {
        BundleLoaded(logger, bundle.Name, bundle.Version, Convert.ToHexStringLower(bundle.ModelSha256.Span));
        var chaos = options.Chaos.For(bundle.Name);
        if (chaos is not null)
        {
            ChaosEnabled(logger, bundle.Name, chaos.FaultRate, chaos.InvalidOutputRate, chaos.LatencyRate, chaos.Latency);
        }
    }

    private string ConfigRevision()
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

    [LoggerMessage(EventIds.BundleLoaded, LogLevel.Information, "Loaded bundle {Bundle} {Version} (model {ModelSha256})")]
    private static partial void BundleLoaded(ILogger logger, string bundle, string version, string modelSha256);

    [LoggerMessage(EventIds.ChaosEnabled, LogLevel.Warning, "Chaos is on for bundle {Bundle}: {FaultRate} of its calls fail, {InvalidOutputRate} give no valid output, {LatencyRate} are {Latency} slower")]
    private static partial void ChaosEnabled(ILogger logger, string bundle, double faultRate, double invalidOutputRate, double latencyRate, TimeSpan latency);
}
