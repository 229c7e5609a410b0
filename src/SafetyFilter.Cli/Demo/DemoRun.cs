using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;

namespace SafetyFilter.Cli.Demo;

/// <summary>The demo as a story: traffic, a fault, and the books.</summary>
internal sealed class DemoRun(DemoOptions options, DemoScreen screen)
{
    private const string BrokenBundle = "text-safety";

    // Two callers on two cores: enough that decisions overlap, little enough that latency is not queueing.
    private const int Callers = 2;
    private const int WarmUp = 100;

    // What a person would wait for; a demo on a busy machine should show slowness, not fail of it.
    private static readonly SafetyFilterClientOptions Patient = new() { Deadline = TimeSpan.FromSeconds(10), FailMode = LocalFailMode.Throw };
    private static readonly TimeSpan StopPatience = TimeSpan.FromSeconds(30);

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-demo-");
    private readonly AnswerLog _answers = new();
    private readonly Checks _checks = new();

    private string Spool => Path.Combine(_folder.FullName, "spool");

    private string UnixSocket => Path.Combine(_folder.FullName, "filter.sock");

    /// <summary>Returns the exit code: 0 when everything that was promised held.</summary>
    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            var catalogue = Catalogue.Load(options.DataFolder, options.Seed);
            CatalogueEncoder.Encode(catalogue, Path.Combine(AppContext.BaseDirectory, "models"));
            screen.Catalogue(catalogue);
            var ranker = new Ranker(catalogue, options.Seed);

            screen.Chapter("A ranker asks");
            await UsingSidecarAsync("first", [], client => PlayAsync(ranker, client, cancellationToken), cancellationToken);

            screen.Chapter($"A classifier breaks: every run of {BrokenBundle} fails from here on");
            await UsingSidecarAsync(
                "second",
                // Faults are refused in Production, which is what an unset environment means.
                [("ASPNETCORE_ENVIRONMENT", "Demo"), ("Chaos__Enabled", "true"), ($"Chaos__Bundles__{BrokenBundle}__FaultRate", "1.0")],
                client => BreakAsync(ranker, client, cancellationToken),
                cancellationToken);

            screen.Chapter("The books");
            var audit = LedgerComparison.Run(Spool, _answers);
            screen.Audit(audit);
            audit.Check(_checks);
        }
        finally
        {
            if (options.Keep)
            {
                screen.Kept(_folder.FullName);
            }
            else
            {
                _folder.Delete(recursive: true);
            }
        }

        screen.Verdict(_checks);
        return _checks.AllHeld ? 0 : 1;
    }

    /// <summary>Starts a sidecar on the demo's one spool, has it used, and stops it as an operator would.</summary>
    private async Task UsingSidecarAsync(
        string run, (string Key, string Value)[] settings, Func<SafetyFilterClient, Task> use, CancellationToken cancellationToken)
    {
        var all = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["Listen__UnixSocket"] = UnixSocket,
            // Whatever listens on this machine already, the demo is not in its way.
            ["Listen__Tcp"] = "",
            ["Listen__Metrics"] = "",
            ["Ledger__Spool__Folder"] = Spool,
            ["Models__Folder"] = Path.Combine(AppContext.BaseDirectory, "models"),
            ["Policies__Folder"] = Path.Combine(AppContext.BaseDirectory, "policies"),
        };
        foreach (var (key, value) in settings)
        {
            all[key] = value;
        }

        await using var sidecar = await LocalSidecar.StartAsync(all, cancellationToken: cancellationToken);
        screen.Started(sidecar);
        using (var client = SafetyFilterClient.Connect("unix:" + UnixSocket, Patient))
        {
            await use(client);
        }

        var exit = await sidecar.StopAsync(StopPatience);
        _checks.Require(
            exit == 0,
            $"the sidecar's {run} run drained and ended with exit code 0 on SIGTERM",
            exit is null ? "it had to be killed after 30 s" : $"it ended with {exit}");
        if (exit != 0)
        {
            screen.Tail(sidecar.Output);
        }
    }

    private async Task PlayAsync(Ranker ranker, SafetyFilterClient client, CancellationToken cancellationToken)
    {
        var tally = new TrafficTally();
        await screen.ProgressAsync(options.Requests, advance => TrafficPlayer.PlayAsync(
            client, ranker, _answers, options.Requests, Callers, (number, answer) =>
            {
                tally.Add(answer, timed: number >= WarmUp);
                advance();
            }, cancellationToken));

        tally.Check(_checks, options.Requests);
        if (tally.Answered == 0)
        {
            return;
        }

        screen.Decisions(tally.Examples);
        screen.Latency(tally, WarmUp);
        screen.Surfaces(tally);
        screen.Harm(tally);
    }

    private async Task BreakAsync(Ranker ranker, SafetyFilterClient client, CancellationToken cancellationToken)
    {
        var outage = new Outage(BrokenBundle);
        await outage.PlayAsync(client, ranker, _answers, firstNumber: options.Requests, cancellationToken);
        screen.Outage(outage);
        outage.Check(_checks);
    }
}

/// <summary>What the demo promises, and whether it held.</summary>
internal sealed class Checks
{
    private readonly List<(bool Held, string Promise, string Otherwise)> _all = [];

    public bool AllHeld => _all.TrueForAll(check => check.Held);

    public IEnumerable<(bool Held, string Promise, string Otherwise)> All => _all;

    /// <param name="held">Whether it did.</param>
    /// <param name="promise">What should hold, as a sentence.</param>
    /// <param name="otherwise">What was seen instead; shown only when it did not hold.</param>
    public void Require(bool held, string promise, string otherwise) => _all.Add((held, promise, otherwise));
}
