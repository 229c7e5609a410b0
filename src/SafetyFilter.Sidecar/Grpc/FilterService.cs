using System.Diagnostics;
using Grpc.Core;
using SafetyFilter.Decisions;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;
using SafetyFilter.Observability;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>gRPC's side of the filter: bytes to a decision and back, refusals to statuses. Decides nothing itself.</summary>
internal sealed class FilterService(
    FilterEngine engine, RequestLimits limits, FilterMetrics metrics, OpenStreams streams, IHostApplicationLifetime lifetime) : FilterServiceDefinition.Base
{
    // The members of FilterStreamResponse.outcome.
    private const int ResponseField = 1;
    private const int ErrorField = 2;

    public override Task<FilterCall> Filter(FilterCall call, ServerCallContext context)
    {
        if (Decide(call, context, out var receipt) is { } refusal)
        {
            call.Release();
            throw new RpcException(new Status(CodeOf(refusal.Kind), refusal.Message));
        }

        call.Reply.Clear();
        FilterResponseWriter.Write(call.Decision, receipt, engine.StreamId, call.Reply);
        return Task.FromResult(call);
    }

    public override async Task FilterStream(
        IAsyncStreamReader<FilterCall> calls, IServerStreamWriter<FilterCall> replies, ServerCallContext context)
    {
        streams.Add(context.GetHttpContext());
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifetime.ApplicationStopping);
        try
        {
            while (await calls.MoveNext(ended.Token))
            {
                var call = calls.Current;
                var refusal = Decide(call, context, out var receipt);
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

    private Refusal? Decide(FilterCall call, ServerCallContext context, out LedgerReceipt receipt)
    {
        receipt = default;
        var refusal = call.Read(limits);
        if (refusal is null)
        {
            DescribeCaller(call.Decision, context);
            refusal = engine.Decide(call.Decision, call.Record, out receipt);
        }

        if (refusal is not null)
        {
            metrics.Refused(refusal.Kind);
        }

        return refusal;
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

        // Not Activity.Current: the server makes one for every call, and nobody but an exporter would ever see its id.
        _ = ActivityContext.TryParse(http.Request.Headers.TraceParent, null, out var parent);
        decision.TraceId = parent.TraceId;
        decision.SpanId = parent.SpanId;
    }

    private static StatusCode CodeOf(RefusalKind kind) => kind switch
    {
        RefusalKind.InvalidArgument => StatusCode.InvalidArgument,
        RefusalKind.UnknownSurface => StatusCode.NotFound,
        RefusalKind.PurposeNotAllowed => StatusCode.PermissionDenied,
        RefusalKind.TooLarge => StatusCode.ResourceExhausted,
        _ => StatusCode.Unavailable,
    };
}
