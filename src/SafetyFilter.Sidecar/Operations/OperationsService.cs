using Grpc.Core;
using SafetyFilter.Operations.V1;

namespace SafetyFilter.Sidecar.Operations;

/// <summary>operations.proto. Who may call is for <see cref="OperationsAccess"/>.</summary>
internal sealed class OperationsService(StatusReader status, TimeProvider time, IHostApplicationLifetime lifetime)
    : SafetyFilter.Operations.V1.Operations.OperationsBase
{
    private const uint ShortestInterval = 100;
    private const uint LongestInterval = 60_000;
    private const uint DefaultInterval = 1_000;

    public override Task<SidecarStatus> GetStatus(GetStatusRequest request, ServerCallContext context) => Task.FromResult(status.Read());

    public override async Task WatchStatus(WatchStatusRequest request, IServerStreamWriter<SidecarStatus> responseStream, ServerCallContext context)
    {
        var millis = request.IntervalMillis == 0 ? DefaultInterval : request.IntervalMillis;
        if (millis is < ShortestInterval or > LongestInterval)
        {
            throw new RpcException(new Status(
                StatusCode.InvalidArgument, $"interval_millis is {millis}. Send {ShortestInterval} to {LongestInterval}, or 0 for {DefaultInterval}."));
        }

        // Until the caller goes, or the sidecar does: a watch must not hold up a drain.
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifetime.ApplicationStopping);
        using var timer = new PeriodicTimer(TimeSpan.FromMilliseconds(millis), time);
        try
        {
            do
            {
                await responseStream.WriteAsync(status.Read(), ended.Token);
            }
            while (await timer.WaitForNextTickAsync(ended.Token));
        }
        catch (OperationCanceledException) when (!context.CancellationToken.IsCancellationRequested)
        {
            throw new RpcException(new Status(StatusCode.Unavailable, "The safety filter is stopping."));
        }
        catch (OperationCanceledException)
        {
            // The caller has seen enough.
        }
    }
}
