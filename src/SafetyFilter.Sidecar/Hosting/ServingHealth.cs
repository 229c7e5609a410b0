using Microsoft.Extensions.Diagnostics.HealthChecks;
using SafetyFilter.Ledger;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>Healthy from the first successful load until the drain begins, except while the ledger has no room for a record.</summary>
internal sealed class ServingHealth(ServingLifecycle lifecycle, DecisionLedger ledger) : IHealthCheck
{
    public Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(
            !lifecycle.IsServing ? HealthCheckResult.Unhealthy("Starting or draining.")
            : ledger.Spool.IsRefusing ? HealthCheckResult.Unhealthy("The ledger has no room, and an unrecorded decision is not given.")
            : HealthCheckResult.Healthy());
}
