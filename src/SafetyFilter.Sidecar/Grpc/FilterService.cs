using System.Diagnostics;
using Grpc.Core;
using SafetyFilter.Admission;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Observability;
using SafetyFilter.Sidecar.Hosting;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>gRPC's side of the filter: bytes to a decision and back, refusals to statuses. Decides nothing itself.</summary>
internal sealed partial class FilterService(
    FilterEngine engine, RequestLimits limits, Admission admission, FilterMetrics metrics, OpenStreams streams, ServingLifecycle lifecycle, TimeProvider time, ILogger<FilterService> logger)
    : FilterServiceDefinition.Base
{
    // The members of FilterStreamResponse.outcome.
    private const int ResponseField = 1;
    private const int ErrorField = 2;

    private static readonly Metadata DoNotRetry = new() { { Admission.PushbackTrailer, "-1" } };

    private readonly LogThrottle _log = new(time);

    public override Task<FilterCall> Filter(FilterCall call, ServerCallContext context)
    {
        LedgerReceipt receipt = default;
        var refusal = Read(call, context);
        if (refusal is null)
        {
            var deadline = admission.Arrived(call.Decision, context.Deadline);
            if (!admission.TryEnter(deadline, out var entered))
            {
                return FilterAfterWaiting(call, deadline, context.CancellationToken);
            }

            refusal = DecideAndLeave(call, deadline, entered, out receipt);
        }

        return refusal is null && FilterEngine.IsUnconfirmed(call.Decision, receipt)
            ? ReplyConfirmed(call, receipt)
            : Task.FromResult(Reply(call, refusal, receipt));
    }

    public override async Task FilterStream(
        IAsyncStreamReader<FilterCall> calls, IServerStreamWriter<FilterCall> replies, ServerCallContext context)
    {
        streams.Add(context.GetHttpContext());
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifecycle.Drained);
        try
        {
            while (await calls.MoveNext(ended.Token))
            {
                var call = calls.Current;
                LedgerReceipt receipt = default;
                var refusal = Read(call, context);
                if (refusal is null)
                {
                    // The stream's deadline was counted when it began.
                    _ = admission.Arrived(call.Decision, context.Deadline);
                    if (admission.TryEnter(context.Deadline, out var entered))
                    {
                        refusal = DecideAndLeave(call, context.Deadline, entered, out receipt);
                    }
                    else
                    {
                        (refusal, receipt) = await DecideAfterWaiting(call, context.Deadline, context.CancellationToken);
                    }
                }

                if (refusal is null && FilterEngine.IsUnconfirmed(call.Decision, receipt))
                {
                    (refusal, receipt) = await Confirm(call, receipt);
                }

                if (refusal?.Kind == RefusalKind.CallerGone)
                {
                    call.Release();
                    return;
                }

                WriteStreamReply(call, refusal, receipt);
                await replies.WriteAsync(call);
            }
        }
        catch (Exception) when (ended.IsCancellationRequested)
        {
            // A caller that is still there when the sidecar drains learns that it was not its doing.
            if (!context.CancellationToken.IsCancellationRequested)
            {
                throw new RpcException(new Status(StatusCode.Unavailable, "The safety filter is stopping. Open the stream again."));
            }
        }
    }

    private Refusal? Read(FilterCall call, ServerCallContext context)
    {
        try
        {
            var refusal = call.Read(limits);
            if (refusal is null)
            {
                call.Decision.IsShed = false;
                DescribeCaller(call.Decision, context);
                return null;
            }

            metrics.Refused(refusal.Kind);
            return refusal;
        }
        catch (Exception error)
        {
            return Failed(error);
        }
    }

    private Refusal? DecideAndLeave(FilterCall call, DateTime deadline, long entered, out LedgerReceipt receipt)
    {
        try
        {
            return Decide(call, deadline, out receipt);
        }
        finally
        {
            admission.Leave(entered);
        }
    }

    private async Task<FilterCall> FilterAfterWaiting(FilterCall call, DateTime deadline, CancellationToken gone)
    {
        var (refusal, receipt) = await DecideAfterWaiting(call, deadline, gone);
        return refusal is null && FilterEngine.IsUnconfirmed(call.Decision, receipt)
            ? await ReplyConfirmed(call, receipt)
            : Reply(call, refusal, receipt);
    }

    private async ValueTask<(Refusal? Refusal, LedgerReceipt Receipt)> DecideAfterWaiting(
        FilterCall call, DateTime deadline, CancellationToken gone)
    {
        LedgerReceipt receipt = default;
        var (reason, entered) = await admission.Enter(call.Decision, deadline, gone);
        if (reason == ShedReason.None)
        {
            return (DecideAndLeave(call, deadline, entered, out receipt), receipt);
        }

        if (reason == ShedReason.CallerGone)
        {
            metrics.Refused(RefusalKind.CallerGone);
            return (Refusal.CallerGone, receipt);
        }

        var refusal = admission.Shed(call.Decision, deadline);
        if (refusal is not null)
        {
            admission.CountShed(call.Decision, reason, servedByFailMode: false);
        }
        else if ((refusal = Decide(call, deadline, out receipt)) is null)
        {
            admission.CountShed(call.Decision, reason, servedByFailMode: true);
        }

        return (refusal, receipt);
    }

    private Refusal? Decide(FilterCall call, DateTime deadline, out LedgerReceipt receipt)
    {
        receipt = default;
        try
        {
            RequestLimits.Bound(call.Decision, deadline, time.GetUtcNow());
            var refusal = engine.Decide(call.Decision, call.Record, out receipt);
            if (refusal is not null)
            {
                metrics.Refused(refusal.Kind);
            }

            return refusal;
        }
        catch (Exception error)
        {
            return Failed(error);
        }
    }

    // Nothing throws by design. If it does all the same, one request fails and its stream goes on.
    private Refusal Failed(Exception error)
    {
        if (_log.TryTake(out var unsaid))
        {
            RequestFailed(logger, error, unsaid);
        }

        metrics.Refused(RefusalKind.Internal);
        return new Refusal(RefusalKind.Internal, "The safety filter failed on this request, which is its own mistake. Apply the ranker's own fail mode; the sidecar's log says more.");
    }

    private async Task<FilterCall> ReplyConfirmed(FilterCall call, LedgerReceipt receipt)
    {
        var (refusal, confirmed) = await Confirm(call, receipt);
        return Reply(call, refusal, confirmed);
    }

    private async ValueTask<(Refusal? Refusal, LedgerReceipt Receipt)> Confirm(FilterCall call, LedgerReceipt receipt)
    {
        var (refusal, confirmed) = await engine.Confirm(call.Decision, receipt);
        if (refusal is not null)
        {
            metrics.Refused(refusal.Kind);
        }

        return (refusal, confirmed);
    }

    private FilterCall Reply(FilterCall call, Refusal? refusal, in LedgerReceipt receipt)
    {
        if (refusal is not null)
        {
            call.Release();
            throw new RpcException(new Status(CodeOf(refusal.Kind), refusal.Message), refusal.Kind == RefusalKind.Overloaded ? DoNotRetry : Metadata.Empty);
        }

        call.Reply.Clear();
        FilterResponseWriter.Write(call.Decision, receipt, engine.StreamId, call.Reply);
        return call;
    }

    private void WriteStreamReply(FilterCall call, Refusal? refusal, in LedgerReceipt receipt)
    {
        var reply = call.Reply;
        reply.Clear();
        if (refusal is null)
        {
            var mark = reply.Begin(ResponseField);
            FilterResponseWriter.Write(call.Decision, receipt, engine.StreamId, reply);
            reply.End(mark);
        }
        else
        {
            var batch = call.Decision.Batch;
            var mark = reply.Begin(ErrorField);
            reply.Bytes(1, batch[batch.RequestId]);
            reply.UInt32(2, (uint)CodeOf(refusal.Kind));
            reply.Bytes(3, System.Text.Encoding.UTF8.GetBytes(refusal.Message));
            reply.End(mark);
        }
    }

    private static void DescribeCaller(Decision decision, ServerCallContext context)
    {
        var http = context.GetHttpContext();
        decision.Caller = CallerNames.Of(http.Connection);

        // An activity counts only when it is exported: ids that nobody else has ever seen join nothing.
        if (Activity.Current is { Recorded: true } activity)
        {
            decision.TraceId = activity.TraceId;
            decision.SpanId = activity.SpanId;
            return;
        }

        _ = ActivityContext.TryParse(http.Request.Headers.TraceParent, null, out var caller);
        decision.TraceId = caller.TraceId;
        decision.SpanId = caller.SpanId;
    }

    private static StatusCode CodeOf(RefusalKind kind) => kind switch
    {
        RefusalKind.InvalidArgument => StatusCode.InvalidArgument,
        RefusalKind.UnknownSurface => StatusCode.NotFound,
        RefusalKind.PurposeNotAllowed => StatusCode.PermissionDenied,
        RefusalKind.TooLarge or RefusalKind.Overloaded => StatusCode.ResourceExhausted,
        RefusalKind.Internal => StatusCode.Internal,
        RefusalKind.CallerGone => StatusCode.Cancelled,
        _ => StatusCode.Unavailable,
    };

    [LoggerMessage(EventIds.RequestFailed, LogLevel.Error, "A request failed by our own mistake ({Unsaid} more since the last line)")]
    private static partial void RequestFailed(ILogger logger, Exception error, long unsaid);
}
