using System.Text.Json;
using DuckDB.NET.Data;
using Google.Protobuf;
using SafetyFilter.Audit;
using SafetyFilter.Cli;
using SafetyFilter.Cli.Audit.Export;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;
using SafetyFilter.Tests.Filtering;

namespace SafetyFilter.Tests.Audit;

public sealed class ExportTests : IDisposable
{
    private readonly EngineBench _bench = new(AuditBench.Rich, measured: false);
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("sf-export-");

    public void Dispose()
    {
        _bench.Dispose();
        _folder.Delete(recursive: true);
    }

    [Fact]
    public void Export_Parquet_HasTheRowsOfTheRecordsForDuckDb()
    {
        AuditBench.Decide(_bench, 80);
        var records = _bench.Records();
        var file = Export("parquet");

        using var connection = new DuckDBConnection("DataSource=:memory:");
        connection.Open();
        Assert.Equal(records.Sum(static one => one.CandidateCount), Ask("count(*)"));
        Assert.Equal(records.Count, Ask("count(distinct sequence)"));
        Assert.Equal(records.Sum(static one => one.Actions.Count(static action => action == DecisionRecord.Types.Action.Block)), Ask("count(*) filter (where action = 'block')"));
        Assert.Equal(records.Sum(static one => one.Scores.Count(float.IsNaN)), Ask("""sum(("score:numbers/alpha" is null)::int + ("score:numbers/beta" is null)::int + ("score:roots/gamma" is null)::int)"""));
        Assert.Equal(records.Sum(static one => one.Margins.Count(static margin => !float.IsNaN(margin))), Ask("count(margin)"));
        Assert.Equal(records.Sum(static one => (long)(one.TimeUnixNanos / 1000) * one.CandidateCount), Ask("sum(epoch_us(time))"));
        var scores = records.Sum(static one => one.Scores.Take((int)one.CandidateCount).Where(static score => !float.IsNaN(score)).Sum(static score => (double)score));
        Assert.Equal(scores, Number("""sum("score:numbers/alpha"::double)"""), 1e-6);
        Assert.Equal(records.Where(static one => one.Surface == "home").Sum(static one => one.CandidateCount), Ask("count(*) filter (where surface = 'home')"));
        Assert.Equal("TIMESTAMP WITH TIME ZONE", Query($"select column_type from (describe select time from '{file}')"));

        long Ask(string what) => Convert.ToInt64(Query($"select {what} from '{file}'"), System.Globalization.CultureInfo.InvariantCulture);
        double Number(string what) => Convert.ToDouble(Query($"select {what} from '{file}'"), System.Globalization.CultureInfo.InvariantCulture);
        object? Query(string sql)
        {
            using var command = connection.CreateCommand();
            command.CommandText = sql;
            return command.ExecuteScalar() is System.Numerics.BigInteger big ? (long)big : command.ExecuteScalar();
        }
    }

    [Fact]
    public void Export_JsonLines_SayWhatTheRecordsSay()
    {
        AuditBench.Decide(_bench, 10);
        var rows = File.ReadAllLines(Export("jsonl")).Select(static line => JsonDocument.Parse(line).RootElement).ToList();

        var at = 0;
        foreach (var record in _bench.Records())
        {
            for (var candidate = 0; candidate < record.CandidateCount; candidate++)
            {
                var row = rows[at++];
                var rule = record.Rules[(int)record.RuleIndexes[candidate]];
                Assert.Equal(
                    (record.Sequence, record.RequestId, record.CandidateIds[candidate], rule.Id, rule.ReasonCode),
                    (row.GetProperty("sequence").GetUInt64(), row.GetProperty("request_id").GetString(), row.GetProperty("candidate_id").GetString(),
                        row.GetProperty("rule").GetString(), row.GetProperty("reason_code").GetString()));
                var score = row.GetProperty("scores").GetProperty("numbers/alpha");
                Assert.Equal(record.Scores[candidate], score.ValueKind == JsonValueKind.Null ? float.NaN : score.GetSingle());
            }
        }

        Assert.Equal(rows.Count, at);
    }

