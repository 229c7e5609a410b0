using Grpc.Core;
using Grpc.Health.V1;
using SafetyFilter.Sidecar.Hosting;
using Status = Grpc.Core.Status;

namespace SafetyFilter.Sidecar.Grpc;

/// <summary>grpc.health.v1. A service of our own, because its names are surfaces as well, and those come and go with reloads.</summary>
internal sealed class HealthService(ServingHealth health, ServingLifecycle lifecycle, TimeProvider time) : Health.HealthBase
{
    private const int LongestTold = 128;

    // How soon a watch hears of a change; a check looks at once.
    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    public override Task<HealthCheckResponse> Check(HealthCheckRequest request, ServerCallContext context) =>
        StatusOf(request.Service) is not HealthCheckResponse.Types.ServingStatus.ServiceUnknown and var status
            ? Task.FromResult(new HealthCheckResponse { Status = status })
            : throw new RpcException(new Status(
                StatusCode.NotFound, $"There is no service '{Shortened(request.Service)}'. Ask for '', '{ServingHealth.Service}' or '{ServingHealth.Service}/SURFACE'."));

    /// <summary>Tells the status now and whenever it changes, until the caller goes or the listeners are about to close.</summary>
    public override async Task Watch(HealthCheckRequest request, IServerStreamWriter<HealthCheckResponse> responseStream, ServerCallContext context)
    {
        using var ended = CancellationTokenSource.CreateLinkedTokenSource(context.CancellationToken, lifecycle.Drained);
        using var timer = new PeriodicTimer(Period, time);
        var told = HealthCheckResponse.Types.ServingStatus.Unknown;
        var goesOn = true;
        while (true)
        {
            if (StatusOf(request.Service) is var status && status != told)
            {
                told = status;
                await responseStream.WriteAsync(new HealthCheckResponse { Status = status }, context.CancellationToken);
            }

            if (!goesOn)
            {
                return;
            }

            // Once more after the end: that of a drain is worth telling.
            goesOn = await NextAsync(timer, ended.Token);
        }
    }

    // The name is the caller's, and a message goes as a header.
    private static string Shortened(string name) => name.Length <= LongestTold ? name : name[..LongestTold] + "...";

    private static async Task<bool> NextAsync(PeriodicTimer timer, CancellationToken ended)
    {
        try
        {
            return await timer.WaitForNextTickAsync(ended);
        }
        catch (OperationCanceledException)
        {
            return false;
        }
    }

    private HealthCheckResponse.Types.ServingStatus StatusOf(string service) => health.IsServing(service) switch
    {
        true => HealthCheckResponse.Types.ServingStatus.Serving,
        false => HealthCheckResponse.Types.ServingStatus.NotServing,
        null => HealthCheckResponse.Types.ServingStatus.ServiceUnknown,
    };
}
