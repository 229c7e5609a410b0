using System.Diagnostics.CodeAnalysis;
using System.Text;
using Grpc.AspNetCore.Server;
using Grpc.Core;
using SafetyFilter.Admission;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Observability;
using SafetyFilter.Policy;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>
/// Admission as gRPC sees it: a look before a call's body is read, which costs a refused caller next to nothing, and a place in the
/// engine for each request that was read.
/// </summary>
internal sealed class Admission : IDisposable
{
    /// <summary>The surface of the request in the body, for whoever wants its priority to count before the body is read.</summary>
    public const string SurfaceHeader = "safetyfilter-surface";

    /// <summary>Negative: do not retry (gRPC proposal A6). A retry would come back into the same overload.</summary>
    public const string PushbackTrailer = "grpc-retry-pushback-ms";

    private const string UnknownSurface = "unknown";
    private const int LongestSurface = 64;

    // Of grpc-status.
    private const string ResourceExhausted = "8";

    private readonly AdmissionOptions _options;
    private readonly AdmissionGate _gate;
    private readonly PoolDelay _pool;
    private readonly ServingStore _serving;
    private readonly ShedReport _report;
    private readonly FilterMetrics _requests;
    private readonly AdmissionMetrics _metrics;
    private readonly TimeProvider _time;
    private int _inside;
    private long _refusedTotal;
    private long _servedTotal;

    public Admission(AdmissionOptions options, ServingStore serving, ShedReport report, FilterMetrics requests, System.Diagnostics.Metrics.Meter meter, TimeProvider time)
    {
        (_options, _serving, _report, _requests, _time) = (options, serving, report, requests, time);
        _gate = new AdmissionGate(options.EffectivePlaces, options.EffectiveMaxWaiting, time);
        _pool = PoolDelay.OfThisProcess(time);
        _metrics = new AdmissionMetrics(meter, () => _gate.Places, () => _gate.InFlight, () => _gate.Waiting, () => Volatile.Read(ref _inside));
    }

    /// <summary>How full it is, and what was shed since the start of the process.</summary>
    public (int InFlight, int Places, int Waiting, long Refused, long ServedByFailMode) Read() =>
        (_gate.InFlight, _gate.Places, _gate.Waiting, Volatile.Read(ref _refusedTotal), Volatile.Read(ref _servedTotal));

    /// <summary>Puts the look before the body in front of a unary method: calls that would not get a place are refused there.</summary>
    /// <remarks>In front of the endpoint and not of a path: routing finds it by other spellings too (case, a slash at the end).</remarks>
    public void Guard(EndpointBuilder endpoint)
    {
        if (endpoint.Metadata.OfType<GrpcMethodMetadata>().Any(static method => method.Method.Type == MethodType.Unary))
        {
            var next = endpoint.RequestDelegate!;
            endpoint.RequestDelegate = http => Guard(http, next);
        }
    }

    /// <summary>Notes how long a request has waited before its handler began.</summary>
    /// <param name="decision">Gets it.</param>
    /// <param name="deadline">As gRPC tells it, which counts from when the handler begins.</param>
    /// <returns>The deadline as the caller meant it.</returns>
    public DateTime Arrived(Decision decision, DateTime deadline)
    {
        var waited = _pool.Waited();
        decision.QueueMicros = (uint)waited.TotalMicroseconds;
        return deadline == DateTime.MaxValue ? deadline : deadline - waited;
    }

    /// <summary>Takes a place without waiting for one, unless the deadline is over.</summary>
    /// <remarks>Not by the mean service time: whoever is turned away by it while places are free would never correct it.</remarks>
    public bool TryEnter(DateTime deadline, out long entered)
    {
        entered = _time.GetTimestamp();
        return deadline > _time.GetUtcNow().UtcDateTime && _gate.TryEnter();
    }

    /// <summary>Waits for a place, no longer than there is a use for it.</summary>
    /// <param name="decision">Of the request; gets the time that it waited.</param>
    /// <param name="deadline">When its caller stops waiting.</param>
    /// <param name="gone">That the caller has gone, or its deadline is over.</param>
    public async ValueTask<Turn> Enter(Decision decision, DateTime deadline, CancellationToken gone)
    {
        var came = _time.GetTimestamp();
        var patience = Patience(decision, deadline);
        var turn = patience < TimeSpan.Zero
            ? new Turn(ShedReason.NoTime, 0)
            : await _gate.Enter(PolicyOf(decision.Batch)?.Priority ?? SurfacePriority.Normal, patience, gone);

        // To here and not to when the place was given: until its thread comes, a request waits.
        decision.QueueMicros += (uint)_time.GetElapsedTime(came).TotalMicroseconds;
        if (!gone.IsCancellationRequested)
        {
            return turn;
        }

        if (turn.Reason == ShedReason.None)
        {
            Leave(turn.Entered);
        }

        // gRPC cancels at the deadline as well: that one has run out in our line is our doing and not the caller's.
        return new Turn(deadline > _time.GetUtcNow().UtcDateTime ? ShedReason.CallerGone : ShedReason.WaitedTooLong, 0);
    }

