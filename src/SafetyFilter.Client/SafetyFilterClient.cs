using System.Diagnostics;
using System.Net;
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
/// <para>A page always gets an answer within its deadline. When the sidecar is gone, hung, refuses or is overloaded, the client
/// answers by its own fail mode (<see cref="SafetyFilterClientOptions.FailMode"/>) and <see cref="FilterResult.IsLocal"/> says so.
/// What is the request's own fault throws <see cref="RpcException"/>: <c>InvalidArgument</c> and <c>NotFound</c> (unknown surface)
/// name field, value and remedy; <c>PermissionDenied</c> is a purpose that the policy does not serve.</para>
/// <para>A call whose connection failed is sent again, under the same idempotency key and with the next attempt number; a refusal
/// never is. Should the sidecar have decided the first attempt before the connection broke, the ledger holds both, and the key joins them.</para>
/// <code>
/// using var client = SafetyFilterClient.Connect("unix:/run/safetyfilter/filter.sock");
/// var query = new FilterQuery { Surface = "for-you", Territory = "DE" };
/// query.AddCandidate("video:1", "v3", "en").Text("text", "Ten quiet walks in the Alps");
/// var result = await client.FilterAsync(query);
/// if (result.IsLocal) { Console.WriteLine($"No filter: {result.LocalReason}"); }
/// foreach (var verdict in result) { Console.WriteLine($"{verdict.Action}: {verdict.ReasonCode}"); }
/// </code>
/// </remarks>
public sealed class SafetyFilterClient : IDisposable
{
    /// <summary>The name of this library's meter, for <c>AddMeter</c>.</summary>
    public const string MeterName = "SafetyFilter.Client";

    private const string UnixScheme = "unix:";

    // Warming up asks again after this, doubled up to the most: a sidecar needs from 0.1 s to a few seconds to start.
    private static readonly TimeSpan FirstWarmUpWait = TimeSpan.FromMilliseconds(10);
    private static readonly TimeSpan MostWarmUpWait = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan ProbePatience = TimeSpan.FromSeconds(1);

    private readonly GrpcChannel? _channel;
    private readonly CallInvoker _invoker;
    private readonly Stub _stub;
    private readonly SafetyFilterClientOptions _options;
    private readonly SurfaceHeaders _headers = new();

    private SafetyFilterClient(GrpcChannel channel, SafetyFilterClientOptions options)
        : this(channel.CreateCallInvoker(), options) => _channel = channel;

    /// <summary>For a caller that brings its own transport.</summary>
    internal SafetyFilterClient(CallInvoker invoker, SafetyFilterClientOptions options)
    {
        _options = options;
        _invoker = invoker;
        _stub = new Stub(invoker);
    }

    /// <summary>Makes a client. Does not connect yet: an unreachable sidecar shows on a call.</summary>
    /// <param name="target"><c>unix:/absolute/path.sock</c>, <c>http://host:port</c> or <c>https://host:port</c>.</param>
    /// <param name="options">Deadline, fail modes and limits; null for the defaults.</param>
    /// <exception cref="ArgumentException">The target has none of these forms, or an option is out of range.</exception>
    public static SafetyFilterClient Connect(string target, SafetyFilterClientOptions? options = null)
    {
        ArgumentNullException.ThrowIfNull(target);
        options ??= new SafetyFilterClientOptions();
        options.Check();
        return new SafetyFilterClient(Open(target, options), options);
    }

    /// <summary>Connects and waits until the sidecar says that it serves, so that the first page pays for neither.</summary>
    /// <param name="cancellationToken">Ends the wait; there is no other end to it while the sidecar does not serve.</param>
    /// <exception cref="OperationCanceledException">The token ended it. The client can be used nevertheless.</exception>
    public async Task WarmUpAsync(CancellationToken cancellationToken = default)
    {
        var wait = FirstWarmUpWait;
        while (!await ProbeAsync(cancellationToken).ConfigureAwait(false))
        {
            await Task.Delay(wait, cancellationToken).ConfigureAwait(false);
            wait = wait * 2 < MostWarmUpWait ? wait * 2 : MostWarmUpWait;
        }
    }

    /// <summary>Asks once whether the sidecar serves, and connects on the way.</summary>
    internal Task<bool> ProbeAsync(CancellationToken cancellationToken) => HealthProbe.IsServingAsync(_invoker, ProbePatience, cancellationToken);

