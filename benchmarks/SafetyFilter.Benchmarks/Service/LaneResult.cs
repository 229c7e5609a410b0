using HdrHistogram;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>What a lane did over all rounds.</summary>
internal sealed class LaneResult(Lane lane)
{
    public Lane Lane => lane;

    public string Name => lane.Name;

    public LaneRole Role => lane.Role;

    /// <summary>One per round.</summary>
    public List<Slice> Paced { get; } = [];

    /// <summary>One per round.</summary>
    public List<Slice> FlatOut { get; } = [];

    /// <summary>By offered load, ascending.</summary>
    public List<(double Rate, Slice Slice)> Ladder { get; } = [];

    public bool IsWarm { get; } = lane.IsWarm;

    public TimeSpan StartTime { get; } = lane.Server.StartTime;

    public long ResidentIdle { get; } = lane.ResidentIdle;

    public long ResidentLoaded { get; set; }

    public long Answered => Paced.Sum(slice => slice.Answered);

    /// <summary>Requests at the fixed rate and flat out that had no answer, or not the right one, by kind.</summary>
    public SortedDictionary<string, long> Faults
    {
        get
        {
            var faults = new SortedDictionary<string, long>(StringComparer.Ordinal);
            foreach (var slice in Paced.Concat(FlatOut))
            {
                foreach (var (kind, count) in slice.Faults)
                {
                    faults[kind] = faults.GetValueOrDefault(kind) + count;
                }
            }

            return faults;
        }
    }

    /// <summary>The share of the server's core that others used during its slices, in the worst of them.</summary>
    public double OthersShare => Paced.Concat(FlatOut).Select(slice => slice.OthersShare).DefaultIfEmpty().Max();

    public double OverMillisecondShare => (double)Paced.Sum(slice => slice.OverMillisecond) / Math.Max(1, Answered);

    /// <summary>Null when it has no counters.</summary>
    public RuntimeCounters? Runtime =>
        Paced.All(slice => slice.Runtime is not null) ? Paced.Aggregate(default(RuntimeCounters), (sum, slice) => sum + slice.Runtime!.Value) : null;

    /// <summary>Null when it has no counters.</summary>
    public double? AllocatedPerRequest => Runtime is null ? null : Report.Median(Paced.Select(slice => slice.Runtime!.Value.Allocated / Math.Max(1, slice.Answered)));

    public double PacedMedian(Func<Slice, double> figure) => Report.Median(Paced.Select(figure));

    public double FlatOutMedian(Func<Slice, double> figure) => Report.Median(FlatOut.Select(figure));

    /// <summary>Of all rounds together.</summary>
    public LongHistogram Together(Func<Slice, LongHistogram> which)
    {
        var sum = Slice.NewHistogram();
        foreach (var slice in Paced)
        {
            sum.Add(which(slice));
        }

        return sum;
    }
}

/// <summary>A workload's measurement.</summary>
/// <param name="Rate">Requests per second of the paced slices.</param>
/// <param name="SliceLength">Of each of them.</param>
internal sealed record WorkloadResult(Workload Workload, double Rate, TimeSpan SliceLength, IReadOnlyList<LaneResult> Lanes)
{
    public IEnumerable<LaneResult> Subjects => Lanes.Where(lane => lane.Role is LaneRole.Subject or LaneRole.OtherBuild);

    public LaneResult The(LaneRole role) => Lanes.First(lane => lane.Role == role);
}
