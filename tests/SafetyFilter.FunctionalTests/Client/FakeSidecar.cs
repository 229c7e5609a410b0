using System.Buffers.Binary;
using Google.Protobuf;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Logging;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Client;

/// <summary>
/// Speaks gRPC's frames by hand over a Unix socket, so that a test decides what a sidecar answers, and reads what a
/// client really sent. It shares no server code with the real one.
/// </summary>
internal sealed class FakeSidecar : IAsyncDisposable
{
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-fake-");
    private readonly WebApplication _application;

    private FakeSidecar(Func<FilterRequest, CancellationToken, Task<FilterStreamResponse>> answer)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel => kestrel.ListenUnixSocket(Socket, listen => listen.Protocols = HttpProtocols.Http2));
        _application = builder.Build();
        _application.MapPost("/safetyfilter.v1.SafetyFilter/Filter", async context =>
        {
            Begin(context);
            LastTimeout = context.Request.Headers["grpc-timeout"].ToString();
            LastSurface = context.Request.Headers["safetyfilter-surface"].ToString();
            var request = await ReadAsync<FilterRequest>(context.Request.Body, context.RequestAborted);
            var outcome = await answer(request!, context.RequestAborted);
            if (outcome.Response is { } response)
            {
                await WriteAsync(context.Response.Body, response);
            }

            End(context, outcome.Error?.Code ?? 0, outcome.Error?.Message ?? "");
        });
        _application.MapPost("/safetyfilter.v1.SafetyFilter/FilterStream", async context =>
        {
            Begin(context);
            await context.Response.Body.FlushAsync(context.RequestAborted);
            while (await ReadAsync<FilterRequest>(context.Request.Body, context.RequestAborted) is { } request)
            {
                await WriteAsync(context.Response.Body, await answer(request, context.RequestAborted));
                await context.Response.Body.FlushAsync(context.RequestAborted);
            }

            End(context, 0, "");
        });
    }

    /// <summary>The grpc-timeout header of the last unary call; empty when it had none.</summary>
    public string LastTimeout { get; private set; } = "";

    /// <summary>The surface as the last unary call's headers named it; empty when they did not.</summary>
    public string LastSurface { get; private set; } = "";

    public string Socket => Path.Combine(_folder.FullName, "fake.sock");

    public static async Task<FakeSidecar> StartAsync(Func<FilterRequest, CancellationToken, Task<FilterStreamResponse>> answer)
    {
        var fake = new FakeSidecar(answer);
        await fake._application.StartAsync(TestContext.Current.CancellationToken);
        return fake;
    }

    public static Task<FakeSidecar> StartAsync(Func<FilterRequest, FilterStreamResponse> answer) =>
        StartAsync((request, _) => Task.FromResult(answer(request)));

    /// <summary>Allows everything.</summary>
    public static FilterStreamResponse Allow(FilterRequest request)
    {
        var response = new FilterResponse { RequestId = request.RequestId };
        response.Rules.Add(new DecidingRule { Id = "default", Action = V1.Action.Allow });
        foreach (var _ in request.CandidateIds)
        {
            response.Actions.Add(V1.Action.Allow);
            response.RuleIndexes.Add(0);
            response.Bases.Add(Basis.Evaluated);
        }

        return new FilterStreamResponse { Response = response };
    }

    public async ValueTask DisposeAsync()
    {
        await _application.DisposeAsync();
        _folder.Delete(recursive: true);
    }

    private static void Begin(HttpContext context)
    {
        context.Response.ContentType = "application/grpc";
        context.Response.DeclareTrailer("grpc-status");
        context.Response.DeclareTrailer("grpc-message");
    }

    private static void End(HttpContext context, int status, string message)
    {
        context.Response.AppendTrailer("grpc-status", status.ToString(System.Globalization.CultureInfo.InvariantCulture));
        context.Response.AppendTrailer("grpc-message", message);
    }

    private static async Task<T?> ReadAsync<T>(Stream body, CancellationToken cancellationToken)
        where T : class, IMessage<T>, new()
    {
        // One byte that says whether the message is compressed, four for its length.
        var prefix = new byte[5];
        if (await body.ReadAtLeastAsync(prefix, prefix.Length, throwOnEndOfStream: false, cancellationToken) == 0)
        {
            return null;
        }

        Assert.Equal(0, prefix[0]);
        var bytes = new byte[BinaryPrimitives.ReadInt32BigEndian(prefix.AsSpan(1))];
        await body.ReadExactlyAsync(bytes, cancellationToken);
        var message = new T();
        message.MergeFrom(bytes);
        return message;
    }

    private static async Task WriteAsync(Stream body, IMessage message)
    {
        var bytes = new byte[5 + message.CalculateSize()];
        BinaryPrimitives.WriteInt32BigEndian(bytes.AsSpan(1), bytes.Length - 5);
        message.WriteTo(bytes.AsSpan(5));
        await body.WriteAsync(bytes);
    }
}
