using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using SafetyFilter.Audit;
using SafetyFilter.Cli.Audit.Export;
using SafetyFilter.Ledger;

namespace SafetyFilter.Cli.Audit;

/// <summary>
/// <c>safetyfilter audit export</c>: decisions as rows for people and tools of other trades. Exit code 0 when all were written, 1 when
/// some records could not be read or places are damaged, 2 when the arguments are wrong or the ledger cannot be read.
/// </summary>
internal sealed class ExportCommand
{
    private readonly LedgerArguments _ledger = new(byTime: true, byGroup: true);
    private readonly ArchiveArguments _archives = new();
    private readonly Option<string> _format = new Option<string>("--format") { Description = "parquet, jsonl, or dsa: statements of reasons for the EU's DSA Transparency Database.", Required = true }
        .AcceptOnlyFromAmong("parquet", "jsonl", "dsa");

    private readonly Option<string> _out = new("--out") { Description = "The file to write; one that exists is replaced. With --group one per partition: rows.3.parquet for rows.parquet.", HelpName = "PATH", Required = true };
    private readonly Option<string?> _mapping = new("--mapping") { Description = "dsa: a JSON object from reason codes to STATEMENT_CATEGORY_*; adds to the built-in one.", HelpName = "FILE" };
    private readonly Option<string[]> _contentType = new("--content-type") { Description = "dsa: CONTENT_TYPE_*; repeatable.", DefaultValueFactory = static _ => ["CONTENT_TYPE_VIDEO"] };
    private readonly Option<string[]> _territory = new("--territory") { Description = "dsa: where restrictions hold, two-letter codes of EU/EEA countries; by default all of the EU.", DefaultValueFactory = static _ => [] };
    private readonly Option<string?> _contentDate = new("--content-date") { Description = "dsa: when content was posted, YYYY-MM-DD; by default the day of the decision." };
    private readonly Option<string?> _dateAttribute = new("--content-date-attribute") { Description = "dsa: a recorded text attribute that holds that date for each candidate." };

    private readonly Option<bool> _json = new("--json") { Description = "Print how it went as one JSON object." };

    public static Command Create()
    {
        var self = new ExportCommand();
        var command = new Command("export", "Write decisions as Parquet, JSON lines, or DSA statements of reasons. Exit code: 0 all, 1 unreadable or damaged records, 2 unreadable or none.");
        self._ledger.AddTo(command);
        self._archives.AddTo(command, models: false);
        foreach (var option in (Option[])[self._format, self._out, self._mapping, self._contentType, self._territory, self._contentDate, self._dateAttribute, self._json])
        {
            command.Options.Add(option);
        }

        command.SetAction(self.RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken stop)
    {
        var errors = parsed.InvocationConfiguration.Error;
        if (_ledger.Open(parsed, out var error) is not { } source || _ledger.Times(parsed, out error) is not { } times
            || Statements(parsed, out error) is not { } statements || _archives.Open(parsed, out error) is not { } archives)
        {
            errors.WriteLine(error);
            return AuditCommand.Unreadable;
        }

        using (archives)
        {
            var told = new Tally();
            try
            {
                var failure = _ledger.Run(
                    parsed, source, (part, token) => ExportAsync(parsed, part, times, archives, statements, told, token).GetAwaiter().GetResult(), out var shared, stop)
                    ?? (told.Decisions + told.Unreadable == 0 ? "There are no decisions to export. Check --from and --to." : null);
                if (failure is null)
                {
                    return Tell(parsed, told, shared);
                }

                errors.WriteLine(failure);
            }
            catch (Exception problem) when (problem is IOException or UnauthorizedAccessException)
            {
                errors.WriteLine($"'{parsed.GetValue(_out)}' cannot be written: {problem.Message}");
            }

            return AuditCommand.Unreadable;
        }
    }

    private async Task<PartitionWork> ExportAsync(
        ParseResult parsed, ILedgerSource source, (ulong From, ulong To) times, Archives archives, StatementOptions statements, Tally told, CancellationToken stop)
    {
        var plan = new ExportPlan { Reached = new Progress(parsed.InvocationConfiguration.Error, "export, columns").Reached };
        if (plan.Read(source, times.From, times.To, stop) is var failure && (failure is not null || plan.Decisions + plan.Unreadable == 0))
        {
            return new PartitionWork(failure);
        }

        // Aside first: a file that is there is replaced by a whole one or not at all.
        var path = parsed.GetValue(_out)!;
        path = source is TopicSource { Partition: { } number } ? Path.ChangeExtension(path, $"{number}{Path.GetExtension(path)}") : path;
        var aside = path + ".partial";
        var written = false;
        try
        {
            if (await WriteAsync(parsed, source, times, archives, plan, statements, aside, told, stop) is { } unread)
            {
                return new PartitionWork($"{unread} '{path}' is as it was.");
            }

            written = true;
        }
        finally
        {
            if (!written)
            {
                File.Delete(aside);
            }
        }

        return new PartitionWork(
            null,
            () =>
            {
                File.Move(aside, path, overwrite: true);
                told.Add(plan, path);
            },
            () => File.Delete(aside));
    }

    private async Task<string?> WriteAsync(
        ParseResult parsed, ILedgerSource source, (ulong From, ulong To) times, Archives archives, ExportPlan plan, StatementOptions statements, string path, Tally told,
        CancellationToken stop)
    {
        await using var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.Read, 1 << 18);
        await using IRowWriter rows = parsed.GetValue(_format) switch
        {
            "parquet" => await ParquetRows.CreateAsync(file, plan.Classifiers),
            "jsonl" => new JsonRows(file),
            _ => new StatementRows(file, statements),
        };
        var (decisions, candidates) = (told.Decisions, told.Candidates);
        var progress = new Progress(parsed.InvocationConfiguration.Error, "export, rows");
        var visit = new RecordVisit(
            new RecordedDecision(),
            archives.Opener,
            record =>
            {
                progress.Reached(++decisions, candidates += record.Count);

                // Runs on this thread; only a full row group waits, for the file.
                rows.WriteAsync(record, plan.IsWithdrawn(record)).AsTask().GetAwaiter().GetResult();
            },
            static _ => { });
        var scan = new DecisionScan<RecordVisit>(source, 1, () => visit, static _ => { }) { FromUnixNanos = times.From, ToUnixNanos = times.To };
        return scan.Run(stop);
    }

