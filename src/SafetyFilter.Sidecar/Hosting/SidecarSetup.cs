using System.Collections.Frozen;
using System.Diagnostics.Metrics;
using System.Reflection;
using System.Text.Encodings.Web;
using System.Text.Json;
using Grpc.AspNetCore.Server;
using Grpc.Health.V1;
using Grpc.Reflection;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging.Console;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;
using SafetyFilter.Admission;
using SafetyFilter.Breaker;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;
using SafetyFilter.Observability;
using SafetyFilter.Scoring;
using SafetyFilter.Sidecar.Grpc;
using SafetyFilter.Sidecar.Operations;
using SafetyFilter.Sidecar.Reload;
using ServiceDescriptor = Google.Protobuf.Reflection.ServiceDescriptor;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>What the sidecar is made of.</summary>
internal static class SidecarSetup
{
    // A page of 256 embeddings in one frame, from clients that send what a server allows (gRPC's C and Java cores; Go and .NET stay at 16 KiB):
    // the request's thread is woken once for it and not once per frame. A frame is read as a whole, so it is bounded well below a connection's buffer.
    private const int LargestFrame = 256 << 10;

    private const string InlineCompletions = "DOTNET_SYSTEM_NET_SOCKETS_INLINE_COMPLETIONS";

    /// <summary>The version and source revision of this build, as records carry it.</summary>
    public static string Build { get; } =
        typeof(SidecarSetup).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "unknown";

    public static void AddSidecar(
        this WebApplicationBuilder builder, SidecarOptions options, SettingsFiles files, FrozenDictionary<string, Setting> settings)
    {
        builder.AddServer(options);
        builder.Services.AddSingleton(options);
        builder.Services.AddSingleton(TimeProvider.System);
        AddEngine(builder.Services, options);
        AddReload(builder.Services, options, files, settings);
        AddGrpcServices(builder.Services, options);
        builder.Services.Configure<HostOptions>(host =>
            host.ShutdownTimeout = options.Drain.Delay + options.Drain.Timeout);
    }

    /// <summary>
    /// The server as it is before it has anything to serve: threads, log, listeners, gRPC, telemetry. The benchmarks put a handler into it
    /// that does nothing.
    /// </summary>
    public static void AddServer(this WebApplicationBuilder builder, SidecarOptions options)
    {
        var endpoints = new BoundEndpoints();

        // As many threads again as the engine keeps busy, at once and not when the pool finds out: or requests would wait in the pool's
        // queue, which knows neither deadlines nor priorities, instead of in ours.
        ThreadPool.SetMinThreads(2 * Math.Max(options.Admission.EffectivePlaces, Environment.ProcessorCount), Environment.ProcessorCount);

        // What the kernel says of sockets goes to Kestrel's queues from the thread that hears it: by default a pool thread is woken first, whose only work is to
        // queue it there. The runtime has no other switch for it, and reads it when the first socket is made.
        if (Environment.GetEnvironmentVariable(InlineCompletions) is null)
        {
            Environment.SetEnvironmentVariable(InlineCompletions, "1");
        }

        AddConsoleLog(builder);
        builder.WebHost.ConfigureKestrel(kestrel => Listen(kestrel, options, endpoints));
        builder.Services.AddSingleton<IMemoryPoolFactory<byte>, TransportMemory>();
        builder.WebHost.UseSockets(sockets => sockets.CreateBoundListenSocket = endPoint => SocketBinding.Bind(endPoint, options));
        builder.Services.AddSingleton(endpoints);
        AddGrpc(builder.Services, options);
        AddTelemetry(builder.Services, options.Telemetry);
    }

    public static void MapSidecar(this WebApplication app, SidecarOptions options)
    {
        var admission = app.Services.GetRequiredService<Grpc.Admission>();
        var filter = app.MapGrpcService<FilterService>();
        filter.Add(admission.Guard);
        filter.KeepTo(ListenerRole.Filter);
        app.MapGrpcService<HealthService>().KeepTo(ListenerRole.Filter | ListenerRole.Operations);

        // On the filter's listeners too, where it says which are its own.
        app.MapGrpcService<OperationsService>().KeepTo(ListenerRole.Filter | ListenerRole.Operations);
        app.MapPrometheusScrapingEndpoint().KeepTo(ListenerRole.Metrics);
        if (options.Reflection)
        {
            app.MapGrpcService<ReflectionServiceImpl>().KeepTo(ListenerRole.Filter);
            app.MapGrpcService<ReflectionV1ServiceImpl>().KeepTo(ListenerRole.Filter);
        }
    }

