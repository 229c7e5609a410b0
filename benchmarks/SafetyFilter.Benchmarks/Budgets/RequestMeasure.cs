using System.Text.Json;
using SafetyFilter.Benchmarks.Micro;
using SafetyFilter.Cli.Demo;
using SafetyFilter.Client;

namespace SafetyFilter.Benchmarks.Budgets;

/// <summary>What the real sidecar allocates for a Filter request over its Unix socket, gRPC and HTTP/2 included, by its own runtime's count.</summary>
internal static class RequestMeasure
{
    public static readonly string[] Workloads = [MicroRequests.E256, MicroRequests.T64];

    private const string AllocatedSeries = "dotnet_gc_heap_total_allocated";
    private const string AnsweredSeries = "safetyfilter_requests_total";
    private const string DegradedSeries = "safetyfilter_degraded_candidates";
    private const int Requests = 3_000;
    private const int WarmUps = 3;
    private const int WarmUpRequests = 500;

    public static string NameOf(string workload) => $"Sidecar.Filter(Workload: {workload})";

    public static async Task<Allocations> OfAsync(string workload, CancellationToken stop)
    {
        var root = Directory.CreateTempSubdirectory("safetyfilter-budget-");
        try
        {
            var policies = root.CreateSubdirectory("policies");
            await File.WriteAllTextAsync(Path.Combine(policies.FullName, "micro.yaml"), MicroRequests.Policy(workload), stop);
            var socket = Path.Combine(root.FullName, "f.sock");
            var ready = Path.Combine(root.FullName, "ready.json");
            var settings = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["ASPNETCORE_ENVIRONMENT"] = "Production",
                ["Listen__UnixSocket"] = socket,
                ["Listen__Tcp"] = "",
                ["Listen__Metrics"] = "127.0.0.1:0",
                ["Listen__ReadyFile"] = ready,
                ["Policies__Folder"] = policies.FullName,
                ["Ledger__Spool__Folder"] = Path.Combine(root.FullName, "ledger"),

                // A busy machine is no reason to answer in another, cheaper way.
                ["Breaker__SlowCallMicros"] = "0",
                ["Ledger__Spool__AppendPatience"] = "00:00:00.100",
            };
            await using var sidecar = await LocalSidecar.StartAsync(settings, () => File.Exists(ready), cancellationToken: stop);
            using var note = JsonDocument.Parse(await File.ReadAllBytesAsync(ready, stop));
            using var client = SafetyFilterClient.Connect(
                "unix:" + socket, new SafetyFilterClientOptions { FailMode = LocalFailMode.Throw, Deadline = TimeSpan.FromSeconds(30) });
            using var http = new HttpClient();
            return await CountAsync(workload, client, () => ScrapeAsync(http, note.RootElement.GetProperty("metrics").GetString()!, stop), stop);
        }
        finally
        {
            root.Delete(recursive: true);
        }
    }

    private static async Task<Allocations> CountAsync(string workload, SafetyFilterClient client, Func<Task<string>> scrape, CancellationToken stop)
    {
        var query = MicroRequests.Compose(workload);
        for (var warmUp = 0; warmUp < WarmUps; warmUp++)
        {
            await SendAsync(client, query, WarmUpRequests, stop);
            _ = await scrape();
            await Task.Delay(Exposition.BetweenLooks, stop);
        }

        // Looking allocates too. So much does one look, when nothing else happens.
        var idle = Sum(await scrape(), AllocatedSeries);
        await Task.Delay(Exposition.BetweenLooks, stop);
        var before = await scrape();
        var look = Sum(before, AllocatedSeries) - idle;
        await SendAsync(client, query, Requests, stop);
        var after = await scrape();
        var answered = Sum(after, AnsweredSeries) - Sum(before, AnsweredSeries);
        var degraded = Sum(after, DegradedSeries);
        if (answered != Requests || degraded != 0)
        {
            throw new InvalidOperationException($"Of {Requests} requests the sidecar counts {answered}, with {degraded} degraded candidates: that is not the work of {workload}.");
        }

        return new Allocations(double.NaN, (Sum(after, AllocatedSeries) - Sum(before, AllocatedSeries) - look) / Requests);
    }

    private static async Task SendAsync(SafetyFilterClient client, FilterQuery query, int requests, CancellationToken stop)
    {
        for (var i = 0; i < requests; i++)
        {
            _ = await client.FilterAsync(query, stop);
        }
    }

    private static Task<string> ScrapeAsync(HttpClient http, string url, CancellationToken stop) => http.GetStringAsync(url, stop);

    private static double Sum(string text, string series) => new Exposition(text).Sum(series) ?? 0;
}
