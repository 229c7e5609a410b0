using System.Globalization;
using SafetyFilter.Cli.Load;
using SafetyFilter.Cli.Traffic;

namespace SafetyFilter.Benchmarks.Start;

/// <param name="Rounds">Each one starts every contender, three times, and loads it.</param>
/// <param name="Rate">Requests per second.</param>
/// <param name="Seconds">Of each load.</param>
internal sealed record StartPlan(int Rounds, double Rate, double Seconds);

/// <summary>
/// Contenders in turn, each round beginning with another one. Within a round they are alive together and loaded one after the other, so that whatever
/// the machine does meanwhile meets all of them; every figure is compared with the first contender's of the same round.
/// </summary>
internal sealed class StartFigures(StartPlan plan, IReadOnlyList<Contender> contenders)
{
    private const int StartsPerRound = 3;
    private static readonly TimeSpan Idle = TimeSpan.FromSeconds(3);

    private static readonly Workload[] Workloads = [new("E256", "shorts", 256), new("T64", "search", 64)];

    private readonly Ranker _ranker = new(Encoded(), seed: 1);
    private readonly List<Figures>[] _rounds = [.. contenders.Select(static _ => new List<Figures>())];

    public async Task MeasureAsync(Report report, CancellationToken stop)
    {
        // Files into the page cache, and this program's own client compiled.
        foreach (var contender in contenders)
        {
            await using var first = await RunningContender.StartAsync(contender, FirstPage(), stop);
        }

        for (var round = 0; round < plan.Rounds; round++)
        {
            await RunRoundAsync(round, stop);
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture, $"round {round + 1} of {plan.Rounds}"));
        }

        Show(report);
    }

    private async Task RunRoundAsync(int round, CancellationToken stop)
    {
        var order = Enumerable.Range(0, contenders.Count).Select(turn => (round + turn) % contenders.Count).ToArray();
        var figures = contenders.Select(static _ => new Figures()).ToArray();
        var running = new RunningContender?[contenders.Count];
        try
        {
            for (var start = 0; start < StartsPerRound; start++)
            {
                foreach (var index in order)
                {
                    if (running[index] is { } previous)
                    {
                        await previous.DisposeAsync();
                    }

                    running[index] = await RunningContender.StartAsync(contenders[index], FirstPage(), stop);
                    figures[index].Add(running[index]!);
                }
            }

            await Task.Delay(Idle, stop);
            foreach (var index in order)
            {
                figures[index].Idle = running[index]!.ReadMemory();
            }

            foreach (var workload in Workloads)
            {
                // The first load of each is for tiers and pools, the second one counts.
                foreach (var measured in new[] { false, true })
                {
                    foreach (var index in order)
                    {
                        var cpu = await LoadAsync(running[index]!, workload, stop);
                        if (measured)
                        {
                            figures[index].Cpu[workload] = cpu;
                        }
                    }
                }
            }

            foreach (var index in order)
            {
                figures[index].Loaded = running[index]!.ReadMemory();
                _rounds[index].Add(figures[index]);
            }
        }
        finally
        {
            foreach (var one in running)
            {
                if (one is not null)
                {
                    await one.DisposeAsync();
                }
            }
        }
    }

    /// <summary>Returns the sidecar's CPU microseconds per request.</summary>
    private async Task<double> LoadAsync(RunningContender running, Workload workload, CancellationToken stop)
    {
        const int Connections = 1;
        var options = new LoadOptions(
            running.Target, workload.Surface, workload.Candidates, plan.Rate, plan.Seconds, Connections, DeadlineMillis: 30_000, DataFolder: null, Seed: 1);
        var cpu = running.CpuTime;
        var result = await new OpenLoop(options, _ranker).RunAsync(stop);
        cpu = running.CpuTime - cpu;
        if (result.Failures.Count > 0 || result.Degraded > 0)
        {
            throw new InvalidOperationException(
                $"{workload.Name}: {result.Degraded} answers were degraded and {result.Failures.Values.Sum()} calls failed: this is no comparison of equal work. Use a lower --rate.");
        }

        return cpu.TotalMicroseconds / (result.Answered + Connections * OpenLoop.WarmUpRequests);
    }

    private void Show(Report report)
    {
        report.Line($"## {string.Join(", ", contenders.Select(static contender => contender.Name))} ({Report.Machine})");
        report.Line();
        report.Line(string.Create(
            CultureInfo.InvariantCulture,
            $"{plan.Rounds} rounds with {StartsPerRound} starts each; loads at {plan.Rate:0} requests/s for {plan.Seconds:0} s. Medians, and in brackets the median of the rounds' ratios to {contenders[0].Name}."));
        report.Line();
        (string Name, int Decimals, Func<Figures, double> Of)[] rows =
        [
            ("start to serving, ms", 0, static figures => Report.Median(figures.Serving)),
            ("CPU until serving, ms", 0, static figures => Report.Median(figures.ServingCpu)),
            ("start to first answer, ms", 0, static figures => Report.Median(figures.FirstAnswer)),
            ("resident idle, MiB", 1, static figures => figures.Idle.Resident),
            ("of which anonymous", 1, static figures => figures.Idle.Anonymous),
            ("resident loaded, MiB", 1, static figures => figures.Loaded.Resident),
            ("of which anonymous", 1, static figures => figures.Loaded.Anonymous),
            .. Workloads.Select(static workload =>
                ($"{workload.Name}: CPU us per request", 0, new Func<Figures, double>(figures => figures.Cpu[workload]))),
        ];
        report.Table(
            ["", .. contenders.Select(static contender => contender.Name)],
            rows.Select(row => (string[])[row.Name, .. contenders.Select((_, index) => Cell(row.Of, row.Decimals, index))]));
    }

    private string Cell(Func<Figures, double> of, int decimals, int index)
    {
        var value = Report.Number(Report.Median(_rounds[index].Select(of)), decimals);
        return index == 0
            ? value
            : $"{value} ({Report.Number(Report.Median(_rounds[index].Zip(_rounds[0], (figures, first) => of(figures) / of(first))))})";
    }

    private static Catalogue Encoded()
    {
        var catalogue = Catalogue.Load(null, seed: 1);
        CatalogueEncoder.Encode(catalogue, Path.Combine(AppContext.BaseDirectory, "models"));
        return catalogue;
    }

    private Page FirstPage()
    {
        var page = new Page();
        _ranker.Compose(page, number: 0, SurfaceProfile.Named("search"), candidates: 16);
        page.Query.Deadline = TimeSpan.FromSeconds(30);
        return page;
    }

    private sealed record Workload(string Name, string Surface, int Candidates);

    /// <summary>One contender in one round.</summary>
    private sealed class Figures
    {
        public List<double> Serving { get; } = [];
        public List<double> ServingCpu { get; } = [];
        public List<double> FirstAnswer { get; } = [];
        public Memory Idle { get; set; }
        public Memory Loaded { get; set; }
        public Dictionary<Workload, double> Cpu { get; } = [];

        public void Add(RunningContender running)
        {
            Serving.Add(running.Serving.TotalMilliseconds);
            ServingCpu.Add(running.ServingCpu.TotalMilliseconds);
            FirstAnswer.Add(running.FirstAnswer.TotalMilliseconds);
        }
    }
}
