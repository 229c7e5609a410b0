using System.Net.Sockets;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using SafetyFilter.V1;

namespace SafetyFilter.FunctionalTests.Host;

/// <summary>The service as bytes: what is sent need not be a message, and what comes is what was on the wire.</summary>
internal sealed class Wire : IDisposable
{
    private static readonly Marshaller<byte[]> Bytes = Marshallers.Create<byte[]>(static bytes => bytes, static bytes => bytes);
    private static readonly Method<byte[], byte[]> Unary = new(MethodType.Unary, "safetyfilter.v1.SafetyFilter", "Filter", Bytes, Bytes);
    private static readonly Method<byte[], byte[]> Duplex = new(MethodType.DuplexStreaming, "safetyfilter.v1.SafetyFilter", "FilterStream", Bytes, Bytes);

    private Wire(GrpcChannel channel) => Channel = channel;

    public GrpcChannel Channel { get; }

    public static Wire Tcp(SidecarProcess sidecar) => new(sidecar.Channel());

    public static Wire Unix(string socket) => new(GrpcChannel.ForAddress("http://localhost", new GrpcChannelOptions
    {
        HttpHandler = new SocketsHttpHandler { ConnectCallback = (_, token) => ConnectAsync(socket, token) },
        DisposeHttpClient = true,
    }));

    public async Task<FilterResponse> FilterAsync(FilterRequest request, Metadata? headers = null) =>
        FilterResponse.Parser.ParseFrom(await FilterAsync(request.ToByteArray(), headers));

    public async Task<FilterResponse> FilterAsync(FilterRequest request, TimeSpan deadline)
    {
        var options = new CallOptions(deadline: DateTime.UtcNow + deadline, cancellationToken: TestContext.Current.CancellationToken);
        using var call = Channel.CreateCallInvoker().AsyncUnaryCall(Unary, null, options, request.ToByteArray());
        return FilterResponse.Parser.ParseFrom(await call.ResponseAsync);
    }

    /// <summary>A call that its caller ends.</summary>
    public async Task<FilterResponse> FilterAsync(FilterRequest request, CancellationToken leaving)
    {
        using var call = Channel.CreateCallInvoker().AsyncUnaryCall(Unary, null, new CallOptions(cancellationToken: leaving), request.ToByteArray());
        return FilterResponse.Parser.ParseFrom(await call.ResponseAsync);
    }

    public async Task<byte[]> FilterAsync(byte[] request, Metadata? headers = null)
    {
        using var call = Channel.CreateCallInvoker().AsyncUnaryCall(Unary, null, Options(headers), request);
        return await call.ResponseAsync;
    }

    /// <summary>The status of a call that must be refused.</summary>
    public async Task<Status> RefusedAsync(byte[] request) => (await Assert.ThrowsAsync<RpcException>(() => FilterAsync(request))).Status;

    public AsyncDuplexStreamingCall<byte[], byte[]> Stream(Metadata? headers = null) =>
        Channel.CreateCallInvoker().AsyncDuplexStreamingCall(Duplex, null, Options(headers));

    /// <summary>Sends all messages on one stream while it reads the replies. Returns them in the order in which they came.</summary>
    public async Task<List<FilterStreamResponse>> StreamAsync(IReadOnlyList<byte[]> requests)
    {
        using var call = Stream();
        var writing = Task.Run(async () =>
        {
            foreach (var request in requests)
            {
                await call.RequestStream.WriteAsync(request);
            }

            await call.RequestStream.CompleteAsync();
        });
        var replies = new List<FilterStreamResponse>();
        while (await call.ResponseStream.MoveNext(TestContext.Current.CancellationToken))
        {
            replies.Add(FilterStreamResponse.Parser.ParseFrom(call.ResponseStream.Current));
        }

        await writing;
        return replies;
    }

    public void Dispose() => Channel.Dispose();

    /// <summary>A page of titles, with scores asked for.</summary>
    public static FilterRequest Page(string id, string surface, params string[] titles)
    {
        var request = new FilterRequest { RequestId = id, Surface = surface, ReturnScores = true, Texts = { new TextColumn { Name = "text", Values = { titles } } } };
        request.CandidateIds.AddRange(titles.Select(static (_, row) => $"video:{row}"));
        return request;
    }

    private static CallOptions Options(Metadata? headers) =>
        new(headers, DateTime.UtcNow.AddSeconds(60), TestContext.Current.CancellationToken);

    private static async ValueTask<Stream> ConnectAsync(string path, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(new UnixDomainSocketEndPoint(path), cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
