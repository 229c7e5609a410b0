using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace SafetyFilter.Observability;

/// <summary>The instruments of admission. Names are stable: dashboards and alerts use them.</summary>
internal sealed class AdmissionMetrics
{
    private readonly Counter<long> _shed;

    /// <param name="meter">What the instruments belong to.</param>
    /// <param name="places">Requests that are worked on at a time at most.</param>
    /// <param name="inFlight">Requests that are worked on.</param>
    /// <param name="waiting">Requests that wait for a place.</param>
    /// <param name="inside">Requests that are read, wait or are worked on.</param>
    public AdmissionMetrics(Meter meter, Func<int> places, Func<int> inFlight, Func<int> waiting, Func<int> inside)
    {
        meter.CreateObservableGauge("safetyfilter.admission.limit", places, "{request}", "Requests that are worked on at a time at most");
        meter.CreateObservableGauge("safetyfilter.admission.in_flight", inFlight, "{request}", "Requests that are worked on");
        meter.CreateObservableGauge("safetyfilter.admission.waiting", waiting, "{request}", "Requests that wait for a place");
        meter.CreateObservableGauge("safetyfilter.admission.inside", inside, "{request}", "Requests that are being read, wait or are worked on");
        _shed = meter.CreateCounter<long>(
            "safetyfilter.admission.shed", "{request}", "Requests without a place, by surface (unknown before the request was read), reason and whether they were refused or served by fail mode");
    }

    /// <param name="surface">One that a policy serves, or "unknown".</param>
    /// <param name="reason">Why there was no place.</param>
    /// <param name="servedByFailMode">False: refused.</param>
    public void Shed(string surface, string reason, bool servedByFailMode)
    {
        var tags = new TagList { { "surface", surface }, { "reason", reason }, { "outcome", servedByFailMode ? "fail_mode" : "refused" } };
        _shed.Add(1, tags);
    }
}
