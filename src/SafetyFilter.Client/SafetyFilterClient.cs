using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Grpc.Core;
using Grpc.Net.Client;
using Stub = SafetyFilter.V1.SafetyFilter.SafetyFilterClient;

namespace SafetyFilter.Client;

/// <summary>A ranker's way to the safety filter: rows in, rows out, over a Unix domain socket or TCP.</summary>
/// <remarks>
/// <para>Thread-safe; make one per process and keep it. It holds HTTP/2 connections, which are made on the first call and
/// again after a failure. A <see cref="FilterQuery"/> is not thread-safe: one per concurrent call.</para>
/// <para>Calls fail with <see cref="RpcException"/>. Its <see cref="RpcException.StatusCode"/> says whose turn it is:
/// <c>InvalidArgument</c> and <c>NotFound</c> (unknown surface) are the request's fault and name field, value and remedy;
/// <c>PermissionDenied</c> is a purpose that the policy does not serve; <c>Unavailable</c>, <c>DeadlineExceeded</c> and
/// <c>ResourceExhausted</c> mean that nothing was decided, so that the ranker's own fail mode applies. Nothing is retried.</para>
/// <code>
/// using var client = SafetyFilterClient.Connect("unix:/run/safetyfilter/filter.sock");
/// var query = new FilterQuery { Surface = "for-you", Territory = "DE" };
/// query.AddCandidate("video:1", "v3", "en").Text("text", "Ten quiet walks in the Alps");
/// var result = await client.FilterAsync(query);
/// foreach (var verdict in result) { Console.WriteLine($"{verdict.Action}: {verdict.ReasonCode}"); }
/// </code>
/// </remarks>
public sealed class SafetyFilterClient : IDisposable
{
    private const string UnixScheme = "unix:";

    private readonly GrpcChannel _channel;
    private readonly Stub _stub;
    private readonly SafetyFilterClientOptions _options;

    private SafetyFilterClient(string target, SafetyFilterClientOptions options)
    {
        _options = options;
        _channel = Open(target, options);
        _stub = new Stub(_channel);
    }

