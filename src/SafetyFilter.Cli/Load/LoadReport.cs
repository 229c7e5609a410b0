using System.Globalization;
using System.Text.Json.Serialization;
using HdrHistogram;
using Spectre.Console;

namespace SafetyFilter.Cli.Load;

/// <summary>A run of <c>load</c> for programs to read. Times in microseconds.</summary>
internal sealed record LoadReport(
    string Target, string Surface, double Rate, double AchievedRate, long Answered, long Candidates, long Degraded,
    IReadOnlyDictionary<string, long> Failures, Percentiles Latency, Percentiles Engine, Percentiles SentLate)
{
    public static LoadReport Of(LoadOptions options, LoadResult result) => new(
        options.Target, options.Surface ?? "(mix)", options.Rate, Achieved(result), result.Answered, result.Candidates, result.Degraded,
        result.Failures, Percentiles.Of(result.Latency), Percentiles.Of(result.Engine), Percentiles.Of(result.Late));

    public static void Show(IAnsiConsole console, LoadOptions options, LoadResult result)
    {
        console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{options.Target}, {options.Surface ?? "all surfaces"}: {result.Answered} answered of {result.Answered + result.Failures.Values.Sum()} at {Achieved(result):0.0}/s (wanted {options.Rate:0.0}/s), {result.Candidates} candidates."));
        if (result.Degraded > 0)
        {
            console.WriteLine($"{result.Degraded} answers rest on a fail mode at least in part.");
        }

        foreach (var (status, count) in result.Failures)
        {
            console.MarkupLine($"[red]{count} x {Markup.Escape(status)}[/]");
        }

        var table = new Table { Title = new TableTitle("Milliseconds"), Border = TableBorder.Minimal };
        table.AddColumns("", "p50", "p90", "p99", "p99.9", "max");
        Row("latency, from when the request was due", result.Latency);
        Row("of which engine", result.Engine);
        Row("sent late by this program", result.Late);
        console.Write(table);

        void Row(string name, LongHistogram times)
        {
            var row = Percentiles.Of(times);
            table.AddRow([new Text(name), .. new[] { row.P50, row.P90, row.P99, row.P999, row.Max }.Select(micros =>
                new Text((micros / 1000.0).ToString("0.00", CultureInfo.InvariantCulture)).RightJustified())]);
        }
    }

    private static double Achieved(LoadResult result) =>
        result.SendTime > TimeSpan.Zero ? (result.Answered + result.Failures.Values.Sum()) / result.SendTime.TotalSeconds : 0;
}

internal sealed record Percentiles(long P50, long P90, long P99, long P999, long Max)
{
    public static Percentiles Of(LongHistogram times) => times.TotalCount == 0
        ? new Percentiles(0, 0, 0, 0, 0)
        : new Percentiles(
            times.GetValueAtPercentile(50), times.GetValueAtPercentile(90), times.GetValueAtPercentile(99), times.GetValueAtPercentile(99.9),
            times.GetValueAtPercentile(100));
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(LoadReport))]
internal sealed partial class LoadJson : JsonSerializerContext;