    /// <summary>Has one page of candidates decided.</summary>
    /// <param name="query">Not to be touched until the returned task has ended; then it may be cleared and filled again.</param>
    /// <param name="cancellationToken">Gives the call up. The sidecar may still decide and record it.</param>
    /// <returns>One verdict per candidate, in the order in which they were added. To be awaited once.</returns>
    /// <exception cref="RpcException">
    /// The request is at fault, the token was cancelled (<c>Cancelled</c>), or the fail mode is <see cref="LocalFailMode.Throw"/>.
    /// </exception>
    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder<>))]
    public async ValueTask<FilterResult> FilterAsync(FilterQuery query, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(query);
        var since = Stopwatch.GetTimestamp();
        var deadline = DateTime.UtcNow + (query.Deadline ?? _options.Deadline);
        var request = query.SealForAttempts();
        var headers = _headers.Of(request.Surface);
        for (var attempt = 0; ; attempt++)
        {
            request.Attempt = (uint)attempt;
            try
            {
                using var call = _stub.FilterAsync(request, headers, deadline, cancellationToken);
                var response = await call.ResponseAsync.ConfigureAwait(false);
                ThrowUnlessWhole(response, request.CandidateIds.Count);
                ClientMetrics.Called(Stopwatch.GetElapsedTime(since), "decided");
                return new FilterResult(response);
            }
            catch (RpcException error)
            {
                request = query.Detach();
                if (await MayRetryAsync(error.Status, attempt, deadline, cancellationToken).ConfigureAwait(false))
                {
                    ClientMetrics.Retried();
                    continue;
                }

                var reason = LocalAnswer.ReasonOf(error.Status);
                var mode = _options.FailModeOf(query.Surface, query.FailMode);
                if (reason == LocalReason.None || mode == LocalFailMode.Throw || cancellationToken.IsCancellationRequested)
                {
                    ClientMetrics.Called(Stopwatch.GetElapsedTime(since), "error");
                    throw;
                }

                ClientMetrics.Called(Stopwatch.GetElapsedTime(since), "local");
                ClientMetrics.AnsweredLocally(query.Surface, mode, reason, query.Count);
                return LocalAnswer.Make(request, mode, error.Status);
            }
        }
    }

    /// <summary>Has many pages decided over one stream, several in flight at a time.</summary>
    /// <param name="queries">
    /// Read one after another by another task than the caller's. A query may be cleared and filled again as soon as the next
    /// one is asked for, so an iterator can yield the same object again and again.
    /// </param>
    /// <param name="cancellationToken">Ends the stream.</param>
    /// <returns>
    /// One reply per query, in their order. A refused query has its own status and does not end the stream. Neither deadline, fail
    /// mode nor retry applies: a stream lives as long as its queries come, and its end is the caller's to act on.
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

    /// <summary>Closes the connections; calls under way end by their fail mode.</summary>
    public void Dispose() => _channel?.Dispose();

    /// <summary>Whether the call is to be sent again; if so, the wait before it is over.</summary>
    private async ValueTask<bool> MayRetryAsync(Status status, int attempt, DateTime deadline, CancellationToken cancellationToken)
    {
        // What the sidecar itself refused (overload with its pushback, draining, a caller's mistake) is its answer.
        if (attempt >= _options.MaxRetries || !LocalAnswer.IsConnectionFailure(status))
        {
            return false;
        }

        var wait = _options.RetryBackoff * (1 << attempt) * (0.5 + Random.Shared.NextDouble());
        if (DateTime.UtcNow + wait >= deadline)
        {
            return false;
        }

        await Task.Delay(wait, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        return !cancellationToken.IsCancellationRequested;
    }

    private static void ThrowUnlessWhole(V1.FilterResponse response, int candidates)
    {
        if (response.Actions.Count != candidates || response.Bases.Count != candidates || response.RuleIndexes.Count != candidates)
        {
            throw new RpcException(new Status(
                StatusCode.Internal, $"The sidecar gave {response.Actions.Count} verdicts for {candidates} candidates. Is it a sidecar of this protocol?"));
        }
    }

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
            ConnectTimeout = options.ConnectTimeout,
            KeepAlivePingDelay = options.KeepAlive,
            KeepAlivePingTimeout = options.KeepAlive,
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
            // Ours for TCP too: without it the channel waits between attempts to connect, up to two minutes, in which every call fails.
            handler.ConnectCallback = static (context, token) => ConnectTcpAsync(context.DnsEndPoint, token);
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

    internal static ValueTask<Stream> ConnectAsync(UnixDomainSocketEndPoint endpoint, CancellationToken cancellationToken) =>
        ConnectAsync(new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified), endpoint, cancellationToken);

    private static ValueTask<Stream> ConnectTcpAsync(DnsEndPoint endpoint, CancellationToken cancellationToken) =>
        ConnectAsync(new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true }, endpoint, cancellationToken);

    private static async ValueTask<Stream> ConnectAsync(Socket socket, EndPoint endpoint, CancellationToken cancellationToken)
    {
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
