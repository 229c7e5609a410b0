using System.Globalization;
using ScottPlot;

namespace SafetyFilter.Benchmarks.Service;

/// <summary>Latency against offered load: p50 and p99 of each server on the ladder, on a logarithmic axis.</summary>
internal static class LatencyPlot
{
    private const int Width = 900;
    private const int Height = 540;
    private const float MarkerSize = 9;

    /// <summary>What is wrong with a file name, or null.</summary>
    public static string? Error(string? path) => path is null || Path.GetExtension(path).ToLowerInvariant() is ".svg" or ".png"
        ? null
        : $"--plot '{path}' ends neither in .svg nor in .png.";

    /// <summary>The file of a workload: as given when there is only one, else with the workload's name.</summary>
    public static string PathOf(string path, Workload workload, int workloads) =>
        workloads == 1 ? path : Path.ChangeExtension(path, null) + "-" + workload.Name + Path.GetExtension(path);

    public static void Save(WorkloadResult result, string path)
    {
        using var plot = new Plot();
        foreach (var lane in result.Lanes.Where(lane => lane.Ladder.Count > 0))
        {
            var color = plot.Add.GetNextColor();
            Add(plot, lane, 50, color, MarkerShape.FilledCircle);
            Add(plot, lane, 99, color, MarkerShape.OpenTriangleUp);
        }

        plot.Title($"{result.Workload.Name}: latency from when a request was due");
        plot.XLabel("offered requests/s");
        plot.YLabel("round trip, us");
        plot.Axes.Left.TickGenerator = new ScottPlot.TickGenerators.NumericAutomatic
        {
            MinorTickGenerator = new ScottPlot.TickGenerators.LogMinorTickGenerator(),
            IntegerTicksOnly = true,
            LabelFormatter = static exponent => Math.Pow(10, exponent).ToString("N0", CultureInfo.InvariantCulture),
        };
        plot.Axes.AutoScale();
        plot.Axes.SetLimitsX(0, plot.Axes.GetLimits().Right);
        plot.ShowLegend(Alignment.UpperLeft);
        if (Path.GetExtension(path).Equals(".svg", StringComparison.OrdinalIgnoreCase))
        {
            plot.SaveSvg(path, Width, Height);
        }
        else
        {
            plot.SavePng(path, Width, Height);
        }
    }

    private static void Add(Plot plot, LaneResult lane, double percentile, Color color, MarkerShape shape)
    {
        var steps = lane.Ladder.Where(step => step.Slice.Answered > 0).ToArray();
        var line = plot.Add.Scatter(
            [.. steps.Select(step => step.Rate)],
            (double[])[.. steps.Select(step => Math.Log10(Ratios.Micros(step.Slice.RoundTrip, percentile)))],
            color);
        line.MarkerShape = shape;
        line.MarkerSize = MarkerSize;
        line.LegendText = string.Create(CultureInfo.InvariantCulture, $"{lane.Name} p{percentile}");
    }
}
