using System.Text.Json;
using System.Text.Json.Serialization;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>All figures of a run for programs. Times in microseconds, sizes in bytes; what was not measured is null.</summary>
internal static class ServiceJson
{
    private static readonly JsonSerializerOptions Format = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
        DefaultIgnoreCondition = JsonIgnoreCondition.Never,
    };

    public static string Write(ServiceOptions options, IEnumerable<WorkloadResult> results) => JsonSerializer.Serialize(
        new
        {
            Report.Machine,
            LoadAverage = ServiceReport.LoadAverage,
            Rounds = options.Pairs,
            SliceSeconds = options.Slice.TotalSeconds,
            FlatOutSeconds = options.FlatOut.TotalSeconds,
            options.Callers,
            Workloads = results.Select(Describe),
        },
        Format);

    private static object Describe(WorkloadResult result) => new
    {
        result.Workload.Name,
        RequestsPerSecond = result.Rate,
        Servers = result.Lanes.Select(Describe),
        Doubts = ServiceReport.Doubts(result),
        Ratios = Ratios.Of(result).Select(ratio => new { ratio.Name, Server = ratio.Subject, Reached = Known(ratio.Value), ratio.Goal, ratio.AtLeast, ratio.IsReached }),
    };

    private static object Describe(LaneResult lane) => new
    {
        lane.Name,
        StartMillis = lane.StartTime.TotalMilliseconds,
        lane.ResidentIdle,
        lane.ResidentLoaded,
        lane.Faults,
        lane.AllocatedPerRequest,
        OverMillisecondShare = lane.OverMillisecondShare,
        Paced = lane.Paced.Select(Describe),
        FlatOut = lane.FlatOut.Select(Describe),
        Ladder = lane.Ladder.Select(step => new { RequestsPerSecond = step.Rate, Slice = Describe(step.Slice) }),
    };

    private static object Describe(Slice slice) => new
    {
        slice.Answered,
        slice.Faults,
        Throughput = slice.Throughput,
        CpuMicros = slice.CpuMicros,
        LoadCpuMicros = slice.LoadCpuMicros,
        CoreUsed = slice.Utilisation,
        CoreIdle = slice.IdleShare,
        CoreUsedByOthers = slice.OthersShare,
        IdleCpuMillisPerSecond = slice.IdleCpu / 1e6,
        Engine = Percentiles(slice.Engine),
        RoundTrip = Percentiles(slice.RoundTrip),
        SentLate = Percentiles(slice.Late),
        Allocated = slice.Runtime?.Allocated,
        Gen0 = slice.Runtime?.Gen0,
        Gen1 = slice.Runtime?.Gen1,
        Gen2 = slice.Runtime?.Gen2,
    };

    private static object? Percentiles(HdrHistogram.LongHistogram histogram) => histogram.TotalCount == 0 ? null : new
    {
        P50 = Ratios.Micros(histogram, 50),
        P90 = Ratios.Micros(histogram, 90),
        P99 = Ratios.Micros(histogram, 99),
        Max = Ratios.Micros(histogram, 100),
    };

    private static double? Known(double value) => double.IsNaN(value) ? null : value;
}
