using System.CommandLine;
using System.Globalization;
using SafetyFilter.Audit;
using SafetyFilter.Decisions;
using SafetyFilter.Ledger;
using SafetyFilter.Policy;
using Spectre.Console;

namespace SafetyFilter.Cli.Audit;

/// <summary>
/// <c>safetyfilter audit whatif</c>: what another policy would have done with recorded requests. Exit code as of diff: 0 when nothing
/// would change, 1 when something would (or cannot be told), 2 when the arguments are wrong or nothing can be read.
/// </summary>
internal sealed class WhatIfCommand
{
    private readonly LedgerArguments _ledger = new(byTime: true, byGroup: true);
    private readonly ArchiveArguments _archives = new();
    private readonly Option<string[]> _policy = new("--policy") { Description = "The policy file to try. Repeatable.", HelpName = "FILE", Required = true };
    private readonly Option<string?> _surface = new("--surface") { Description = "Only this surface; by default all that the policy names." };
    private readonly Option<string?> _at = new("--at") { Description = "Let the policy's rules expire as of this time, or now; by default as of each decision's own time." };
    private readonly Option<int> _examples = new("--examples") { Description = "How many of each change are shown.", DefaultValueFactory = static _ => 3 };
    private readonly Option<int> _workers = new("--workers") { Description = "Cores to use; by default all.", DefaultValueFactory = static _ => Environment.ProcessorCount };
    private readonly Option<bool> _json = new("--json") { Description = "Print the answer as one JSON object." };

    public static Command Create()
    {
        var self = new WhatIfCommand();
        var command = new Command("whatif", "Decide recorded requests again under another policy and count what would change. Exit code: 0 nothing, 1 something, 2 unreadable.");
        self._ledger.AddTo(command);
        self._archives.AddTo(command, models: false);
        foreach (var option in (Option[])[self._policy, self._surface, self._at, self._examples, self._workers, self._json])
        {
            command.Options.Add(option);
        }

        command.SetAction((parsed, stop) => Task.FromResult(self.Run(parsed, stop)));
        return command;
    }

    private int Run(ParseResult parsed, CancellationToken stop)
    {
        var errors = parsed.InvocationConfiguration.Error;
        if (_ledger.Open(parsed, out var error) is not { } source || _ledger.Times(parsed, out error) is not { } times
            || ReadPolicies(parsed, out error) is not { } proposed || !TryReadAt(parsed, out var asOf, out error)
            || _archives.Open(parsed, out error) is not { } archives)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        using (archives)
        {
            var question = new WhatIfQuestion(
                proposed, archives.Policies, parsed.GetValue(_surface), asOf, asOf ?? DateTimeOffset.UtcNow.ToUnixTimeMilliseconds(), parsed.GetValue(_examples));
            var report = new WhatIfReport(question.Examples);
            var progress = new Progress(errors, "whatif");
            var damage = default(ScanDamage);
            var failure = _ledger.Run(parsed, source, Ask, out var shared, stop);
            if ((failure ?? Nothing(report, proposed)) is { } problem)
            {
                errors.WriteLine(problem);
                return AuditCommand.Unreadable;
            }

            if (damage.Places > 0)
            {
                errors.WriteLine(DamageLine.Text(damage));
            }

            var output = parsed.InvocationConfiguration.Output;
            if (parsed.GetValue(_json))
            {
                output.WriteLine(WhatIfJson.Write(report, damage, shared));
            }
            else
            {
                Print(output, report);
                if (shared is not null)
                {
                    output.WriteLine(shared);
                }
            }

            return report.Changes.Count == 0 && report.NotRecomputable.Count == 0 && damage.Places == 0 ? AuditCommand.Verified : AuditCommand.Findings;

            PartitionWork Ask(ILedgerSource part, CancellationToken token)
            {
                var found = new WhatIfReport(question.Examples);
                var scan = new DecisionScan<WhatIfWork>(
                    part,
                    Math.Max(1, parsed.GetValue(_workers)),
                    () => new WhatIfWork(question, archives.Opener),
                    work =>
                    {
                        found.Take(work.Report);
                        progress.Reached(report.Decisions + found.Decisions, report.Candidates + found.Candidates);
                    })
                {
                    FromUnixNanos = times.From,
                    ToUnixNanos = times.To,
                    Other = archives.See,
                };
                return new PartitionWork(scan.Run(token), () =>
                {
                    report.Take(found);
                    damage += scan.Damage;
                });
            }
        }
    }

    private static string? Nothing(WhatIfReport report, IReadOnlyList<ArchivedPolicy> proposed) =>
        report.Decisions > 0 || report.NotRecomputable.Count > 0
            ? null
            : string.Create(CultureInfo.InvariantCulture, $"There are no decisions of {string.Join(", ", proposed.SelectMany(static policy => policy.Surfaces).Select(System.Text.Encoding.UTF8.GetString))} here; {report.Elsewhere:N0} are of other surfaces. Check --surface, --from and --to.");

