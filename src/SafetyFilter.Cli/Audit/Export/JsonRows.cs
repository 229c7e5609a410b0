using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using SafetyFilter.Audit;

namespace SafetyFilter.Cli.Audit.Export;

/// <summary>One JSON object per candidate decision and line, in the columns of <see cref="ParquetRows"/>; scores by classifier.</summary>
internal sealed class JsonRows(Stream into) : IRowWriter
{
    private readonly Utf8JsonWriter _json = new(into, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    public ValueTask WriteAsync(RecordedDecision record, bool withdrawn)
    {
        for (var candidate = 0; candidate < record.Count; candidate++)
        {
            Write(record, candidate, withdrawn);
            _json.Flush();
            _json.Reset();
            into.WriteByte((byte)'\n');
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync() => _json.DisposeAsync();

    private void Write(RecordedDecision record, int candidate, bool withdrawn)
    {
        var rule = record.Rules[(int)record.RuleIndexes[candidate]];
        _json.WriteStartObject();
        _json.WriteString("stream", record.Stream.ToString("N"));
        _json.WriteNumber("epoch", record.Epoch);
        _json.WriteNumber("sequence", record.Sequence);
        _json.WriteString("time", RowWords.Time(record).ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture));
        _json.WriteString("request_id", record[record.Batch.RequestId]);
        _json.WriteString("surface", record[record.Batch.Surface]);
        _json.WriteString("territory", record[record.Batch.Territory]);
        _json.WriteString("age_band", record[record.Batch.AgeBand]);
        _json.WriteString("experiment", record[record.Batch.Experiment]);
        _json.WriteString("purpose", record[record.Batch.Purpose]);
        _json.WriteString("policy", record[record.Policy]);
        _json.WriteString("policy_revision", record[record.PolicyRevision]);
        _json.WriteString("candidate_id", record[record.Batch.Ids[candidate]]);
        _json.WriteString("content_version", record.Batch.ContentVersions.Count > 0 ? record[record.Batch.ContentVersions[candidate]] : default);
        _json.WriteString("action", RowWords.Name(record.Actions[candidate]));
        _json.WriteString("rule", record[rule.Id]);
        _json.WriteString("reason_code", record[rule.ReasonCode]);
        _json.WriteString("severity", RowWords.Name(rule.Severity));
        _json.WriteString("basis", RowWords.Name(record.Bases[candidate]));
        _json.WriteScore("margin", record.Margins[candidate]);
        _json.WriteBoolean("withdrawn", withdrawn);
        _json.WriteStartObject("scores");
        for (var row = 0; row < record.Classifiers.Count; row++)
        {
            _json.WriteScore(record.Text(record.Classifiers[row].Name), record.Scores.Row(row)[candidate]);
        }

        _json.WriteEndObject();
        _json.WriteEndObject();
    }
}
