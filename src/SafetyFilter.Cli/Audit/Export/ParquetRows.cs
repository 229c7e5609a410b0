using Parquet;
using Parquet.Schema;
using SafetyFilter.Audit;

namespace SafetyFilter.Cli.Audit.Export;

/// <summary>
/// A Parquet file with one row per candidate decision and a nullable float column per classifier. Memory is bounded by the size of a
/// row group, not by the ledger's.
/// </summary>
internal sealed class ParquetRows : IRowWriter
{
    private const int RowsPerGroup = 50_000;

    private static readonly string[] TextNames =
    [
        "stream", "request_id", "surface", "territory", "age_band", "experiment", "purpose", "policy", "policy_revision",
        "candidate_id", "content_version", "action", "rule", "reason_code", "severity", "basis",
    ];

    private readonly ParquetWriter _writer;
    private readonly Schema _schema;
    private readonly string[] _classifiers;
    private readonly List<string>[] _texts = [.. TextNames.Select(static _ => new List<string>())];
    private readonly List<int> _epochs = [];
    private readonly List<long> _sequences = [];
    private readonly List<DateTime> _times = [];
    private readonly List<float?> _margins = [];
    private readonly List<bool> _withdrawn = [];
    private readonly List<float?>[] _scores;
    private int[] _rowOf = [];

    private ParquetRows(ParquetWriter writer, Schema schema, string[] classifiers)
    {
        _writer = writer;
        _schema = schema;
        _classifiers = classifiers;
        _scores = [.. classifiers.Select(static _ => new List<float?>())];
    }

    public static async Task<ParquetRows> CreateAsync(Stream into, IReadOnlyCollection<string> classifiers)
    {
        var schema = new Schema(
            [.. TextNames.Select(static name => new DataField<string>(name, false))],
            new DataField<int>("epoch"),
            new DataField<long>("sequence"),
            new DateTimeDataField("time", DateTimeFormat.Timestamp, isAdjustedToUTC: true, DateTimeTimeUnit.Micros, isNullable: false),
            new DataField<float?>("margin"),
            new DataField<bool>("withdrawn"),
            [.. classifiers.Select(static name => new DataField<float?>($"score:{name}"))]);
        var options = new ParquetOptions { CompressionMethod = CompressionMethod.Zstd };
        return new ParquetRows(await ParquetWriter.CreateAsync(schema.All, into, options), schema, [.. classifiers]);
    }

    public ValueTask WriteAsync(RecordedDecision record, bool withdrawn)
    {
        FindRows(record);
        string[] shared =
        [
            record.Stream.ToString("N"), record.Text(record.Batch.RequestId), record.Text(record.Batch.Surface), record.Text(record.Batch.Territory),
            record.Text(record.Batch.AgeBand), record.Text(record.Batch.Experiment), record.Text(record.Batch.Purpose), record.Text(record.Policy),
            record.Text(record.PolicyRevision),
        ];
        var rules = new (string Id, string Reason, string Severity)[record.Rules.Count];
        for (var i = 0; i < rules.Length; i++)
        {
            var rule = record.Rules[i];
            rules[i] = (record.Text(rule.Id), record.Text(rule.ReasonCode), RowWords.Name(rule.Severity));
        }

        for (var candidate = 0; candidate < record.Count; candidate++)
        {
            var (id, reason, severity) = rules[record.RuleIndexes[candidate]];
            Add([
                .. shared, record.Text(record.Batch.Ids[candidate]),
                record.Batch.ContentVersions.Count > 0 ? record.Text(record.Batch.ContentVersions[candidate]) : "",
                RowWords.Name(record.Actions[candidate]), id, reason, severity, RowWords.Name(record.Bases[candidate]),
            ]);
            _epochs.Add((int)record.Epoch);
            _sequences.Add((long)record.Sequence);
            _times.Add(RowWords.Time(record));
            _margins.Add(Number(record.Margins[candidate]));
            _withdrawn.Add(withdrawn);
            for (var i = 0; i < _classifiers.Length; i++)
            {
                _scores[i].Add(_rowOf[i] < 0 ? null : Number(record.Scores.Row(_rowOf[i])[candidate]));
            }
        }

        return _epochs.Count >= RowsPerGroup ? new ValueTask(FlushAsync()) : ValueTask.CompletedTask;
    }

    public async ValueTask DisposeAsync()
    {
        if (_epochs.Count > 0)
        {
            await FlushAsync();
        }

        await _writer.DisposeAsync();
    }

    private async Task FlushAsync()
    {
        using var group = _writer.CreateRowGroup();
        for (var i = 0; i < _texts.Length; i++)
        {
            await group.WriteAsync(_schema.Texts[i], _texts[i]);
            _texts[i].Clear();
        }

        await group.WriteAsync<int>(_schema.Epoch, _epochs.ToArray());
        await group.WriteAsync<long>(_schema.Sequence, _sequences.ToArray());
        await group.WriteAsync<DateTime>(_schema.Time, _times.ToArray());
        await group.WriteAsync<float>(_schema.Margin, _margins.ToArray());
        await group.WriteAsync<bool>(_schema.Withdrawn, _withdrawn.ToArray());
        for (var i = 0; i < _scores.Length; i++)
        {
            await group.WriteAsync<float>(_schema.Scores[i], _scores[i].ToArray());
            _scores[i].Clear();
        }

        group.CompleteValidate();
        _epochs.Clear();
        _sequences.Clear();
        _times.Clear();
        _margins.Clear();
        _withdrawn.Clear();
    }

    private void Add(ReadOnlySpan<string> texts)
    {
        for (var i = 0; i < texts.Length; i++)
        {
            _texts[i].Add(texts[i]);
        }
    }

    private void FindRows(RecordedDecision record)
    {
        if (_rowOf.Length == 0)
        {
            _rowOf = new int[_classifiers.Length];
        }

        for (var i = 0; i < _classifiers.Length; i++)
        {
            _rowOf[i] = -1;
            for (var row = 0; row < record.Classifiers.Count; row++)
            {
                if (System.Text.Ascii.Equals(record[record.Classifiers[row].Name], _classifiers[i]))
                {
                    _rowOf[i] = row;
                }
            }
        }
    }

    private static float? Number(float value) => float.IsFinite(value) ? value : null;

    private sealed record Schema(
        DataField[] Texts, DataField Epoch, DataField Sequence, DataField Time, DataField Margin, DataField Withdrawn, DataField[] Scores)
    {
        public ParquetSchema All { get; } = new([.. Texts, Epoch, Sequence, Time, Margin, Withdrawn, .. Scores]);
    }
}
