using System.Globalization;
using HdrHistogram;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;
using Spectre.Console;

namespace SafetyFilter.Cli.Demo;

/// <summary>How the demo looks. Knows nothing but what it is handed.</summary>
internal sealed class DemoScreen(IAnsiConsole console)
{
    public void Catalogue(Catalogue catalogue) => Say(
        $"Catalogue: {catalogue.Ordinary.Count} ordinary titles and {catalogue.Harmful.Sum(family => family.Items.Count)} harmful ones "
        + $"({string.Join(", ", catalogue.Harmful.Select(family => family.Name))}), {catalogue.Description}.");

    public void Chapter(string title)
    {
        console.WriteLine();
        console.Write(new Rule($"[bold]{Markup.Escape(title)}[/]") { Justification = Justify.Left });
    }

    public void Started(LocalSidecar sidecar) =>
        Say($"Sidecar: process {sidecar.ProcessId}, serving on a Unix socket after {sidecar.StartTime.TotalMilliseconds:0} ms.");

    public async Task ProgressAsync(int total, Func<Action, Task> work)
    {
        if (!console.Profile.Capabilities.Interactive || Console.IsOutputRedirected)
        {
            await work(static () => { });
            Say($"{total} requests sent.");
            return;
        }

        await console.Progress()
            .AutoClear(enabled: true)
            .Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn())
            .StartAsync(async progress =>
            {
                var bar = progress.AddTask("asking", maxValue: total);
                await work(() => bar.Increment(1));
            });
    }

    public void Decisions(IEnumerable<(Answer Answer, int Row)> examples)
    {
        var table = NewTable("A few decisions", "surface", "rank", "title", "action", "why");
        foreach (var (answer, row) in examples)
        {
            var verdict = answer.Result![row];
            table.AddRow(
                Cell(answer.Surface), Cell($"{row + 1}"), Cell(PlainWords.Title(answer.Items[row], 44)),
                Colour(verdict.Action, PlainWords.Action(verdict)), Cell(PlainWords.Reason(answer.Result, verdict)));
        }

        console.Write(table);
    }

    public void Latency(TrafficTally tally, int warmUp)
    {
        var table = NewTable(
            $"Latency in milliseconds, {tally.RoundTrip.TotalCount} requests after {warmUp} to warm up",
            "", "p50", "p90", "p99", "p99.9", "max");
        Row("engine (decoded request to appended record)", tally.Engine);
        Row("round trip (as the ranker waits)", tally.RoundTrip);
        console.Write(table);

        void Row(string name, HistogramBase times) => table.AddRow(
            [Cell(name), .. new[] { 50, 90, 99, 99.9, 100 }.Select(percentile => Number(times.GetValueAtPercentile(percentile) / 1000.0, "0.00"))]);
    }

    public void Surfaces(TrafficTally tally)
    {
        var table = NewTable(
            "Actions per surface", "surface", "requests", "candidates", "allow", "label", "age-restrict", "demote", "block", "by fail mode");
        foreach (var (name, counts) in tally.Surfaces)
        {
            table.AddRow(
            [
                Cell(name), Number(counts.Requests), Number(counts.Candidates),
                .. Enum.GetValues<FilterAction>().Select(action => Number(counts[action])), Number(counts.Degraded),
            ]);
        }

        console.Write(table);
    }

    public void Harm(TrafficTally tally)
    {
        var families = tally.Harm.Keys.Select(key => key.Family).Distinct(StringComparer.Ordinal)
            .OrderBy(name => name == HarmCounts.Ordinary).ThenBy(name => name, StringComparer.Ordinal);
        var surfaces = tally.Surfaces.Keys.ToArray();
        var table = NewTable("Restricted, of those asked about", ["family", .. surfaces]);
        foreach (var family in families)
        {
            table.AddRow([Cell(family), .. surfaces.Select(surface =>
                tally.Harm.TryGetValue((surface, family), out var counts) ? Cell($"{counts.Restricted}/{counts.Placed} ({counts.Share:P0})") : Cell("-"))]);
        }

        console.Write(table);
        Say($"Harmful candidates stand at ranks {string.Join(", ", Ranker.HarmRanks.Select(rank => rank + 1))} of every {Ranker.HarmEvery}th page.");
    }

    public void Outage(Outage outage)
    {
        var table = NewTable(
            "What the wire said", "surface", "requests", "candidates", "failed closed", "failed open", "shown as ranked", "blocked", "why unscored");
        foreach (var surface in outage.Surfaces)
        {
            table.AddRow(
                Cell(surface.Profile.Name), Number(surface.Requests), Number(surface.Candidates), Number(surface.FailedClosed), Number(surface.FailedOpen),
                Number(surface.Shown), Number(surface.Blocked),
                Cell(PlainWords.Failures(surface.Kinds) + (surface.BreakerOpenAt > 0 ? $" (from request {surface.BreakerOpenAt})" : "")));
        }

        console.Write(table);
    }

    public void Audit(LedgerComparison audit)
    {
        var state = audit.Faults.Count == 0 ? "verified" : $"{audit.Faults.Count} faults";
        Say($"Ledger: {audit.Records} decisions in {audit.Epochs} runs of the sidecar; {state}.");
        Say($"Compared {audit.Compared} answers with their records: {audit.Differences.Count} unexplained differences.");
    }

    public void Tail(IReadOnlyList<string> lines)
    {
        foreach (var line in lines.Skip(Math.Max(0, lines.Count - 30)))
        {
            console.WriteLine("  | " + line);
        }
    }

    public void Kept(string folder) => Say($"Kept: {folder}");

    public void Failed(string why) => console.MarkupLineInterpolated($"[red]{why}[/]");

    public void Verdict(Checks checks)
    {
        Chapter(checks.AllHeld ? "All of it held" : "Not all of it held");
        foreach (var (held, promise, otherwise) in checks.All)
        {
            console.MarkupLine(held
                ? $"[green]ok[/]    {Markup.Escape(promise)}"
                : $"[red]FAIL[/]  {Markup.Escape(promise)}: {Markup.Escape(otherwise)}");
        }
    }

    private static Table NewTable(string title, params string[] columns)
    {
        var table = new Table { Title = new TableTitle(Markup.Escape(title)), Border = TableBorder.Minimal };
        foreach (var column in columns)
        {
            table.AddColumn(Markup.Escape(column));
        }

        return table;
    }

    private static Text Cell(string text) => new(text);

    private static Text Number(double value, string format = "#,0") => new Text(value.ToString(format, CultureInfo.InvariantCulture)).RightJustified();

    private static Text Colour(FilterAction action, string text) => new(text, action switch
    {
        FilterAction.Block => new Style(Color.Red),
        FilterAction.Allow => new Style(Color.Green),
        _ => new Style(Color.Yellow),
    });

    private void Say(string line) => console.WriteLine(line);
}
