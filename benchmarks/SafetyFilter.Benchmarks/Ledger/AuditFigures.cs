using System.CommandLine;
using System.Diagnostics;
using System.Text.Json;
using SafetyFilter.Cli;
using SafetyFilter.Cli.Demo;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Benchmarks.Ledger;

/// <summary>Decisions of the real sidecar over the usual mix of pages, then verified and replayed by the tool an auditor uses.</summary>
internal static class AuditFigures
{
    private const int Callers = 4;
    private const int Rounds = 5;

    public static async Task MeasureAsync(Report report, int scale, CancellationToken stop)
    {
        var root = Directory.CreateTempSubdirectory("safetyfilter-bench-");
        try
        {
            var spool = Path.Combine(root.FullName, "spool");
            await RecordAsync(root.FullName, spool, 20_000 / scale, stop);
            report.Line($"## Verify and replay ({Report.Machine})");
            report.Line();
            report.Table(
                ["command", "candidate decisions", "wall s", "candidate decisions/s", "CPU s", "candidate decisions/s per core (CPU time)"],
                [Row("audit verify", ["verify", spool, "--json"]), Row("audit replay", ["replay", spool, "--json"])]);
            report.Line($"Median of {Rounds} runs by CPU time; the first, which compiles, is not counted. The CPU time is all threads', reading the files included.");
            report.Line();
        }
        finally
        {
            root.Delete(recursive: true);
        }
    }

    private static string[] Row(string name, string[] arguments)
    {
        var runs = new List<(long Candidates, double Wall, double Cpu)>();
        for (var round = 0; round <= Rounds; round++)
        {
            runs.Add(Run(arguments));
        }

        var (candidates, wall, cpu) = runs.Skip(1).OrderBy(static run => run.Cpu).ElementAt(Rounds / 2);
        return
        [
            name, Report.Number(candidates, 0), Report.Number(wall), Report.Number(candidates / wall, 0), Report.Number(cpu), Report.Number(candidates / cpu, 0),
        ];
    }

    private static (long Candidates, double Wall, double Cpu) Run(string[] arguments)
    {
        using var output = new StringWriter();
        using var process = Process.GetCurrentProcess();
        var cpu = process.TotalProcessorTime;
        var start = Stopwatch.GetTimestamp();
        var exit = AuditCommand.Create().Parse(arguments).Invoke(new InvocationConfiguration { Output = output });
        var wall = Stopwatch.GetElapsedTime(start).TotalSeconds;
        process.Refresh();
        using var verdict = JsonDocument.Parse(output.ToString());
        return exit == 0
            ? (verdict.RootElement.GetProperty("candidates").GetInt64(), wall, (process.TotalProcessorTime - cpu).TotalSeconds)
            : throw new InvalidOperationException($"{string.Join(' ', arguments)} ended with {exit}: {output}");
    }

    private static async Task RecordAsync(string root, string spool, int requests, CancellationToken stop)
    {
        var socket = Path.Combine(root, "filter.sock");
        var settings = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["Listen__UnixSocket"] = socket,
            ["Listen__Tcp"] = "",
            ["Listen__Metrics"] = "",
            ["Ledger__Spool__Folder"] = spool,

            // All callers are to be answered, however long they wait for a place.
            ["Admission__MaxWait"] = "00:00:10",
        };
        await using var sidecar = await LocalSidecar.StartAsync(settings, cancellationToken: stop);
        var catalogue = Catalogue.Load(null, seed: 1);
        CatalogueEncoder.Encode(catalogue, Path.Combine(AppContext.BaseDirectory, "models"));
        var next = -1;
        await Task.WhenAll(Enumerable.Range(0, Callers).Select(_ => Task.Run(
            async () =>
            {
                using var client = SafetyFilterClient.Connect("unix:" + socket, new SafetyFilterClientOptions { FailMode = LocalFailMode.Throw });
                var ranker = new Ranker(catalogue, seed: 1);
                var page = new Page();
                while (Interlocked.Increment(ref next) is var number && number < requests)
                {
                    ranker.Compose(page, number);
                    page.Query.Deadline = TimeSpan.FromSeconds(10);
                    await client.FilterAsync(page.Query, stop);
                }
            },
            stop)));
        await sidecar.StopAsync(TimeSpan.FromSeconds(30));
    }
}
