using System.Globalization;
using static SafetyFilter.Benchmarks.Report;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>The tables of a run.</summary>
internal static class ServiceReport
{
    private const string None = "-";

    // More than this of the server's core in other hands, or left idle in a closed loop, and a figure is not the server's.
    private const double Disturbing = 0.05;

    /// <summary>The machine, how busy it is, and how the run is made.</summary>
    public static void Begin(Report report, ServiceOptions options)
    {
        report.Line($"# The service ({Machine}, load average {LoadAverage})");
        report.Line();
        report.Line(string.Create(
            CultureInfo.InvariantCulture,
            $"{options.Pairs} rounds; in each, every server in turn for at most {options.Slice.TotalSeconds:0.#} s at the same fixed rate and for {options.FlatOut.TotalSeconds:0.#} s flat out by {options.Callers} callers. Servers are pinned to core {options.Cores.Server}, the load to core {options.Cores.Client}. Ratios are medians of the rounds' ratios."));
        report.Line();
    }

    public static string LoadAverage => File.ReadAllText("/proc/loadavg").Split(' ')[0];

    public static void Show(Report report, WorkloadResult result)
    {
        report.Line(string.Create(CultureInfo.InvariantCulture, $"## {result.Workload.Name} at {result.Rate} requests/s, {result.SliceLength.TotalSeconds:0.##} s a slice"));
        report.Line();
        report.Table(
            ["server", "CPU us/request", "idle CPU ms/s", "engine us p50", "p90", "p99", "over 1 ms", "round trip us p50", "p99", "sent late us p99", "allocated B/request", "GCs gen 0, 1, 2"],
            result.Lanes.Select(Paced));
        report.Table(
            ["server", "saturation requests/s", "CPU us/request", "core: its own", "idle", "others'", "load CPU us/request", "start ms", "resident MiB idle", "loaded", "answers", "faults"],
            result.Lanes.Select(FlatOut));
        report.Table(
            ["ratio", "server", "reached", "goal", ""],
            Ratios.Of(result).Select(Row));
        foreach (var doubt in Doubts(result))
        {
            report.Line(doubt);
            report.Line();
        }

        if (result.Lanes.Any(lane => lane.Ladder.Count > 0))
        {
            report.Table(
                ["offered requests/s", "server", "answered requests/s", "round trip us p50", "p99", "faults"],
                result.Lanes.SelectMany(lane => lane.Ladder.Select(step => Rung(lane, step.Rate, step.Slice))));
        }
    }

    /// <summary>The goals of all workloads, again in one table.</summary>
    public static void Goals(Report report, IReadOnlyList<WorkloadResult> results)
    {
        report.Line("## Goals");
        report.Line();
        report.Table(
            ["workload", "figure", "server", "reached", "goal", ""],
            results.SelectMany(result => Ratios.Of(result).Where(ratio => ratio.Goal is not null).Select(ratio => (string[])[result.Workload.Name, .. Row(ratio)])));
    }

    /// <summary>Why figures of a run are not to be relied on, in words.</summary>
    public static IEnumerable<string> Doubts(WorkloadResult result)
    {
        foreach (var lane in result.Lanes)
        {
            if (!lane.IsWarm)
            {
                yield return $"**{lane.Name}: it was not warm when its measurement began: its cost had not settled, or it had answered too little.**";
            }

            if (lane.OthersShare > Disturbing)
            {
                yield return $"**{lane.Name}: other processes had {Percent(lane.OthersShare)} of its core in one slice. Measure on an idle machine.**";
            }

            if (lane.Faults.Count > 0)
            {
                yield return $"**{lane.Name}: not all requests were answered as they should be ({Faults(lane.Faults)}). CPU per request counts answers only.**";
            }

            if (lane.Role != LaneRole.OrtFloor && lane.FlatOutMedian(static slice => slice.IdleShare) > Disturbing)
            {
                yield return $"**{lane.Name}: its core was idle for {Percent(lane.FlatOutMedian(static slice => slice.IdleShare))} of the closed loop, so that its saturation is the load's.**";
            }
        }
    }

    private static string[] Paced(LaneResult lane)
    {
        var engine = lane.Together(static slice => slice.Engine);
        var roundTrip = lane.Together(static slice => slice.RoundTrip);
        return
        [
            lane.Name,
            Number(lane.PacedMedian(static slice => slice.CpuMicros), 1),
            lane.Role == LaneRole.OrtFloor ? None : Number(lane.PacedMedian(static slice => slice.IdleCpu) / 1e6, 1),
            Micros(engine, 50),
            Micros(engine, 90),
            Micros(engine, 99),
            engine.TotalCount == 0 ? None : (lane.OverMillisecondShare * 100).ToString("0.###", CultureInfo.InvariantCulture) + " %",
            Micros(roundTrip, 50),
            Micros(roundTrip, 99),
            Micros(lane.Together(static slice => slice.Late), 99),
            lane.AllocatedPerRequest is { } allocated ? Number(allocated, 0) : None,
            lane.Runtime is { } runtime ? string.Create(CultureInfo.InvariantCulture, $"{runtime.Gen0}, {runtime.Gen1}, {runtime.Gen2}") : None,
        ];
    }

    private static string[] FlatOut(LaneResult lane)
    {
        return
        [
            lane.Name,
            Number(lane.FlatOutMedian(static slice => slice.Throughput), 0),
            Number(lane.FlatOutMedian(static slice => slice.CpuMicros), 1),
            Percent(lane.FlatOutMedian(static slice => slice.Utilisation)),
            Percent(lane.FlatOutMedian(static slice => slice.IdleShare)),
            Percent(lane.FlatOutMedian(static slice => slice.OthersShare)),
            lane.Role == LaneRole.OrtFloor ? None : Number(lane.FlatOutMedian(static slice => slice.LoadCpuMicros), 1),
            lane.StartTime == TimeSpan.Zero ? None : Number(lane.StartTime.TotalMilliseconds, 0),
            Mebibytes(lane.ResidentIdle),
            Mebibytes(lane.ResidentLoaded),
            Number(lane.Answered + lane.FlatOut.Sum(static slice => slice.Answered), 0),
            Faults(lane.Faults),
        ];
    }

    private static string[] Row(Ratio ratio) =>
    [
        ratio.Name,
        ratio.Subject,
        double.IsNaN(ratio.Value) ? None : Number(ratio.Value, ratio.Value >= 20 || ratio.Goal == 0 ? 0 : 2),
        ratio.Goal is { } goal ? (ratio.AtLeast ? ">= " : "<= ") + goal.ToString(CultureInfo.InvariantCulture) : None,
        ratio.IsReached switch { true => "reached", false => "not reached", null => "" },
    ];

    private static string[] Rung(LaneResult lane, double rate, Slice slice) =>
    [
        rate.ToString(CultureInfo.InvariantCulture),
        lane.Name,
        Number(slice.Throughput, 0),
        Micros(slice.RoundTrip, 50),
        Micros(slice.RoundTrip, 99),
        Faults(slice.Faults),
    ];

    private static string Micros(HdrHistogram.LongHistogram histogram, double percentile) =>
        histogram.TotalCount == 0 ? None : Number(Ratios.Micros(histogram, percentile), 0);

    private static string Percent(double share) => (share * 100).ToString("0", CultureInfo.InvariantCulture) + " %";

    private static string Faults(SortedDictionary<string, long> faults) =>
        faults.Count == 0 ? "0" : string.Join(", ", faults.Select(fault => string.Create(CultureInfo.InvariantCulture, $"{fault.Value} {fault.Key}")));

    private static string Mebibytes(long bytes) => Number(bytes / 1048576.0, 0);
}
