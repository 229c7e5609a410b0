using SafetyFilter.Admission;
using SafetyFilter.Breaker;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Scoring;
using SafetyFilter.Sidecar.Grpc;
using SafetyFilter.Sidecar.Operations;
using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Every setting of the sidecar, as <c>appsettings.json</c> documents them. Environment variables override: <c>Listen__Tcp</c>.</summary>
internal sealed class SidecarOptions
{
    public ListenOptions Listen { get; init; } = new();
    public OperationsOptions Operations { get; init; } = new();

    /// <summary>Default <c>models</c>: beside the program, where the build puts the reference bundles.</summary>
    public FolderOptions Models { get; init; } = new() { Folder = "models" };

    /// <summary>Default <c>policies</c>: as the models.</summary>
    public FolderOptions Policies { get; init; } = new() { Folder = "policies" };

    public RequestLimits Limits { get; init; } = new();
    public AdmissionOptions Admission { get; init; } = new();
    public ScoringOptions Scoring { get; init; } = new();
    public BreakerOptions Breaker { get; init; } = new();
    public ChaosOptions Chaos { get; init; } = new();
    public LastKnownOptions LastKnown { get; init; } = new();
    public VerdictCacheOptions VerdictCache { get; init; } = new();
    public ReloadOptions Reload { get; init; } = new();
    public LedgerOptions Ledger { get; init; } = new();
    public HealthOptions Health { get; init; } = new();
    public DrainOptions Drain { get; init; } = new();
    public TelemetryOptions Telemetry { get; init; } = new();

    /// <summary>gRPC server reflection, for grpcurl and the like. Default false: it tells every caller the API.</summary>
    public bool Reflection { get; set; }

    /// <summary>Another file of settings, above appsettings.json and below the environment. Default empty: none. Also <c>--settings FILE</c>.</summary>
    public string SettingsFile { get; set; } = "";

    /// <summary>The options that a configuration makes, or everything that is wrong with it.</summary>
    public static (SidecarOptions? Options, IReadOnlyList<string> Errors) Read(IConfiguration configuration, bool isProduction)
    {
        var options = new SidecarOptions();
        try
        {
            configuration.Bind(options);
        }
        catch (InvalidOperationException error)
        {
            // The binder's message names the key; its cause names the value.
            return (null, [error.InnerException is { } cause ? $"{error.Message} {cause.Message}" : error.Message]);
        }

        List<string> errors = [.. options.Validate(isProduction), .. SettingKeys.WrongLogLevels(configuration.AsEnumerable())];
        return (errors.Count == 0 ? options : null, errors);
    }

    /// <summary>Every error at once, in words for whoever wrote the configuration.</summary>
    public IReadOnlyList<string> Validate(bool isProduction) =>
    [
        .. Listen.Validate(),
        .. Operations.Validate(),
        .. Limits.Validate(),
        .. Admission.Validate(),
        .. Scoring.Validate(),
        .. Breaker.Validate(),
        .. Chaos.Validate(isProduction),
        .. LastKnown.Validate(),
        .. VerdictCache.Validate(),
        .. Reload.Validate(),
        .. LedgerOptionsValidator.Validate(Ledger),
        .. Drain.Validate(),
        .. Telemetry.Validate(),
    ];
}

/// <summary>A folder relative to the application's own, or absolute.</summary>
internal sealed class FolderOptions
{
    public string Folder { get; set; } = "";

    public string FullPath => Path.GetFullPath(Folder, AppContext.BaseDirectory);
}

/// <summary>Section <c>Drain</c>.</summary>
internal sealed class DrainOptions
{
    /// <summary>
    /// How long health says NOT_SERVING before the listeners close, 0 to 5 min. Default 0: a sidecar's one caller
    /// reconnects by itself. Behind a load balancer, use its probe period.
    /// </summary>
    public TimeSpan Delay { get; set; } = TimeSpan.Zero;

    /// <summary>How long requests in flight may still take, 0 to 5 min. Default 5 s: five times the largest budget there is.</summary>
    public TimeSpan Timeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How long Kafka may still take what it does not have, 0 to 5 min. Default 10 s; the rest stays in the spool for the
    /// next run. Give the process the sum of the three before it is killed; with the defaults
    /// that is half of the 30 s that Kubernetes gives.
    /// </summary>
    public TimeSpan Flush { get; set; } = TimeSpan.FromSeconds(10);

    public IEnumerable<string> Validate()
    {
        foreach (var (name, value) in new[] { (nameof(Delay), Delay), (nameof(Timeout), Timeout), (nameof(Flush), Flush) })
        {
            if (value < TimeSpan.Zero || value > TimeSpan.FromMinutes(5))
            {
                yield return $"Drain:{name} is {value}; it must be 0 to 00:05:00.";
            }
        }
    }
}

/// <summary>Section <c>Telemetry</c>.</summary>
internal sealed class TelemetryOptions
{
    /// <summary>OTLP endpoint for metrics and traces, such as http://localhost:4317. Default empty: nothing is sent, since where a collector is differs.</summary>
    public string OtlpEndpoint { get; set; } = "";

    /// <summary>Share of requests without a sampled parent that are traced, 0 to 1. Default 0: the caller's choice is followed.</summary>
    public double TraceRatio { get; set; }

    public IEnumerable<string> Validate()
    {
        if (OtlpEndpoint.Length > 0 && !(Uri.TryCreate(OtlpEndpoint, UriKind.Absolute, out var uri) && uri.Scheme is ("http" or "https")))
        {
            yield return $"Telemetry:OtlpEndpoint '{OtlpEndpoint}' is not an http or https URI. Use one such as http://localhost:4317.";
        }

        if (!(TraceRatio is >= 0 and <= 1))
        {
            yield return $"Telemetry:TraceRatio is {TraceRatio}; it must be 0 to 1.";
        }
    }
}
