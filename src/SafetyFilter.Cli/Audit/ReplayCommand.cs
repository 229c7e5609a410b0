using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using SafetyFilter.Audit;
using SafetyFilter.Ledger;

namespace SafetyFilter.Cli.Audit;

/// <summary>
/// <c>safetyfilter audit replay</c>: recomputes every decision and says where it comes out otherwise. Exit code 0 when all are
/// equal, 1 with differences (or decisions that cannot be recomputed, or damage), 2 when the arguments are wrong or nothing can be read.
/// </summary>
internal sealed class ReplayCommand
{
    private readonly LedgerArguments _ledger = new(byTime: true, byGroup: true);
    private readonly ArchiveArguments _archives = new();
    private readonly Option<int> _workers = new("--workers")
    {
        Description = "Cores to use; by default all.",
        DefaultValueFactory = static _ => Environment.ProcessorCount,
    };

    private readonly Option<int> _most = new("--max-differences")
    {
        Description = "How many differences are listed; all are counted.",
        DefaultValueFactory = static _ => 100,
    };

    private readonly Option<bool> _allowMissing = new("--allow-missing") { Description = "Decisions that cannot be recomputed are no failure." };
    private readonly Option<bool> _json = new("--json") { Description = "Print the verdict as one JSON object." };

    public static Command Create()
    {
        var self = new ReplayCommand();
        var command = new Command(
            "replay", "Recompute every decision from its record and compare. Exit code: 0 all equal, 1 differences, not recomputable or damaged, 2 unreadable.");
        self._ledger.AddTo(command);
        self._archives.AddTo(command, models: true);
        command.Options.Add(self._workers);
        command.Options.Add(self._most);
        command.Options.Add(self._allowMissing);
        command.Options.Add(self._json);
        command.SetAction((parsed, stop) => Task.FromResult(self.Run(parsed, stop)));
        return command;
    }

    private int Run(ParseResult parsed, CancellationToken stop)
    {
        var errors = parsed.InvocationConfiguration.Error;
        if (_ledger.Open(parsed, out var error) is not { } source || _ledger.Times(parsed, out error) is not { } times
            || _archives.Open(parsed, out error) is not { } archives)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        using (archives)
        {
            var most = parsed.GetValue(_most);
            var report = new ReplayReport(most);
            var progress = new Progress(errors, "replay");
            var repeats = 0L;
            var damage = default(ScanDamage);
            var failure = _ledger.Run(parsed, source, Replay, out var shared, stop) ?? (report.Decisions == 0 ? "There are no decisions to replay." : null);
            foreach (var problem in archives.Problems)
            {
                errors.WriteLine($"note: {problem}");
            }

            if (failure is not null)
            {
                errors.WriteLine(failure);
                return AuditCommand.Unreadable;
            }

            var equal = report.IsEqual(parsed.GetValue(_allowMissing)) && damage.Places == 0;
            if (damage.Places > 0)
            {
                errors.WriteLine(DamageLine.Text(damage));
            }

            var output = parsed.InvocationConfiguration.Output;
            output.WriteLine(parsed.GetValue(_json) ? Json(report, equal, repeats, damage, shared) : Text(report, equal, shared, progress.Elapsed));
            return equal ? AuditCommand.Verified : AuditCommand.Findings;

            PartitionWork Replay(ILedgerSource part, CancellationToken token)
            {
                var found = new ReplayReport(most);
                var scan = new DecisionScan<ReplayWork>(
                    part,
                    Math.Max(1, parsed.GetValue(_workers)),
                    () => new ReplayWork(archives.Policies, archives.Bundles, archives.Opener, most),
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
                    repeats += scan.Repeats;
                    damage += scan.Damage;
                });
            }
        }
    }

    private static string Text(ReplayReport report, bool equal, GroupShare? shared, TimeSpan elapsed)
    {
        var text = new StringWriter(CultureInfo.InvariantCulture);
        foreach (var one in report.Differences)
        {
            var candidate = one.Candidate < 0 ? "" : $", candidate {one.Candidate} ('{one.CandidateId}')";
            text.WriteLine($"sequence {one.Sequence} ('{one.RequestId}'){candidate}: {one.Field} is recorded as {one.Recorded}, recomputed as {one.Recomputed}");
        }

        if (report.DifferenceCount > report.Differences.Count)
        {
            text.WriteLine(string.Create(CultureInfo.InvariantCulture, $"... and {report.DifferenceCount - report.Differences.Count:N0} differences more"));
        }

        foreach (var (reason, (count, first)) in report.NotRecomputable)
        {
            text.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"not recomputable, {reason}: {count:N0} decisions, the first at sequence {first.Sequence}: {first.Text}"));
        }

        text.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{report.Decisions:N0} decisions over {report.Candidates:N0} candidates in {elapsed.TotalSeconds:N2} s ({report.Candidates / elapsed.TotalSeconds:N0}/s): "
            + $"{report.Equal:N0} equal, {report.Different:N0} different, {report.NotRecomputableCount:N0} not recomputable; "
            + $"{report.Rescored:N0} also scored again from their inputs"));
        if (report.Remembered > 0)
        {
            text.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{report.Remembered:N0} remembered scores were scored again within tolerance"));
        }

        if (shared is not null)
        {
            text.WriteLine(shared);
        }

        text.Write(equal ? "EQUAL" : "NOT EQUAL");
        return text.ToString();
    }

    private static string Json(ReplayReport report, bool equal, long repeats, ScanDamage damage, GroupShare? shared) => JsonText.Write(json =>
    {
        json.WriteBoolean("equal", equal);
        json.WriteNumber("decisions", report.Decisions);
        json.WriteNumber("candidates", report.Candidates);
        json.WriteNumber("equal_decisions", report.Equal);
        json.WriteNumber("different_decisions", report.Different);
        json.WriteNumber("rescored_decisions", report.Rescored);
        json.WriteNumber("remembered_scores", report.Remembered);
        json.WriteNumber("repeats", repeats);
        DamageLine.Write(json, damage);
        shared?.Write(json, "replayed");
        json.WriteNumber("difference_count", report.DifferenceCount);
        json.WriteStartArray("differences");
        foreach (var one in report.Differences)
        {
            json.WriteStartObject();
            json.WriteString("stream", one.Stream.ToString("N"));
            json.WriteNumber("epoch", one.Epoch);
            json.WriteNumber("sequence", one.Sequence);
            json.WriteString("request_id", one.RequestId);
            json.WriteNumber("candidate", one.Candidate);
            json.WriteString("candidate_id", one.CandidateId);
            json.WriteString("field", one.Field);
            json.WriteString("recorded", one.Recorded);
            json.WriteString("recomputed", one.Recomputed);
            json.WriteEndObject();
        }

        json.WriteEndArray();
        json.WriteStartArray("not_recomputable");
        foreach (var (reason, (count, first)) in report.NotRecomputable)
        {
            json.WriteStartObject();
            json.WriteString("reason", reason);
            json.WriteNumber("decisions", count);
            json.WriteString("first_stream", first.Stream.ToString("N"));
            json.WriteNumber("first_sequence", first.Sequence);
            json.WriteString("first", first.Text);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });
}