    /// <summary>Makes a client. Does not connect yet: an unreachable sidecar shows as <c>Unavailable</c> on a call.</summary>
    /// <param name="target"><c>unix:/absolute/path.sock</c>, <c>http://host:port</c> or <c>https://host:port</c>.</param>
    /// <param name="options">Deadline and limits; null for the defaults.</param>
    /// <exception cref="ArgumentException">The target has none of these forms, or an option is out of range.</exception>
    public static SafetyFilterClient Connect(string target, SafetyFilterClientOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(target);
        options ??= new SafetyFilterClientOptions();
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(options.Deadline, TimeSpan.Zero, nameof(options));
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxResponseBytes, 1, nameof(options));
        return new SafetyFilterClient(target, options);
    }

    /// <summary>Has one page of candidates decided.</summary>
    /// <param name="query">Not to be touched until the returned task has ended; then it may be cleared and filled again.</param>
    /// <param name="cancellationToken">Gives the call up. The sidecar may still decide and record it.</param>
    /// <returns>One verdict per candidate, in the order in which they were added.</returns>
    /// <exception cref="RpcException">Nothing was decided; see the remarks of the class.</exception>
    public async ValueTask<FilterResult> FilterAsync(FilterQuery query, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(query);
        var deadline = DateTime.UtcNow + (query.Deadline ?? _options.Deadline);
        using var call = _stub.FilterAsync(query.Seal(), deadline: deadline, cancellationToken: cancellationToken);
        return new FilterResult(await call.ResponseAsync.ConfigureAwait(false));
    }

    /// <summary>Has many pages decided over one stream, several in flight at a time.</summary>
    /// <param name="queries">
    /// Read one after another by another task than the caller's. A query may be cleared and filled again as soon as the next
    /// one is asked for, so an iterator can yield the same object again and again.
    /// </param>
    /// <param name="cancellationToken">Ends the stream.</param>
    /// <returns>
    /// One reply per query, in their order. A refused query has its own status and does not end the stream. No deadline
    /// applies: a stream lives as long as its queries come.
    /// </returns>
    /// <exception cref="RpcException">The stream as a whole failed, e.g. <c>Unavailable</c>.</exception>
    public async IAsyncEnumerable<StreamReply> StreamAsync(
        IAsyncEnumerable<FilterQuery> queries, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(queries);
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var call = _stub.FilterStream(cancellationToken: stop.Token);
        var writing = WriteAsync(queries, call.RequestStream, stop);
        try
        {
            // Reading stops with the writer: it cancels the call when its source throws.
            while (await ReadAsync(call.ResponseStream, writing, stop.Token).ConfigureAwait(false))
            {
                yield return new StreamReply(call.ResponseStream.Current);
            }

            await writing.ConfigureAwait(false);
        }
        finally
        {
            // Reached early when the caller stops enumerating: the source must not go on being read behind its back.
            await stop.CancelAsync().ConfigureAwait(false);
            await writing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Closes the connections; calls under way fail with <c>Cancelled</c>.</summary>
    public void Dispose() => _channel.Dispose();

    private static async Task WriteAsync(
        IAsyncEnumerable<FilterQuery> queries, IClientStreamWriter<V1.FilterRequest> stream, CancellationTokenSource stop)
    {
        try
        {
            await foreach (var query in queries.WithCancellation(stop.Token).ConfigureAwait(false))
            {
                // Ends when the message is serialised, which is what allows the query's reuse.
                await stream.WriteAsync(query.Seal(), stop.Token).ConfigureAwait(false);
            }

            await stream.CompleteAsync().ConfigureAwait(false);
        }
        catch
        {
            await stop.CancelAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static async Task<bool> ReadAsync(
        IAsyncStreamReader<V1.FilterStreamResponse> stream, Task writing, CancellationToken cancellationToken)
    {
        try
        {
            return await stream.MoveNext(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception) when (cancellationToken.IsCancellationRequested)
        {
            // Either the caller cancelled or the writer did, because the source of the queries threw; the writer's end tells.
            // The latter error, and not the cancellation it led to, is what the caller wants to see.
            await writing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (writing is { IsFaulted: true, Exception.InnerException: not (RpcException or OperationCanceledException) })
            {
                await writing.ConfigureAwait(false);
            }

            throw;
        }
    }

    private static GrpcChannel Open(string target, SafetyFilterClientOptions options)
    {
        var handler = new SocketsHttpHandler
        {
            // One HTTP/2 connection carries 100 calls at once; more concurrency opens more instead of queueing.
            EnableMultipleHttp2Connections = true,
            // A quiet surface must not pay for connecting again.
            PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
            KeepAlivePingDelay = TimeSpan.FromSeconds(30),
            KeepAlivePingTimeout = TimeSpan.FromSeconds(10),
            UseProxy = false,
        };
        string address;
        if (target.StartsWith(UnixScheme, StringComparison.Ordinal))
        {
            var endpoint = new UnixDomainSocketEndPoint(AbsolutePath(target));
            handler.ConnectCallback = (_, token) => ConnectAsync(endpoint, token);
            address = "http://localhost";
        }
        else if (Uri.TryCreate(target, UriKind.Absolute, out var uri) && (uri.Scheme == Uri.UriSchemeHttp || uri.Scheme == Uri.UriSchemeHttps))
        {
            address = target;
        }
        else
        {
            handler.Dispose();
            throw new ArgumentException(
                $"Target '{target}' is neither unix:/absolute/path nor http(s)://host:port. Use the sidecar's Listen:UnixSocket or Listen:Tcp.",
                nameof(target));
        }

        return GrpcChannel.ForAddress(address, new GrpcChannelOptions
        {
            HttpHandler = handler,
            DisposeHttpClient = true,
            MaxReceiveMessageSize = options.MaxResponseBytes,
        });
    }

    private static string AbsolutePath(string target)
    {
        var path = target[UnixScheme.Length..];
        // unix:///run/x.sock is the URI form of the same.
        path = path.StartsWith("//", StringComparison.Ordinal) ? path[2..] : path;
        return Path.IsPathRooted(path)
            ? path
            : throw new ArgumentException($"Target '{target}' has no absolute path. Use unix:/absolute/path.sock.", nameof(target));
    }

    internal static async ValueTask<Stream> ConnectAsync(UnixDomainSocketEndPoint endpoint, CancellationToken cancellationToken)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        try
        {
            await socket.ConnectAsync(endpoint, cancellationToken).ConfigureAwait(false);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
