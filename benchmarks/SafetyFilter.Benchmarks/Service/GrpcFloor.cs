using System.CommandLine;
using Grpc.Core;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using SafetyFilter.Sidecar.Grpc;
using SafetyFilter.Sidecar.Hosting;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>
/// <c>service-floor-grpc</c>: the sidecar's own server, listeners, message handling and telemetry, with a handler that answers at once. What
/// a request costs here is what gRPC costs in this host. Configured by the sidecar's settings.
/// </summary>
internal static class GrpcFloor
{
    public const string Name = "service-floor-grpc";

    public static Command Create()
    {
        var replyBytes = new Option<int>("--reply-bytes") { Description = "Size of each reply.", Required = true };
        var command = new Command(Name, "The gRPC floor of 'service', which starts it.") { replyBytes };
        command.Hidden = true;
        command.SetAction((parsed, stop) => RunAsync(parsed.GetValue(replyBytes), stop));
        return command;
    }

    private static async Task<int> RunAsync(int replyBytes, CancellationToken stop)
    {
        var builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions { ContentRootPath = AppContext.BaseDirectory });
        var (options, errors) = SidecarOptions.Read(builder.Configuration, isProduction: true);
        if (options is null)
        {
            await Console.Error.WriteLineAsync(string.Join(Environment.NewLine, errors));
            return 2;
        }

        builder.AddServer(options);
        builder.Services.AddSingleton(new Handler(replyBytes));
        await using var app = builder.Build();
        app.MapGrpcService<Handler>();
        app.MapPrometheusScrapingEndpoint();
        var endpoints = app.Services.GetRequiredService<BoundEndpoints>();
        app.Lifetime.ApplicationStarted.Register(() => endpoints.Describe(options.Listen.UnixSocket).WriteTo(options.Listen.ReadyFile));
        await app.RunAsync(stop);
        return 0;
    }

    private sealed class Handler(int replyBytes) : FilterServiceDefinition.Base
    {
        // A field of any number, with its tag and length.
        private readonly byte[] _content = new byte[Math.Max(0, replyBytes - 4)];

        public override Task<FilterCall> Filter(FilterCall call, ServerCallContext context) => Task.FromResult(Reply(call));

        public override async Task FilterStream(IAsyncStreamReader<FilterCall> calls, IServerStreamWriter<FilterCall> replies, ServerCallContext context)
        {
            while (await calls.MoveNext(context.CancellationToken))
            {
                await replies.WriteAsync(Reply(calls.Current));
            }
        }

        private FilterCall Reply(FilterCall call)
        {
            call.Reply.Clear();
            call.Reply.Bytes(1, _content);
            return call;
        }
    }
}
