using Grpc.Core;
using SafetyFilter.Breaker;
using SafetyFilter.Operations.V1;
using SafetyFilter.Sidecar.Reload;

namespace SafetyFilter.Sidecar.Operations;

/// <summary>operations.proto. Who may call is for <see cref="OperationsAccess"/>.</summary>
internal sealed class OperationsService(
    StatusReader status, BreakerBoard breakers, ReloadService reload, TimeProvider time, IHostApplicationLifetime lifetime)
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

    public override Task<ListBreakersResponse> ListBreakers(ListBreakersRequest request, ServerCallContext context) => Task.FromResult(Breakers());

    public override Task<ListBreakersResponse> IsolateBreaker(BreakerRequest request, ServerCallContext context) =>
        Act(request, (bundle, group) => breakers.TryIsolate(bundle, group, OperationsAccess.ActorOf(context)));

    public override Task<ListBreakersResponse> CloseBreaker(BreakerRequest request, ServerCallContext context) =>
        Act(request, (bundle, group) => breakers.TryClose(bundle, group, OperationsAccess.ActorOf(context)));

    public override async Task<ReloadResponse> Reload(ReloadRequest request, ServerCallContext context)
    {
        var result = await reload.ReloadAsync(request.DryRun, request.Force, OperationsAccess.ActorOf(context));
        var response = new ReloadResponse { Accepted = result.Accepted, Changed = result.Changed, Errors = { result.Errors } };
        foreach (var one in result.Differences)
        {
            response.Differences.Add(new ReloadResponse.Types.Difference { Key = one.Key, Before = one.Before, After = one.After, NeedsRestart = one.NeedsRestart });
        }

        if (result.Effect is { } effect)
        {
            response.Effect = new ReloadResponse.Types.Effect
            {
                Decisions = (ulong)effect.Decisions,
                Candidates = (ulong)effect.Candidates,
                Stricter = (ulong)effect.Stricter,
                Laxer = (ulong)effect.Laxer,
                Relabelled = (ulong)effect.Relabelled,
                NotRecomputable = (ulong)effect.NotRecomputable,
            };
        }

        return response;
    }

    public override Task<GetConfigurationResponse> GetConfiguration(GetConfigurationRequest request, ServerCallContext context)
    {
        var response = new GetConfigurationResponse();
        foreach (var one in reload.Settings)
        {
            response.Settings.Add(new SafetyFilter.Operations.V1.Setting { Key = one.Key, Value = one.Value, Origin = one.Origin, Pending = one.Pending });
        }

        return Task.FromResult(response);
    }

    private ListBreakersResponse Breakers() => new() { Breakers = { breakers.Read().Select(StatusReader.Describe) } };

    private Task<ListBreakersResponse> Act(BreakerRequest request, Func<string, string, bool> act)
    {
        var there = breakers.Read();
        var meant = there.Where(one => one.Bundle == request.Bundle && (request.Group.Length == 0 || one.Group == request.Group)).ToList();
        if (meant.Count == 0)
        {
            throw new RpcException(new Status(
                StatusCode.NotFound,
                $"There is no breaker of bundle '{request.Bundle}'{(request.Group.Length == 0 ? "" : $" and group '{request.Group}'")}. "
                + $"Use one of: {string.Join(", ", there.Select(static one => $"{one.Bundle} (group {one.Group})"))}."));
        }

        // One that a reload took away since then is nobody's any more.
        meant.ForEach(one => act(one.Bundle, one.Group));
        return Task.FromResult(Breakers());
    }
}
