namespace SafetyFilter.Benchmarks.Service;

/// <summary>One figure that a goal may be set for.</summary>
/// <param name="Subject">The lane that it is about.</param>
/// <param name="Value">What was reached: of a ratio, the median of the rounds' own ratios. NaN when it could not be measured.</param>
/// <param name="Goal">At most this, or with <paramref name="AtLeast"/> at least; null when no goal is set.</param>
internal sealed record Ratio(string Name, string Subject, double Value, double? Goal = null, bool AtLeast = false)
{
    /// <summary>Null when there is no goal, or no figure.</summary>
    public bool? IsReached => Goal is not { } goal || double.IsNaN(Value) ? null : AtLeast ? Value >= goal : Value <= goal;
}

/// <summary>The comparisons that the goals are about. Every ratio is made within a round, where lanes met the same machine.</summary>
internal static class Ratios
{
    // The lane of --sidecar aot=PROGRAM, whose start and memory have goals.
    private const string NativeBuild = LaneStart.Sidecar + "/aot";

    public static IEnumerable<Ratio> Of(WorkloadResult result)
    {
        var workload = result.Workload.Name;
        var grpc = result.The(LaneRole.GrpcFloor);
        var ort = result.The(LaneRole.OrtFloor);
        foreach (var subject in result.Subjects)
        {
            yield return new Ratio(
                "engine p50 / floor.ort p50", subject.Name, Median(subject.Paced, ort.Paced, static (s, o) => P50(s) / P50(o)), workload == "E256" ? 1.20 : null);
            yield return new Ratio(
                "engine p99, us", subject.Name, Micros(subject.Together(static slice => slice.Engine), 99), workload is "E256" or "T64" ? 1_000 : null);
            yield return new Ratio(
                "CPU / (floor.grpc CPU + floor.ort CPU)",
                subject.Name,
                Median(subject.Paced, grpc.Paced, ort.Paced, static (s, g, o) => s.CpuMicros / (g.CpuMicros + o.CpuMicros)),
                workload == "E256" ? 1.15 : null);
            yield return new Ratio(
                "allocated B/request over floor.grpc", subject.Name, (subject.AllocatedPerRequest - grpc.AllocatedPerRequest) ?? double.NaN, 1_024);
            yield return new Ratio(
                $"gen 2 collections in {result.SliceLength.TotalSeconds * subject.Paced.Count:0} s of load", subject.Name, subject.Runtime?.Gen2 ?? double.NaN, 0);
            yield return new Ratio(
                "saturation / (1 / floor CPU)",
                subject.Name,
                Median(subject.FlatOut, grpc.FlatOut, ort.FlatOut, static (s, g, o) => s.Throughput * (g.CpuMicros + o.CpuMicros) / 1e6),
                0.85,
                AtLeast: true);
        }

        var sidecar = result.Lanes[0];
        foreach (var compared in result.Lanes.Where(lane => lane.Role == LaneRole.Compared))
        {
            yield return new Ratio(
                $"CPU, {workload} / {result.Workload.ComparedWith}", sidecar.Name, Median(sidecar.Paced, compared.Paced, static (s, c) => s.CpuMicros / c.CpuMicros), 2.0);
        }

        foreach (var build in result.Lanes.Where(lane => lane.Role == LaneRole.OtherBuild))
        {
            var isNative = build.Name == NativeBuild;
            yield return new Ratio("start to serving / this build's", build.Name, build.StartTime / sidecar.StartTime);
            yield return new Ratio("resident under load / this build's", build.Name, (double)build.ResidentLoaded / sidecar.ResidentLoaded, isNative ? 0.7 : null);
            yield return new Ratio("CPU / this build's", build.Name, Median(build.Paced, sidecar.Paced, static (b, s) => b.CpuMicros / s.CpuMicros));
        }

        foreach (var policy in result.Workload.Policies.Where(policy => policy.Name.Length > 0))
        {
            var varied = result.Lanes.First(lane => lane.Name == $"{LaneStart.Sidecar}/{policy.Name}");
            yield return new Ratio(
                $"CPU, with {policy.Name} / without", varied.Name, Median(varied.Paced, sidecar.Paced, static (v, s) => v.CpuMicros / s.CpuMicros), 0.6);
        }
    }

    /// <summary>The median of what each round says.</summary>
    public static double Median<T>(IReadOnlyList<T> left, IReadOnlyList<T> right, Func<T, T, double> ratio) =>
        Report.Median(Enumerable.Range(0, left.Count).Select(round => ratio(left[round], right[round])));

    /// <summary>The median of what each round says.</summary>
    public static double Median<T>(IReadOnlyList<T> left, IReadOnlyList<T> middle, IReadOnlyList<T> right, Func<T, T, T, double> ratio) =>
        Report.Median(Enumerable.Range(0, left.Count).Select(round => ratio(left[round], middle[round], right[round])));

    /// <summary>A percentile in microseconds; NaN when nothing was recorded.</summary>
    public static double Micros(HdrHistogram.LongHistogram histogram, double percentile) =>
        histogram.TotalCount == 0 ? double.NaN : histogram.GetValueAtPercentile(percentile) / 1_000.0;

    private static double P50(Slice slice) => Micros(slice.Engine, 50);
}