    private static void AddConsoleLog(WebApplicationBuilder builder)
    {
        builder.Logging.AddConsole();

        // The slim builder has set "simple" in code, which would win over the settings.
        builder.Services.PostConfigure<ConsoleLoggerOptions>(console =>
            console.FormatterName = builder.Configuration["Logging:Console:FormatterName"] ?? ConsoleFormatterNames.Json);

        // Lines go to a log and not into a web page: quotes may stay quotes, for whoever reads them there.
        builder.Services.PostConfigure<JsonConsoleFormatterOptions>(static json =>
            json.JsonWriterOptions = new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
    }

    private static void Listen(KestrelServerOptions kestrel, SidecarOptions options, BoundEndpoints endpoints)
    {
        kestrel.AddServerHeader = false;

        // Messages are bounded one by one; a stream of them is not.
        kestrel.Limits.MaxRequestBodySize = null;
        kestrel.Limits.MaxConcurrentConnections = 1024;
        kestrel.Limits.Http2.MaxFrameSize = LargestFrame;
        kestrel.Limits.Http2.KeepAlivePingDelay = TimeSpan.FromSeconds(30);
        if (options.Listen.UnixSocket.Length > 0)
        {
            kestrel.ListenUnixSocket(options.Listen.UnixSocket, static listen => Describe(listen, HttpProtocols.Http2, ListenerRole.Filter));
        }

        if (ListenOptions.TryParse(options.Listen.Tcp, out var tcp))
        {
            kestrel.Listen(tcp, listen => endpoints.Tcp = Describe(listen, HttpProtocols.Http2, ListenerRole.Filter));
        }

        if (options.Operations.UnixSocket.Length > 0)
        {
            kestrel.ListenUnixSocket(
                options.Operations.UnixSocket, static listen => OperationsPeer.Mark(Describe(listen, HttpProtocols.Http2, ListenerRole.Operations)));
        }

        if (ListenOptions.TryParse(options.Operations.Tcp, out var operations))
        {
            kestrel.Listen(operations, listen => OperationsPeer.Mark(endpoints.Operations = Describe(listen, HttpProtocols.Http2, ListenerRole.Operations)));
        }

        if (ListenOptions.TryParse(options.Listen.Metrics, out var metrics))
        {
            kestrel.Listen(metrics, listen => endpoints.Metrics = Describe(listen, HttpProtocols.Http1, ListenerRole.Metrics));
        }
    }

    private static Microsoft.AspNetCore.Server.Kestrel.Core.ListenOptions Describe(
        Microsoft.AspNetCore.Server.Kestrel.Core.ListenOptions listen, HttpProtocols protocols, ListenerRole role)
    {
        listen.Protocols = protocols;
        listen.Give(role);
        return listen;
    }

    private static void AddEngine(IServiceCollection services, SidecarOptions options)
    {
        services.AddSingleton(options.Limits);
        services.AddSingleton<ServingStore>();
        services.AddSingleton<OperationsJournal>();
        services.AddSingleton(static provider => new BreakerEvents(
            provider.GetRequiredService<ILogger<BreakerEvents>>(),
            provider.GetRequiredService<FilterMetrics>(),
            change => provider.GetRequiredService<OperationsJournal>().BreakerChanged(change) == AppendResult.Appended));
        services.AddSingleton<BreakerBoard>();
        services.AddSingleton(new LastKnownScores(options.LastKnown));
        services.AddSingleton(provider =>
        {
            var cache = new VerdictCache(options.VerdictCache, provider.GetRequiredService<TimeProvider>());
            VerdictCacheMetrics.Create(provider.GetRequiredService<Meter>(), () => cache.Count, () => cache.Evicted);
            return cache;
        });
        services.AddSingleton<RunWatchdog>();

        // Places say how many cores the operator gives the engine; more of them than cores do not make more cores.
        services.AddSingleton(_ => new RunSplitter(Math.Min(options.Admission.EffectivePlaces, Environment.ProcessorCount)));
        services.AddSingleton(options.Admission);
        services.AddSingleton(static provider => new ShedReport(
            shed => provider.GetRequiredService<OperationsJournal>().Shed(shed.First, shed.Last, (ulong)shed.Refused, (ulong)shed.ServedByFailMode) == AppendResult.Appended,
            provider.GetRequiredService<TimeProvider>(),
            provider.GetRequiredService<ILogger<ShedReport>>()));
        services.AddSingleton<Grpc.Admission>();
        services.AddSingleton<FilterEngine>();
        services.AddSingleton(static provider => provider.GetRequiredService<IMeterFactory>().Create(FilterMetrics.MeterName));
        services.AddSingleton<FilterMetrics>();
        services.AddSingleton(provider => DecisionLedger.Open(
            options.Ledger, Build, TimeProvider.System, provider.GetRequiredService<Meter>(), provider.GetRequiredService<ILoggerFactory>(),
            provider.GetService<IIdentitySigner>()));
        services.AddSingleton(static provider => provider.GetRequiredService<DecisionLedger>().Spool);
        services.AddSingleton(provider => new RecordPrivacy(
            options.Ledger.Privacy, options.Ledger.Spool.Folder, options.Ledger.Spool.RecordLimit(options.Ledger.Kafka.Enabled), TimeProvider.System, provider.GetRequiredService<ILogger<RecordPrivacy>>()));
        services.AddSingleton<ServingArchive>(provider => new ServingArchive(
            options.Ledger.Archive, options.Ledger.Spool.Folder, provider.GetRequiredService<ILogger<ServingArchive>>()));
        services.AddSingleton<ActivationLog>();
        services.AddSingleton<ServingLoader>();
        services.AddSingleton<ServingLifecycle>();
        services.AddHostedService(static provider => provider.GetRequiredService<ServingLifecycle>());
    }

    private static void AddReload(
        IServiceCollection services, SidecarOptions options, SettingsFiles files, FrozenDictionary<string, Setting> settings)
    {
        services.AddSingleton(options.Reload);
        services.AddSingleton(files);
        services.AddSingleton(new RecentDecisions(options.Reload.RecentDecisions, options.Reload.RecentBytes));
        services.AddSingleton(provider => new ServingSettings(
            files, settings, options, provider.GetRequiredService<IHostEnvironment>().IsProduction()));
        services.AddSingleton<ReloadService>();
        services.AddHostedService<ReloadWatcher>();
    }

    private static void AddGrpc(IServiceCollection services, SidecarOptions options)
    {
        services.AddGrpc(grpc =>
        {
            // Up to twice the limit is read, so that the caller gets our message and a stream survives; past that it is cut off.
            grpc.MaxReceiveMessageSize = (int)Math.Min(options.Limits.MaxMessageBytes * 2L, int.MaxValue);
            grpc.MaxSendMessageSize = null;
            grpc.IgnoreUnknownServices = false;
        });

        // A corrupt compressed message would end as UNKNOWN inside grpc-dotnet, and on a local hop compression only costs.
        // After grpc's own set-up, which would fill an empty list again.
        services.PostConfigure<GrpcServiceOptions>(static grpc => grpc.CompressionProviders.Clear());
    }

    private static void AddGrpcServices(IServiceCollection services, SidecarOptions options)
    {
        services.AddGrpc().AddServiceOptions<OperationsService>(static operations =>
        {
            operations.Interceptors.Add<OperationsAccess>();

            // A request of operations is a few words.
            operations.MaxReceiveMessageSize = 64 * 1024;
        });
        services.AddSingleton<OpenStreams>();
        services.AddSingleton(new AccessTokens(options.Operations.TokensFile));
        services.AddSingleton<DenialReport>();
        services.AddSingleton<OperationsAccess>();
        services.AddSingleton<StatusReader>();
        services.AddSingleton<OperationsService>();
        services.AddSingleton<FilterService>();
        services.AddSingleton(options.Health);
        services.AddSingleton<ServingHealth>();
        services.AddSingleton<HealthService>();
        if (options.Reflection)
        {
            // Named one by one: Grpc.AspNetCore.Server.Reflection looks for the descriptors of mapped services by reflection, which a native build may have trimmed.
            ServiceDescriptor[] described =
                [FilterServiceDefinition.Descriptor, Health.Descriptor, SafetyFilter.Operations.V1.Operations.Descriptor];
            services.AddSingleton(new ReflectionServiceImpl(described));
            services.AddSingleton(new ReflectionV1ServiceImpl(described));
        }
    }

    private static void AddTelemetry(IServiceCollection services, TelemetryOptions options)
    {
        var exports = options.OtlpEndpoint.Length > 0;
        var telemetry = services.AddOpenTelemetry()
            .ConfigureResource(static resource => resource.AddService("safetyfilter", serviceVersion: Build))
            .WithMetrics(metrics =>
            {
                metrics.AddMeter(FilterMetrics.MeterName, "Microsoft.AspNetCore.Server.Kestrel").AddRuntimeInstrumentation().AddPrometheusExporter();
                if (exports)
                {
                    metrics.AddOtlpExporter(otlp => otlp.Endpoint = new Uri(options.OtlpEndpoint));
                }
            });

        // Without an exporter nobody would read the spans; records take the caller's trace context from the headers all the same.
        if (exports)
        {
            telemetry.WithTracing(tracing => tracing
                .SetSampler(new ParentBasedSampler(new TraceIdRatioBasedSampler(options.TraceRatio)))
                .AddAspNetCoreInstrumentation()
                .AddOtlpExporter(otlp => otlp.Endpoint = new Uri(options.OtlpEndpoint)));
        }
    }
}