    public void Leave(long entered) => _gate.Leave(entered);

    /// <summary>A request that was read got no place.</summary>
    /// <returns>How its caller is refused; null when its policy has it served by fail mode, if there is still somebody to answer.</returns>
    public Refusal? Shed(Decision decision, DateTime deadline)
    {
        decision.IsShed = PolicyOf(decision.Batch) is { ServesWhenShed: true } && deadline > _time.GetUtcNow().UtcDateTime;
        return decision.IsShed ? null : Refusal.Overloaded;
    }

    /// <summary>What became of one that was shed: answered by fail mode, or refused for want of a place.</summary>
    public void CountShed(Decision decision, ShedReason reason, bool servedByFailMode) =>
        Count(PolicyOf(decision.Batch)?.Surface ?? UnknownSurface, reason, servedByFailMode);

    public void Dispose() => _gate.Dispose();

    private Task Guard(HttpContext http, RequestDelegate next)
    {
        var reason = Look(http, out var surface);
        if (reason == ShedReason.None)
        {
            return PassAsync(http, next);
        }

        Count(surface ?? UnknownSurface, reason, servedByFailMode: false);

        // A response of trailers only: Kestrel ends the stream with it, whatever of the body is still to come.
        var response = http.Response;
        response.ContentType = "application/grpc";
        response.Headers["grpc-status"] = ResourceExhausted;
        response.Headers["grpc-message"] = Refusal.Overloaded.Message;
        response.Headers[PushbackTrailer] = "-1";
        return Task.CompletedTask;
    }

    private async Task PassAsync(HttpContext http, RequestDelegate next)
    {
        Interlocked.Increment(ref _inside);
        try
        {
            await next(http);
        }
        finally
        {
            Interlocked.Decrement(ref _inside);
        }
    }

    private ShedReason Look(HttpContext http, out string? surface)
    {
        surface = null;
        if (Volatile.Read(ref _inside) >= _options.MaxRequests)
        {
            return ShedReason.Full;
        }

        var waited = _pool.Waited();
        if (waited == TimeSpan.Zero && _gate.Waiting == 0)
        {
            return ShedReason.None;
        }

        var policy = Hinted(http);
        surface = policy?.Surface;
        if (policy?.ServesWhenShed ?? _serving.Current is { AnyServesWhenShed: true })
        {
            // It may want an answer by fail mode, for which it has to be read.
            return ShedReason.None;
        }

        return waited > _options.MaxWait
            ? ShedReason.WaitedTooLong
            : _gate.Foresee(policy?.Priority ?? SurfacePriority.Normal, _options.MaxWait - waited);
    }

    private SurfacePolicy? Hinted(HttpContext http)
    {
        var hint = http.Request.Headers[SurfaceHeader];
        if (hint.Count != 1 || hint[0] is not { Length: > 0 and <= LongestSurface } name)
        {
            return null;
        }

        Span<byte> utf8 = stackalloc byte[LongestSurface];
        return Encoding.UTF8.TryGetBytes(name, utf8, out var length) && TryGetPolicy(utf8[..length], out var policy) ? policy : null;
    }

    private SurfacePolicy? PolicyOf(CandidateBatch batch) => TryGetPolicy(batch[batch.Surface], out var policy) ? policy : null;

    private bool TryGetPolicy(ReadOnlySpan<byte> surface, [NotNullWhen(true)] out SurfacePolicy? policy)
    {
        policy = _serving.Current is { } snapshot && snapshot.TryGetPlan(surface, out var plan) ? plan.Policy : null;
        return policy is not null;
    }

    // What is left of the deadline must still hold the work. Negative: it would be in vain.
    private TimeSpan Patience(Decision decision, DateTime deadline)
    {
        var patience = _options.MaxWait - TimeSpan.FromMicroseconds(decision.QueueMicros);
        if (deadline == DateTime.MaxValue)
        {
            return patience;
        }

        var left = deadline - _time.GetUtcNow().UtcDateTime - _gate.ServiceTime;
        return left < patience ? left : patience;
    }

    private void Count(string surface, ShedReason reason, bool servedByFailMode)
    {
        Interlocked.Increment(ref servedByFailMode ? ref _servedTotal : ref _refusedTotal);
        _report.Count(servedByFailMode);
        _metrics.Shed(surface, TagOf(reason), servedByFailMode);
        if (!servedByFailMode)
        {
            _requests.Refused(RefusalKind.Overloaded);
        }
    }

    private static string TagOf(ShedReason reason) => reason switch
    {
        ShedReason.Full => "full",
        ShedReason.NoTime => "no_time",
        ShedReason.Displaced => "displaced",
        _ => "waited_too_long",
    };
}