    private int Tell(ParseResult parsed, Tally told, GroupShare? shared)
    {
        var errors = parsed.InvocationConfiguration.Error;
        if (told.Damage.Places > 0)
        {
            errors.WriteLine(DamageLine.Text(told.Damage));
        }

        var code = told.Unreadable > 0 || told.Damage.Places > 0 ? AuditCommand.Findings : AuditCommand.Verified;
        if (!parsed.GetValue(_json))
        {
            errors.WriteLine(string.Create(
                CultureInfo.InvariantCulture, $"{told.Candidates:N0} candidate decisions read, {told.Unreadable:N0} records unreadable; written to '{string.Join("', '", told.Paths)}'"));
            if (shared is not null)
            {
                errors.WriteLine(shared);
            }

            return code;
        }

        parsed.InvocationConfiguration.Output.WriteLine(JsonText.Write(json =>
        {
            json.WriteBoolean("complete", code == AuditCommand.Verified);
            json.WriteStartArray("paths");
            told.Paths.ForEach(json.WriteStringValue);
            json.WriteEndArray();
            json.WriteNumber("decisions", told.Decisions);
            json.WriteNumber("candidates", told.Candidates);
            json.WriteNumber("unreadable", told.Unreadable);
            DamageLine.Write(json, told.Damage);
            shared?.Write(json, "exported");
        }));
        return code;
    }

    private StatementOptions? Statements(ParseResult parsed, out string error)
    {
        error = "";
        var categories = new Dictionary<string, string>(StatementOfReasons.DefaultCategories, StringComparer.Ordinal);
        if (parsed.GetValue(_mapping) is { } path)
        {
            try
            {
                using var mapping = JsonDocument.Parse(File.ReadAllBytes(path));
                foreach (var member in mapping.RootElement.EnumerateObject())
                {
                    categories[member.Name] = member.Value.GetString() ?? "";
                }
            }
            catch (Exception problem) when (problem is IOException or UnauthorizedAccessException or JsonException or InvalidOperationException)
            {
                error = $"--mapping '{path}' is no JSON object from reason codes to categories: {problem.Message}";
                return null;
            }
        }

        if (categories.Values.FirstOrDefault(static one => !one.StartsWith("STATEMENT_CATEGORY_", StringComparison.Ordinal)) is { } wrong)
        {
            error = $"--mapping names '{wrong}', which is no category. They begin with STATEMENT_CATEGORY_.";
            return null;
        }

        DateOnly? date = null;
        if (parsed.GetValue(_contentDate) is { } text)
        {
            if (!DateOnly.TryParseExact(text, "yyyy-MM-dd", CultureInfo.InvariantCulture, DateTimeStyles.None, out var day))
            {
                error = $"--content-date '{text}' is no date like 2025-06-01.";
                return null;
            }

            date = day;
        }

        var territories = parsed.GetValue(_territory) is { Length: > 0 } named ? named : StatementOfReasons.EuropeanUnion;
        return new StatementOptions(categories, parsed.GetValue(_contentType)!, [.. territories.Order(StringComparer.Ordinal)], date, parsed.GetValue(_dateAttribute));
    }

    /// <summary>What whole files hold.</summary>
    private sealed class Tally
    {
        public long Decisions { get; private set; }

        public long Candidates { get; private set; }

        public long Unreadable { get; private set; }

        public ScanDamage Damage { get; private set; }

        public List<string> Paths { get; } = [];

        public void Add(ExportPlan plan, string path)
        {
            Decisions += plan.Decisions;
            Candidates += plan.Candidates;
            Unreadable += plan.Unreadable;
            Damage += plan.Damage;
            Paths.Add(path);
        }
    }
}
