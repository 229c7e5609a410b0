using System.Text.Encodings.Web;
using System.Text.Json;
using SafetyFilter.Audit;
using SafetyFilter.Decisions;

namespace SafetyFilter.Cli.Audit.Export;

/// <summary>One DSA statement of reasons per restricted candidate and line. What was allowed, or withdrawn, was not restricted by a given decision.</summary>
internal sealed class StatementRows(Stream into, StatementOptions options) : IRowWriter
{
    private readonly Utf8JsonWriter _json = new(into, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });

    public ValueTask WriteAsync(RecordedDecision record, bool withdrawn)
    {
        for (var candidate = 0; candidate < record.Count && !withdrawn; candidate++)
        {
            if (record.Actions[candidate] != CandidateAction.Allow)
            {
                StatementOfReasons.Write(_json, record, candidate, options);
                _json.Flush();
                _json.Reset();
                into.WriteByte((byte)'\n');
            }
        }

        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync() => _json.DisposeAsync();
}
