using System.Diagnostics.Metrics;

namespace SafetyFilter.Observability;

/// <summary>The verdict cache's size and turnover; its hits are counted with the decisions. Names are stable: dashboards and alerts use them.</summary>
internal static class VerdictCacheMetrics
{
    public static void Create(Meter meter, Func<long> entries, Func<long> evicted)
    {
        meter.CreateObservableGauge("safetyfilter.verdict_cache.entries", entries, "{entry}", "Entries of the verdict cache: one per content, version and bundle");
        meter.CreateObservableCounter("safetyfilter.verdict_cache.evictions", evicted, "{entry}", "Entries that made room for others");
    }
}
