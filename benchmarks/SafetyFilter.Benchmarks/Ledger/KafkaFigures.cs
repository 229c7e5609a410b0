using System.Diagnostics;
using System.Globalization;
using SafetyFilter.Cli.Demo;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;
using SafetyFilter.FunctionalTests.Kafka;

namespace SafetyFilter.Benchmarks.Ledger;

/// <summary>The same requests to three sidecars in turn: Kafka off, Kafka on, Kafka down. What differs is what Kafka does to a request.</summary>
internal static class KafkaFigures
{
    private const string Topic = "benchmark.decisions";
    private const int BlockSize = 50;
    private const int Candidates = 16;

    public static async Task MeasureAsync(Report report, int scale, CancellationToken stop)
    {
        using var live = new MockKafkaCluster();
        live.CreateTopic(Topic, 1);
        using var dead = new MockKafkaCluster();
        dead.CreateTopic(Topic, 1);
        dead.TakeDown();

        var root = Directory.CreateTempSubdirectory("safetyfilter-bench-");
        var sidecars = new List<Target>();
        try
        {
            sidecars.Add(await Target.StartAsync("off", root.FullName, "", stop));
            sidecars.Add(await Target.StartAsync("on", root.FullName, live.BootstrapServers, stop));
            sidecars.Add(await Target.StartAsync("down", root.FullName, dead.BootstrapServers, stop));
            await RunAsync(sidecars, 600 / scale, measured: false, stop);
            await RunAsync(sidecars, 12_000 / scale, measured: true, stop);
            Show(report, sidecars);
        }
        finally
        {
            foreach (var sidecar in sidecars)
            {
                await sidecar.DisposeAsync();
            }

            root.Delete(recursive: true);
        }
    }

    // Blocks in turn, each time beginning with another one: whatever the machine does meanwhile meets all three.
    private static async Task RunAsync(List<Target> targets, int requests, bool measured, CancellationToken stop)
    {
        var ranker = new Ranker(Catalogue.Load(null, seed: 1), seed: 1);
        var page = new Page();
        for (var block = 0; block < requests / BlockSize; block++)
        {
            for (var turn = 0; turn < targets.Count; turn++)
            {
                var target = targets[(block + turn) % targets.Count];
                var cpu = target.CpuTime;
                for (var i = 0; i < BlockSize; i++)
                {
                    ranker.Compose(page, block * BlockSize + i, SurfaceProfile.Named("search"), Candidates);
                    page.Query.Deadline = TimeSpan.FromSeconds(10);
                    var start = Stopwatch.GetTimestamp();
                    var result = await target.Client.FilterAsync(page.Query, stop);
                    if (measured)
                    {
                        target.RoundTrips.Add(Stopwatch.GetElapsedTime(start).TotalMicroseconds);
                        target.Engine.Add(result.EngineTime.TotalMicroseconds);
                    }
                }

                if (measured)
                {
                    target.Cpu += target.CpuTime - cpu;
                }
            }
        }
    }

    private static void Show(Report report, List<Target> targets)
    {
        report.Line($"## A request with Kafka off, on and down ({Report.Machine})");
        report.Line();
        report.Line(string.Create(
            CultureInfo.InvariantCulture,
            $"{targets[0].RoundTrips.Count} requests of {Candidates} captions to each of three sidecars, in turn in blocks of {BlockSize}, one at a time, over a Unix socket."));
        report.Line();
        var off = targets[0];
        report.Table(
            ["Kafka", "round trip p50 us", "ratio to off", "engine p50 us", "ratio to off", "server CPU us/request, publishing included"],
            targets.Select(target => new[]
            {
                target.Name,
                Report.Number(Report.Median(target.RoundTrips), 0),
                Report.Number(Report.Median(target.RoundTrips) / Report.Median(off.RoundTrips), 3),
                Report.Number(Report.Median(target.Engine), 0),
                Report.Number(Report.Median(target.Engine) / Report.Median(off.Engine), 3),
                Report.Number(target.Cpu.TotalMicroseconds / target.RoundTrips.Count, 0),
            }));
    }

    private sealed class Target(string name, LocalSidecar sidecar, SafetyFilterClient client) : IAsyncDisposable
    {
        private readonly Process _process = Process.GetProcessById(sidecar.ProcessId);

        public string Name => name;
        public SafetyFilterClient Client => client;
        public List<double> RoundTrips { get; } = [];
        public List<double> Engine { get; } = [];
        public TimeSpan Cpu { get; set; }

        public TimeSpan CpuTime
        {
            get
            {
                _process.Refresh();
                return _process.TotalProcessorTime;
            }
        }

        public static async Task<Target> StartAsync(string name, string root, string bootstrapServers, CancellationToken stop)
        {
            var socket = Path.Combine(root, name + ".sock");
            var settings = new Dictionary<string, string>(StringComparer.Ordinal)
            {
                ["Listen__UnixSocket"] = socket,
                ["Listen__Tcp"] = "",
                ["Listen__Metrics"] = "",
                ["Ledger__Spool__Folder"] = Path.Combine(root, "spool-" + name),
                ["Ledger__Kafka__BootstrapServers"] = bootstrapServers,
                ["Ledger__Kafka__Topic"] = Topic,
            };
            var sidecar = await LocalSidecar.StartAsync(settings, cancellationToken: stop);
            return new Target(name, sidecar, SafetyFilterClient.Connect("unix:" + socket, new SafetyFilterClientOptions { FailMode = LocalFailMode.Throw }));
        }

        public async ValueTask DisposeAsync()
        {
            client.Dispose();
            _process.Dispose();
            await sidecar.DisposeAsync();
        }
    }
}