    [Fact]
    public void Export_Dsa_StatesEveryRestrictionAndNobodysData()
    {
        AuditBench.Decide(_bench, 30);
        var mapping = Path.Combine(_folder.FullName, "mapping.json");
        File.WriteAllText(mapping, """{ "B": "STATEMENT_CATEGORY_VIOLENCE" }""");
        var file = Export("dsa", "--mapping", mapping, "--territory", "DE", "--territory", "AT", "--content-date", "2025-05-01");

        var records = _bench.Records();
        var lines = File.ReadAllLines(file);
        Assert.Equal(records.Sum(static one => one.Actions.Count(static action => action != DecisionRecord.Types.Action.Allow)), lines.Length);
        var statements = lines.Select(static line => JsonDocument.Parse(line).RootElement).ToList();
        Assert.Equal(lines.Length, statements.Select(static one => one.GetProperty("puid").GetString()).Distinct(StringComparer.Ordinal).Count());
        Assert.All(statements, static one => Assert.Matches("^[A-Za-z0-9_-]{1,500}$", one.GetProperty("puid").GetString()!));
        foreach (var (action, visibility) in (ReadOnlySpan<(DecisionRecord.Types.Action, string)>)[
            (DecisionRecord.Types.Action.Block, "DISABLED"), (DecisionRecord.Types.Action.Demote, "DEMOTED"),
            (DecisionRecord.Types.Action.AgeRestrict, "AGE_RESTRICTED"), (DecisionRecord.Types.Action.Label, "LABELLED")])
        {
            Assert.Equal(
                records.Sum(one => one.Actions.Count(given => given == action)),
                statements.Count(one => one.GetProperty("decision_visibility")[0].GetString() == $"DECISION_VISIBILITY_CONTENT_{visibility}"));
        }

        var blocked = statements.First(static one => one.GetProperty("incompatible_content_ground").GetString()!.Contains("(B)", StringComparison.Ordinal));
        Assert.Equal("STATEMENT_CATEGORY_VIOLENCE", blocked.GetProperty("category").GetString());
        Assert.Equal(("AT", "DE"), (blocked.GetProperty("territorial_scope")[0].GetString(), blocked.GetProperty("territorial_scope")[1].GetString()));
        Assert.Equal("2025-05-01", blocked.GetProperty("content_date").GetString());
        Assert.Equal(
            ("AUTOMATED_DECISION_FULLY", "Yes", "SOURCE_VOLUNTARY", "DECISION_GROUND_INCOMPATIBLE_CONTENT"),
            (blocked.GetProperty("automated_decision").GetString(), blocked.GetProperty("automated_detection").GetString(),
                blocked.GetProperty("source_type").GetString(), blocked.GetProperty("decision_ground").GetString()));
        var all = string.Join('\n', lines);
        Assert.DoesNotContain("request-", all, StringComparison.Ordinal);
        Assert.DoesNotContain("\"13-17", all, StringComparison.Ordinal);
        Assert.DoesNotContain("'13-17'", all, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Statements_OfARecordFullOfPersonalData_HoldNoneOfItInAnyField()
    {
        AuditBench.Decide(_bench, 60);
        var record = _bench.Records().First(static one => one.Attributes.Count > 0 && one.Actions.Any(static action => action != DecisionRecord.Types.Action.Allow));
        record.Sealed = new DecisionRecord.Types.SealedFields { KeyId = ByteString.CopyFrom(new byte[16]), Paths = { "viewer.subject" } };
        record.Inputs = new DecisionRecord.Types.CapturedInputs
        {
            Texts = { new DecisionRecord.Types.CapturedText { Name = "caption", Values = { Enumerable.Repeat("text", (int)record.CandidateCount) } } },
        };
        record.IdempotencyKey = record.Caller = record.Experiment = record.AgeBand = record.Territory = "set";
        record.TraceId = record.SpanId = record.HashKeyId = ByteString.CopyFrom(new byte[16]);
        var secrets = new PersonalData();
        secrets.Plant(record);
        Assert.InRange(secrets.Values.Count, 30, int.MaxValue);
        var read = new RecordedDecision();
        Assert.Null(read.TryRead(record.ToByteArray()));

        // An attribute is taken for the content's date where it is one; this one is not.
        var options = new StatementOptions(
            StatementOfReasons.DefaultCategories, ["CONTENT_TYPE_TEXT"], StatementOfReasons.EuropeanUnion, null, record.Attributes[0].Name);
        var written = new MemoryStream();
        await new StatementRows(written, options).WriteAsync(read, withdrawn: false);

        var lines = System.Text.Encoding.UTF8.GetString(written.ToArray()).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(record.Actions.Count(static action => action != DecisionRecord.Types.Action.Allow), lines.Length);
        foreach (var line in lines)
        {
            using var statement = JsonDocument.Parse(line);
            Assert.Equal(
                [
                    "application_date", "automated_decision", "automated_detection", "category", "content_date", "content_type", "decision_facts", "decision_ground",
                    "decision_visibility", "incompatible_content_explanation", "incompatible_content_ground", "puid", "source_type", "territorial_scope",
                ],
                statement.RootElement.EnumerateObject().Select(static field => field.Name).Order(StringComparer.Ordinal));
            foreach (var field in statement.RootElement.EnumerateObject())
            {
                Assert.All(secrets.Values, secret => Assert.DoesNotContain(secret.Value, field.Value.ToString(), StringComparison.OrdinalIgnoreCase));
            }
        }
    }

    [Fact]
    public async Task Statements_FailedClosed_SayThatNothingWasAssessed()
    {
        AuditBench.Decide(_bench, 60);
        var record = _bench.Records().First(static one => one.Bases.Contains(DecisionRecord.Types.Basis.Evaluated) && one.Actions.Contains(DecisionRecord.Types.Action.Block));
        var blocked = record.Actions.IndexOf(DecisionRecord.Types.Action.Block);
        record.Bases[blocked] = DecisionRecord.Types.Basis.FailedClosed;
        var read = new RecordedDecision();
        Assert.Null(read.TryRead(record.ToByteArray()));

        var (given, withdrawn) = (new MemoryStream(), new MemoryStream());
        var options = new StatementOptions(StatementOfReasons.DefaultCategories, ["CONTENT_TYPE_TEXT"], StatementOfReasons.EuropeanUnion, null, null);
        await new StatementRows(given, options).WriteAsync(read, withdrawn: false);
        await new StatementRows(withdrawn, options).WriteAsync(read, withdrawn: true);

        Assert.Contains("gave no result", System.Text.Encoding.UTF8.GetString(given.ToArray()), StringComparison.Ordinal);
        Assert.Equal(0, withdrawn.Length);
    }

    [Fact]
    public void ExportPlan_WithdrawalInTheStream_IsKnownBeforeItsDecisionIsWritten()
    {
        AuditBench.Decide(_bench, 3);
        var records = _bench.Records();
        var withdrawal = new Withdrawal { StreamId = records[1].StreamId, Epoch = records[1].Epoch, WithdrawnSequence = records[1].Sequence };
        var plan = new ExportPlan();

        Assert.Null(plan.Read(
            new ListSource([.. records.Select(static one => (RecordType.Decision, one.ToByteArray())), (RecordType.Withdrawal, withdrawal.ToByteArray())]), 0, ulong.MaxValue, CancellationToken.None));

        var read = new RecordedDecision();
        Assert.Equal([false, true, false], records.Select(record => read.TryRead(record.ToByteArray()) is null && plan.IsWithdrawn(read)));
        Assert.Equal(["numbers/alpha", "numbers/beta", "roots/gamma"], plan.Classifiers);
    }

    [Fact]
    public void ExportPlan_WithdrawalOfAnotherEpoch_TakesNothingBack()
    {
        AuditBench.Decide(_bench, 1);
        var decision = _bench.Records()[0];
        var withdrawal = new Withdrawal { StreamId = decision.StreamId, Epoch = decision.Epoch + 1, WithdrawnSequence = decision.Sequence };
        var plan = new ExportPlan();

        Assert.Null(plan.Read(
            new ListSource([(RecordType.Decision, decision.ToByteArray()), (RecordType.Withdrawal, withdrawal.ToByteArray())]), 0, ulong.MaxValue, CancellationToken.None));

        var read = new RecordedDecision();
        Assert.Null(read.TryRead(decision.ToByteArray()));
        Assert.False(plan.IsWithdrawn(read));
    }

    [Fact]
    public void Export_NoDecisions_ExitsWith2AndLeavesTheFileAsItWas()
    {
        AuditBench.Decide(_bench, 1);
        var target = Path.Combine(_folder.FullName, "rows.jsonl");
        File.WriteAllText(target, "before");

        var (code, _, error) = AuditRun.Run("export", "--format", "jsonl", "--out", target, "--from", "2100-01-01", _bench.Ledger.StreamFolder);

        Assert.Equal(2, code);
        Assert.Contains("no decisions", error, StringComparison.Ordinal);
        Assert.Equal("before", File.ReadAllText(target));
        Assert.Equal([target], Directory.GetFiles(_folder.FullName));
    }

    [Fact]
    public void Export_Json_TellsHowManyWereWritten()
    {
        AuditBench.Decide(_bench, 4);
        var target = Path.Combine(_folder.FullName, "rows.jsonl");

        var (code, output, error) = AuditRun.Run("export", "--format", "jsonl", "--json", "--out", target, _bench.Ledger.StreamFolder);

        Assert.True(code == 0, error);
        using var told = JsonDocument.Parse(output);
        Assert.Equal(4, told.RootElement.GetProperty("decisions").GetInt32());
        Assert.Equal(File.ReadAllLines(target).Length, told.RootElement.GetProperty("candidates").GetInt32());
        Assert.True(told.RootElement.GetProperty("complete").GetBoolean());
    }

    [Theory]
    [InlineData("xml", "out")]
    [InlineData("dsa", "out", "--mapping", "/nowhere")]
    [InlineData("jsonl", "/nowhere/at/all")]
    public void Export_WrongArguments_SayWhatIsWrongAndExitWith2(string format, string path, params string[] more)
    {
        AuditBench.Decide(_bench, 1);
        var target = path == "out" ? Path.Combine(_folder.FullName, path) : path;

        var (code, _, error) = AuditRun.Run(["export", "--format", format, "--out", target, .. more, _bench.Ledger.StreamFolder]);

        Assert.NotEqual(0, code);
        Assert.NotEmpty(error);
    }

    private string Export(string format, params string[] more)
    {
        var path = Path.Combine(_folder.FullName, "out." + format);
        var (code, _, error) = AuditRun.Run(["export", "--format", format, "--out", path, .. more, _bench.Ledger.StreamFolder]);
        Assert.True(code == 0, error);
        return path;
    }
}

/// <summary>Runs <c>safetyfilter audit</c> in this process.</summary>
internal static class AuditRun
{
    public static (int Code, string Output, string Error) Run(params string[] arguments)
    {
        var output = new StringWriter();
        var error = new StringWriter();
        var code = AuditCommand.Create().Parse(arguments).Invoke(new() { Output = output, Error = error });
        return (code, output.ToString(), error.ToString());
    }
}
