using System.Collections.Concurrent;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>Takes what OTLP exporters send over gRPC, and keeps it as it came.</summary>
internal sealed class OtlpCollector : IAsyncDisposable
{
    private readonly WebApplication _application;

    private OtlpCollector()
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0").ConfigureKestrel(kestrel => kestrel.ConfigureEndpointDefaults(listen => listen.Protocols = HttpProtocols.Http2));
        _application = builder.Build();
        _application.MapPost("/opentelemetry.proto.collector.trace.v1.TraceService/Export", context => KeepAsync(context, Traces));
        _application.MapPost("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", context => KeepAsync(context, Metrics));
    }

    /// <summary>http://127.0.0.1:PORT</summary>
    public string Endpoint => _application.Urls.Single();

    /// <summary>Messages ExportTraceServiceRequest.</summary>
    public ConcurrentQueue<byte[]> Traces { get; } = [];

    /// <summary>Messages ExportMetricsServiceRequest.</summary>
    public ConcurrentQueue<byte[]> Metrics { get; } = [];

    public static async Task<OtlpCollector> StartAsync()
    {
        var collector = new OtlpCollector();
        await collector._application.StartAsync(TestContext.Current.CancellationToken);
        return collector;
    }

    public ValueTask DisposeAsync() => _application.DisposeAsync();

    private static async Task KeepAsync(HttpContext context, ConcurrentQueue<byte[]> kept)
    {
        var body = new MemoryStream();
        await context.Request.Body.CopyToAsync(body, context.RequestAborted);

        // Before the message itself: one byte that says whether it is compressed, four for its length.
        kept.Enqueue(body.ToArray()[5..]);
        context.Response.ContentType = "application/grpc";
        context.Response.DeclareTrailer("grpc-status");
        await context.Response.Body.WriteAsync(new byte[5], context.RequestAborted);
        context.Response.AppendTrailer("grpc-status", "0");
    }
}
