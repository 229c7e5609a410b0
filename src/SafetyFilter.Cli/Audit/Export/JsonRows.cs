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
            Write(_json, record, candidate, withdrawn);
            _json.Flush();
            _json.Reset();
            into.WriteByte((byte)'\n');
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync() => _json.DisposeAsync();

    /// <summary>One candidate decision as an object.</summary>
    public static void Write(Utf8JsonWriter json, RecordedDecision record, int candidate, bool withdrawn)
    {
        var rule = record.Rules[(int)record.RuleIndexes[candidate]];
        json.WriteStartObject();
        json.WriteString("stream", record.Stream.ToString("N"));
        json.WriteNumber("epoch", record.Epoch);
        json.WriteNumber("sequence", record.Sequence);
        json.WriteString("time", RowWords.Time(record).ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'", CultureInfo.InvariantCulture));
        json.WriteString("request_id", record[record.Batch.RequestId]);
        json.WriteString("surface", record[record.Batch.Surface]);
        json.WriteString("territory", record[record.Batch.Territory]);
        json.WriteString("age_band", record[record.Batch.AgeBand]);
        json.WriteString("experiment", record[record.Batch.Experiment]);
        json.WriteString("purpose", record[record.Batch.Purpose]);
        json.WriteString("policy", record[record.Policy]);
        json.WriteString("policy_revision", record[record.PolicyRevision]);
        json.WriteString("candidate_id", record[record.Batch.Ids[candidate]]);
        json.WriteString("content_version", record.Batch.ContentVersions.Count > 0 ? record[record.Batch.ContentVersions[candidate]] : default);
        json.WriteString("action", RowWords.Name(record.Actions[candidate]));
        json.WriteString("rule", record[rule.Id]);
        json.WriteString("reason_code", record[rule.ReasonCode]);
        json.WriteString("severity", RowWords.Name(rule.Severity));
        json.WriteString("basis", RowWords.Name(record.Bases[candidate]));
        json.WriteScore("margin", record.Margins[candidate]);
        json.WriteBoolean("withdrawn", withdrawn);
        json.WriteStartObject("scores");
        for (var row = 0; row < record.Classifiers.Count; row++)
        {
            json.WriteScore(record.Text(record.Classifiers[row].Name), record.Scores.Row(row)[candidate]);
        }

        json.WriteEndObject();
        json.WriteEndObject();
    }
}
