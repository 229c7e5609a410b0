using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Healthy from the first successful load until the drain begins.</summary>
internal sealed class ServingHealth(ServingLifecycle lifecycle) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(lifecycle.IsServing ? HealthCheckResult.Healthy() : HealthCheckResult.Unhealthy("Starting or draining."));
}
