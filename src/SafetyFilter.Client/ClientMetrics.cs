using System.Diagnostics.Metrics;

namespace SafetyFilter.Client;

/// <summary>The meter <c>SafetyFilter.Client</c>. Declared here because the client depends on nothing of the sidecar's core.</summary>
internal static class ClientMetrics
{
    private static readonly Meter Meter = new(SafetyFilterClient.MeterName);

    private static readonly Histogram<double> Duration = Meter.CreateHistogram<double>(
        "safetyfilter.client.call.duration", "s", "Time of a call with its retries. Its count is the number of calls. Tag: outcome (decided, local, error).",
        advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5] });

    private static readonly Counter<long> LocalAnswers = Meter.CreateCounter<long>(
        "safetyfilter.client.local_answers", "{answer}", "Pages that the client answered by its own fail mode. Tags: surface, reason, mode (closed, open).");

    private static readonly Counter<long> LocalVerdicts = Meter.CreateCounter<long>(
        "safetyfilter.client.local_verdicts", "{candidate}", "Candidates in those pages. Tags: surface, reason, mode.");

    private static readonly Counter<long> Retries = Meter.CreateCounter<long>(
        "safetyfilter.client.retries", "{attempt}", "Attempts after the first.");

    public static void Called(TimeSpan duration, string outcome)
    {
        if (Duration.Enabled)
        {
            Duration.Record(duration.TotalSeconds, new KeyValuePair<string, object?>("outcome", outcome));
        }
    }

    public static void AnsweredLocally(string surface, LocalFailMode mode, LocalReason reason, int candidates)
    {
        var surfaceTag = new KeyValuePair<string, object?>("surface", surface);
        var reasonTag = new KeyValuePair<string, object?>("reason", LocalAnswer.WordOf(reason));
        var modeTag = new KeyValuePair<string, object?>("mode", mode == LocalFailMode.Open ? "open" : "closed");
        LocalAnswers.Add(1, surfaceTag, reasonTag, modeTag);
        LocalVerdicts.Add(candidates, surfaceTag, reasonTag, modeTag);
    }

    public static void Retried() => Retries.Add(1);
}