    private List<ArchivedPolicy>? ReadPolicies(ParseResult parsed, out string error)
    {
        var (sources, unreadable) = PolicySource.ReadFiles(parsed.GetValue(_policy) ?? []);
        var read = sources.Select(ArchivedPolicy.Read).ToList();
        error = string.Join('\n', unreadable.Concat(read.SelectMany(static one => one.Errors)));
        var policies = read.SelectMany(static one => one.Policies).ToList();
        if (error.Length == 0 && policies.Count == 0)
        {
            error = "Name a policy file: --policy FILE.";
        }

        return error.Length == 0 ? policies : null;
    }

    private bool TryReadAt(ParseResult parsed, out long? asOf, out string error)
    {
        (asOf, error) = (null, "");
        if (parsed.GetValue(_at) is not { } text)
        {
            return true;
        }

        if (text != "now" && !DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out _))
        {
            error = $"--at '{text}' is no time like 2025-06-01T12:00:00Z, and not now.";
            return false;
        }

        asOf = (text == "now" ? DateTimeOffset.UtcNow : DateTimeOffset.Parse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal)).ToUnixTimeMilliseconds();
        return true;
    }

    private static void Print(TextWriter output, WhatIfReport report)
    {
        var console = AnsiConsole.Create(new AnsiConsoleSettings { Ansi = AnsiSupport.No, ColorSystem = ColorSystemSupport.NoColors, Out = new AnsiConsoleOutput(output) });
        console.Profile.Width = 160;
        var surfaces = new Table().AddColumns("surface", "decisions", "", "allow", "label", "age-restrict", "demote", "block");
        foreach (var (name, surface) in report.Surfaces)
        {
            surfaces.AddRow([Markup.Escape(name), Number(surface.Decisions), "as recorded", .. Counts(surface.Before)]);
            surfaces.AddRow(["", "", "what if", .. Counts(surface.After)]);
        }

        console.Write(surfaces);
        var changes = report.Changes
            .OrderByDescending(static change => change.Value.Count)
            .ThenBy(static change => change.Key.ToString(), StringComparer.Ordinal)
            .ToList();
        if (changes.Count > 0)
        {
            var table = new Table().AddColumns("surface", "old rule", "new rule", "action", "direction", "candidates", "share");
            foreach (var (change, group) in changes)
            {
                table.AddRow(
                    Markup.Escape(change.Surface), Markup.Escape(change.OldRule), Markup.Escape(change.NewRule),
                    change.OldAction == change.NewAction ? change.NewAction.ToString() : $"{change.OldAction} -> {change.NewAction}",
                    change.Direction.ToString(), Number(group.Count), Share(group.Count, report.Candidates));
            }

            console.Write(table);
        }

        foreach (var (change, group) in changes.Where(static change => change.Value.Examples.Count > 0))
        {
            output.WriteLine($"{change.Surface}: {change.OldRule} -> {change.NewRule}");
            foreach (var one in group.Examples)
            {
                var scores = string.Join(", ", one.Scores.Select(static score => string.Create(CultureInfo.InvariantCulture, $"{score.Classifier} {score.Score:0.0000}")));
                output.WriteLine($"  request '{one.RequestId}' candidate '{one.CandidateId}' (sequence {one.Sequence}): {scores}");
            }

            var (old, now) = (group.Examples[0].OldCondition, group.Examples[0].NewCondition);
            output.WriteLine($"  old: {(old.Length == 0 ? "the recorded policy is not at hand (--policies)" : old)}\n  new: {now}");
        }

        foreach (var (reason, count) in report.NotRecomputable)
        {
            output.WriteLine($"not recomputable, {reason}: {Number(count)} decisions");
        }

        if (report.ChangedByExpiry > 0)
        {
            output.WriteLine($"{Number(report.ChangedByExpiry)} candidates would change under the recorded policy too, because rules of it have expired since");
        }

        output.WriteLine(
            $"{Number(report.Changed)} of {Number(report.Candidates)} candidates ({Share(report.Changed, report.Candidates)}) in {Number(report.Decisions)} decisions would be treated otherwise: "
            + $"{Number(Total(report, ChangeDirection.Stricter))} stricter, {Number(Total(report, ChangeDirection.Laxer))} laxer, {Number(Total(report, ChangeDirection.Relabelled))} relabelled; "
            + $"{Number(Total(report, ChangeDirection.RuleOnly))} more by another rule only");
    }

    private static long Total(WhatIfReport report, ChangeDirection direction) =>
        report.Changes.Where(change => change.Key.Direction == direction).Sum(static change => change.Value.Count);

    private static IEnumerable<string> Counts(long[] counts) =>
        Enumerable.Range((int)CandidateAction.Allow, counts.Length - 1).Select(action => Number(counts[action]));

    private static string Number(long value) => value.ToString("N0", CultureInfo.InvariantCulture);

    private static string Share(long part, long all) =>
        all == 0 ? "-" : string.Create(CultureInfo.InvariantCulture, $"{100.0 * part / all:0.###} %");
}
