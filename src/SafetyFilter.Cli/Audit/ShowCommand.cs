using System.CommandLine;
using System.Globalization;
using System.Text;
using SafetyFilter.Audit;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;

namespace SafetyFilter.Cli.Audit;

/// <summary>
/// <c>safetyfilter audit show</c>: one decision told in plain words, with its proof. Exit code 0 when found, 1 when there is none or its
/// proof fails, 2 when the arguments are wrong or nothing can be read.
/// </summary>
internal sealed class ShowCommand
{
    private const int MostShown = 100;

    private readonly LedgerArguments _ledger = new(byTime: true);
    private readonly ArchiveArguments _archives = new();
    private readonly Option<string?> _request = new("--request") { Description = "The decision of this request.", HelpName = "ID" };
    private readonly Option<string?> _candidate = new("--candidate") { Description = "Decisions on this candidate; only it is told.", HelpName = "ID" };
    private readonly Option<ulong?> _sequence = new("--sequence") { Description = "The record with this number.", HelpName = "N" };
    private readonly Option<string?> _hashKey = new("--hash-key") { Description = "The sidecar's hash key: finds ids that records show as hashes.", HelpName = "FILE" };
    private readonly Option<bool> _all = new("--all") { Description = $"Tell all decisions that match (at most {MostShown}), not only the newest." };

    private sealed record Match(Guid Stream, ulong Sequence, ulong Time, string Request, string Surface, byte[] Record);

    public static Command Create()
    {
        var self = new ShowCommand();
        var command = new Command("show", "Tell one decision in plain words, with its inclusion proof. Exit code: 0 found, 1 not found or not proven, 2 unreadable.");
        self._ledger.AddTo(command);
        self._archives.AddTo(command, models: false);
        foreach (var option in (Option[])[self._request, self._candidate, self._sequence, self._hashKey, self._all])
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
            || Search(parsed, out error) is not { } search || _archives.Open(parsed, out error) is not { } archives)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        using (archives)
        {
            var matches = new List<Match>();
            var visit = new RecordVisit(new RecordedDecision(), archives.Opener, record => Keep(search, record, matches), static _ => { });
            var plan = new ExportPlan();
            var scan = new DecisionScan<RecordVisit>(source, 1, () => visit, static _ => { }) { FromUnixNanos = times.From, ToUnixNanos = times.To, Other = archives.See };
            if ((scan.Run(stop) ?? plan.Read(source, stop)) is { } failure)
            {
                errors.WriteLine(failure);
                return AuditCommand.Unreadable;
            }

            if (matches.Count == 0)
            {
                errors.WriteLine($"No decision here has {search}.");
                return AuditCommand.Findings;
            }

            return Tell(parsed, source, archives, plan, search, matches, stop);
        }
    }

    private int Tell(
        ParseResult parsed, ILedgerSource source, Archives archives, ExportPlan plan, DecisionSearch search, List<Match> matches, CancellationToken stop)
    {
        var output = parsed.InvocationConfiguration.Output;
        var newest = matches.MaxBy(static one => one.Time)!;
        List<Match> shown = parsed.GetValue(_all) ? matches : [newest];
        if (shown.Count < matches.Count)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{matches.Count} decisions match; this is the newest (--all tells them all):"));
            foreach (var one in matches)
            {
                output.WriteLine($"  sequence {one.Sequence} of {one.Stream:N}: request '{one.Request}' on {one.Surface}, {DateTimeOffset.UnixEpoch.AddTicks((long)(one.Time / 100)):O}");
            }
        }

        var finders = shown.ConvertAll(static one => new RecordProofFinder(one.Stream, one.Sequence));
        var failure = source.Read(
            (_, _, type, bytes) =>
            {
                foreach (var finder in finders)
                {
                    finder.Add(type, bytes);
                }
            },
            static (in SpoolDamage _) => { },
            stop);
        var record = new RecordedDecision();
        var proven = failure is null;
        for (var i = 0; i < shown.Count; i++)
        {
            record.TryRead(shown[i].Record, archives.Opener);
            var story = new DecisionStory(output, record, archives.Policies.Find(record[record.PolicyRevision]));
            story.TellRequest(plan.IsWithdrawn(record));
            for (var candidate = 0; candidate < record.Count; candidate++)
            {
                if (search.Wants(record, candidate))
                {
                    story.TellCandidate(candidate);
                }
            }

            story.TellProof(finders[i].Proof);
            proven &= finders[i].Proof is null or { IsIncluded: true, Signed: true };
            finders[i].Dispose();
        }

        return proven ? AuditCommand.Verified : AuditCommand.Findings;
    }

    private static void Keep(DecisionSearch search, RecordedDecision record, List<Match> matches)
    {
        if (!search.Finds(record))
        {
            return;
        }

        if (matches.Count == MostShown)
        {
            matches.RemoveAt(0);
        }

        matches.Add(new Match(
            record.Stream, record.Sequence, record.TimeUnixNanos, record.Text(record.Batch.RequestId), record.Text(record.Batch.Surface),
            record.Batch.Buffer.AsSpan(0, record.Length).ToArray()));
    }

    private DecisionSearch? Search(ParseResult parsed, out string error)
    {
        error = "";
        var (request, candidate, sequence) = (parsed.GetValue(_request), parsed.GetValue(_candidate), parsed.GetValue(_sequence));
        if (request is null && candidate is null && sequence is null)
        {
            error = "Name what to show: --request ID, --candidate ID or --sequence N.";
            return null;
        }

        try
        {
            var key = parsed.GetValue(_hashKey) is { } path ? HashKey.Load(path) : null;
            return new DecisionSearch(Names("request_id", request, key), Names("candidate_ids", candidate, key), sequence);
        }
        catch (LedgerException problem)
        {
            error = problem.Message;
            return null;
        }
    }

    // As it is, and as a record with hashes shows it.
    private static List<byte[]>? Names(string path, string? id, HashKey? key) => id is null
        ? null
        : [Encoding.UTF8.GetBytes(id), .. key is null ? (IEnumerable<byte[]>)[] : [Encoding.UTF8.GetBytes(key.Of(path, id))]];
}
