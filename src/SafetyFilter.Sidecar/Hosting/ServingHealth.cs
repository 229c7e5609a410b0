using System.Text;
using SafetyFilter.Filtering;
using SafetyFilter.Ledger;

namespace SafetyFilter.Sidecar.Hosting;

/// <summary>
/// Whether the sidecar, or one of its surfaces, is worth a call: from the first successful load until the drain begins, except while the ledger
/// has no room for a record, and while <see cref="HealthOptions.NotServingWhenHardClassifierDown"/> says no. Thread-safe.
/// </summary>
internal sealed class ServingHealth(ServingLifecycle lifecycle, ServingStore serving, DecisionLedger ledger, HealthOptions options)
{
    /// <summary>The name of the filter's service. A surface's is this, a slash and the surface.</summary>
    public static string Service => V1.SafetyFilter.Descriptor.FullName;

    /// <param name="service">As grpc.health.v1 names it; empty for the sidecar as a whole, which the filter's service is.</param>
    /// <returns>Null when there is no such service, or no such surface now.</returns>
    public bool? IsServing(string service)
    {
        var isUp = lifecycle.IsServing && !ledger.Spool.IsRefusing;
        var snapshot = serving.Current;
        if (service.Length == 0 || service == Service)
        {
            return isUp && !(options.NotServingWhenHardClassifierDown && snapshot is { IsDown: true, HasHard: true });
        }

        if (!service.StartsWith(Service + "/", StringComparison.Ordinal)
            || snapshot?.TryGetPlan(Encoding.UTF8.GetBytes(service[(Service.Length + 1)..]), out var plan) is not true)
        {
            return null;
        }

        return isUp && !(options.NotServingWhenHardClassifierDown && plan is { IsDown: true, HasHard: true });
    }
}
