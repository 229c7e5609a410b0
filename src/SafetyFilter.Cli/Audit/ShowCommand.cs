using System.CommandLine;
using System.Globalization;
using System.Text;
using System.Text.Json;
using SafetyFilter.Audit;
using SafetyFilter.Cli.Audit.Export;
using SafetyFilter.Ledger;
using SafetyFilter.Ledger.Privacy;
using SafetyFilter.Ledger.Proof;
using SafetyFilter.Observability;

namespace SafetyFilter.Cli.Audit;

/// <summary>
/// <c>safetyfilter audit show</c>: one decision told in plain words, with its proof. Exit code 0 when found, 1 when there is none, or it is not
/// proven or the ledger damaged, 2 when the arguments are wrong or nothing can be read.
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
    private readonly IdentityOption _identities = new();
    private readonly Option<bool> _all = new("--all") { Description = $"Tell all decisions that match (at most {MostShown}), not only the newest." };

    private readonly Option<bool> _json = new("--json") { Description = "The decisions as one JSON object." };

    private sealed record Match(Guid Stream, ulong Sequence, ulong Time, string Request, string Surface, byte[] Record);

    public static Command Create()
    {
        var self = new ShowCommand();
        var command = new Command("show", "Tell one decision in plain words, with its inclusion proof. Exit code: 0 found and proven, 1 not found, not proven or damaged, 2 unreadable.");
        self._ledger.AddTo(command);
        self._archives.AddTo(command, models: false);
        self._identities.AddTo(command);
        foreach (var option in (Option[])[self._request, self._candidate, self._sequence, self._hashKey, self._all, self._json])
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
            || Search(parsed, out error) is not { } search || _identities.Read(parsed, out error) is not { } identities || _archives.Open(parsed, out error) is not { } archives)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        using (archives)
        {
            var matches = new List<Match>();
            var progress = new Progress(errors, "show, searching");
            var (decisions, candidates) = (0L, 0L);
            var visit = new RecordVisit(
                new RecordedDecision(),
                archives.Opener,
                record =>
                {
                    progress.Reached(++decisions, candidates += record.Count);
                    Keep(search, record, matches);
                },
                static _ => { });
            var plan = new ExportPlan { Reached = new Progress(errors, "show, withdrawals").Reached };
            var scan = new DecisionScan<RecordVisit>(source, 1, () => visit, static _ => { }) { FromUnixNanos = times.From, ToUnixNanos = times.To, Other = archives.See };
            if ((scan.Run(stop) ?? plan.Read(source, 0, ulong.MaxValue, stop)) is { } failure)
            {
                errors.WriteLine(failure);
                return AuditCommand.Unreadable;
            }

            if (scan.Damage.Places > 0)
            {
                errors.WriteLine(DamageLine.Text(scan.Damage));
            }

            if (matches.Count == 0)
            {
                errors.WriteLine($"No decision here has {search}.");
                return AuditCommand.Findings;
            }

            var told = Tell(parsed, source, archives, plan, search, identities, matches, scan.Damage, stop);
            return told == AuditCommand.Verified && scan.Damage.Places > 0 ? AuditCommand.Findings : told;
        }
    }

    private int Tell(
        ParseResult parsed, ILedgerSource source, Archives archives, ExportPlan plan, DecisionSearch search, IReadOnlyList<NoteVerifier> identities,
        List<Match> matches, ScanDamage damage, CancellationToken stop)
    {
        var output = parsed.GetValue(_json) ? TextWriter.Null : parsed.InvocationConfiguration.Output;
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
        if (failure is not null)
        {
            parsed.InvocationConfiguration.Error.WriteLine(failure);
            return AuditCommand.Unreadable;
        }

        var record = new RecordedDecision();
        var proven = true;
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

            story.TellProof(finders[i].Proof, identities);
            proven &= finders[i].Proof?.IsProven(identities) == true;
        }

        if (parsed.GetValue(_json))
        {
            parsed.InvocationConfiguration.Output.WriteLine(Json(shown, finders, archives, plan, search, identities, damage));
        }

        finders.ForEach(static finder => finder.Dispose());
        return proven ? AuditCommand.Verified : AuditCommand.Findings;
    }

    private static string Json(
        List<Match> shown, List<RecordProofFinder> finders, Archives archives, ExportPlan plan, DecisionSearch search, IReadOnlyList<NoteVerifier> identities,
        ScanDamage damage) => JsonText.Write(json =>
    {
        var record = new RecordedDecision();
        DamageLine.Write(json, damage);
        json.WriteStartArray("decisions");
        for (var i = 0; i < shown.Count; i++)
        {
            record.TryRead(shown[i].Record, archives.Opener);
            var withdrawn = plan.IsWithdrawn(record);
            json.WriteStartObject();
            json.WriteString("stream", record.Stream.ToString("N"));
            json.WriteNumber("epoch", record.Epoch);
            json.WriteNumber("sequence", record.Sequence);
            json.WriteString("request_id", record[record.Batch.RequestId]);
            json.WriteString("policy", record[record.Policy]);
            json.WriteString("policy_revision", record[record.PolicyRevision]);
            json.WriteString("build", record[record.Build]);
            json.WriteNumber("engine_micros", record.EngineMicros);
            json.WriteNumber("budget_micros", record.BudgetMicros);
            json.WriteBoolean("withdrawn", withdrawn);
            json.WriteStartArray("bundles");
            foreach (var bundle in record.Bundles)
            {
                json.WriteStartObject();
                json.WriteString("name", record[bundle.Name]);
                json.WriteString("version", record[bundle.Version]);
                json.WriteString("model_sha256", Convert.ToHexStringLower(record[bundle.ModelSha256]));
                json.WriteString("failure", FilterMetrics.TagOf(bundle.Failure));
                json.WriteNumber("micros", bundle.Micros);
                json.WriteNumber("parts", bundle.Parts);
                json.WriteStartArray("remembered");
                for (var candidate = 0; candidate < record.Count; candidate++)
                {
                    if (record.IsRemembered(bundle, candidate))
                    {
                        json.WriteNumberValue(candidate);
                    }
                }

                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndArray();
            json.WriteStartArray("candidates");
            for (var candidate = 0; candidate < record.Count; candidate++)
            {
                if (search.Wants(record, candidate))
                {
                    JsonRows.Write(json, record, candidate, withdrawn);
                }
            }

            json.WriteEndArray();
            WriteProof(json, finders[i].Proof, identities);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    });

    private static void WriteProof(Utf8JsonWriter json, RecordProof? proof, IReadOnlyList<NoteVerifier> identities)
    {
        json.WriteBoolean("proven", proof?.IsProven(identities) == true);
        if (proof is null)
        {
            json.WriteNull("proof");
            return;
        }

        json.WriteStartObject("proof");
        json.WriteNumber("leaf_index", proof.Index);
        json.WriteNumber("tree_size", proof.TreeSize);
        json.WriteString("leaf_hash", proof.Leaf.ToString());
        json.WriteString("root", proof.Root.ToString());
        json.WriteStartArray("path");
        foreach (var hash in proof.Path)
        {
            json.WriteStringValue(((TreeHash)hash).ToString());
        }

        json.WriteEndArray();
        json.WriteString("note", proof.Note);
        json.WriteBoolean("included", proof.IsIncluded);
        json.WriteBoolean("signed", proof.Signed == true);
        json.WriteString("identity", proof.Identity?.Text);
        json.WriteEndObject();
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
