using System.Buffers;
using System.Collections.Concurrent;
using System.Net.Sockets;
using Grpc.Core;
using Grpc.Net.Client;
using SafetyFilter.Client;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Sends requests that are bytes already, over a Unix socket, and reads of the answers what is measured. Thread-safe.</summary>
internal sealed class FilterCaller : IDisposable
{
    private const string Service = "safetyfilter.v1.SafetyFilter";

    // Rankers set one. It also bounds what piles up before a server that does not keep up.
    private static readonly TimeSpan Deadline = TimeSpan.FromSeconds(1);

    private static readonly Marshaller<byte[]> Bytes = Marshallers.Create<byte[]>(
        static (request, context) =>
        {
            context.SetPayloadLength(request.Length);
            context.GetBufferWriter().Write(request);
            context.Complete();
        },
        static context => context.PayloadAsNewBuffer());

    private static readonly Method<byte[], FilterReply> Unary =
        new(MethodType.Unary, Service, "Filter", Bytes, Replies(streamed: false));

    private static readonly Method<byte[], FilterReply> Stream =
        new(MethodType.DuplexStreaming, Service, "FilterStream", Bytes, Replies(streamed: true));

    private readonly GrpcChannel _channel;
    private readonly CallInvoker _invoker;
    private readonly Workload _workload;
    private readonly bool _decides;
    private readonly ConcurrentBag<AsyncDuplexStreamingCall<byte[], FilterReply>> _streams = [];

    /// <param name="decides">Whether its answers are verdicts, which are then checked.</param>
    public FilterCaller(string unixSocket, Workload workload, bool decides)
    {
        var endpoint = new UnixDomainSocketEndPoint(unixSocket);
        _channel = GrpcChannel.ForAddress("http://localhost", new GrpcChannelOptions
        {
            HttpHandler = new SocketsHttpHandler
            {
                ConnectCallback = (_, token) => SafetyFilterClient.ConnectAsync(endpoint, token),
                UseProxy = false,
                ActivityHeadersPropagator = null,
            },
            DisposeHttpClient = true,
        });
        _invoker = _channel.CreateCallInvoker();
        _workload = workload;
        _decides = decides;
    }

    /// <exception cref="RpcException">The server refused, or is gone.</exception>
    public async ValueTask<FilterReply> AskAsync(byte[] request)
    {
        var reply = _workload.Streams ? await AskStreamAsync(request).ConfigureAwait(false) : await AskUnaryAsync(request).ConfigureAwait(false);
        return _decides && !(reply.IsEvaluated && reply.Verdicts == _workload.Candidates) ? reply with { IsDegraded = true } : reply;
    }

    public void Dispose()
    {
        foreach (var stream in _streams)
        {
            stream.Dispose();
        }

        _channel.Dispose();
    }

    private async ValueTask<FilterReply> AskUnaryAsync(byte[] request)
    {
        using var call = _invoker.AsyncUnaryCall(Unary, null, new CallOptions(deadline: DateTime.UtcNow + Deadline), request);
        return await call.ResponseAsync.ConfigureAwait(false);
    }

    // One request under way per stream; as many streams as there are requests under way.
    private async ValueTask<FilterReply> AskStreamAsync(byte[] request)
    {
        if (!_streams.TryTake(out var stream))
        {
            stream = _invoker.AsyncDuplexStreamingCall(Stream, null, default);
        }

        try
        {
            await stream.RequestStream.WriteAsync(request).ConfigureAwait(false);
            if (!await stream.ResponseStream.MoveNext(CancellationToken.None).ConfigureAwait(false))
            {
                throw new RpcException(new Status(StatusCode.Unavailable, "The server ended the stream."));
            }
        }
        catch
        {
            stream.Dispose();
            throw;
        }

        var reply = stream.ResponseStream.Current;
        _streams.Add(stream);
        return reply;
    }

    private static Marshaller<FilterReply> Replies(bool streamed) => Marshallers.Create<FilterReply>(
        static (_, _) => throw new NotSupportedException("Replies are only read."),
        context =>
        {
            var message = context.PayloadAsReadOnlySequence();
            return FilterReply.Read(message.IsSingleSegment ? message.FirstSpan : message.ToArray(), streamed);
        });
}
