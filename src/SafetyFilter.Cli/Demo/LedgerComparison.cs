using System.Globalization;
using System.Security.Cryptography;
using SafetyFilter.Cli.Traffic;
using SafetyFilter.Client;
using SafetyFilter.Ledger;
using SafetyFilter.Lineage.V1;

namespace SafetyFilter.Cli.Demo;

/// <summary>
/// Holds every answer that the client saw against its record in the spool: found by the receipt, recognised by its leaf
/// hash, equal in everything that was decided. And the other way round: no decision on record that nobody was told.
/// </summary>
internal sealed class LedgerComparison
{
    private readonly List<string> _differences = [];

    public int Compared { get; private set; }

    public int Records { get; private set; }

    public int Epochs { get; private set; }

    public IReadOnlyList<string> Differences => _differences;

    /// <summary>What the verifier found, e.g. gaps and damage; empty when there was nothing.</summary>
    public IReadOnlyList<string> Faults { get; private set; } = [];

    public static LedgerComparison Run(string spool, AnswerLog answers)
    {
        var comparison = new LedgerComparison();
        comparison.Compare(spool, answers);
        return comparison;
    }

    public void Check(Checks checks)
    {
        checks.Require(Faults.Count == 0, "the ledger verifies: order, gaps, CRCs", string.Join("; ", Faults.Take(3)));
        checks.Require(
            Compared > 0 && Differences.Count == 0,
            "0 unexplained differences between answers and records",
            Compared == 0 ? "nothing could be compared" : string.Join("; ", Differences.Take(3)));
    }

    private void Compare(string spool, AnswerLog answers)
    {
        using (var verifier = new LedgerVerifier())
        {
            Faults = verifier.AddSpool(spool, out var error)
                ? [.. verifier.Findings.Select(found => $"{found.Kind} at {Path.GetFileName(found.Source)}:{found.Position}: {found.Text}")]
                : [error ?? "it cannot be read"];
        }

        if (!Directory.Exists(spool))
        {
            return;
        }

        var pending = new Dictionary<(Guid Stream, uint Epoch, ulong Sequence), Answer>();
        foreach (var answer in answers.All)
        {
            if (answer.Result is not { } result)
            {
                Differ(answer, $"it was never answered: {answer.Error!.Status}");
            }
            else if (!pending.TryAdd((result.Receipt.StreamId, result.Receipt.Epoch, result.Receipt.Sequence), answer))
            {
                Differ(answer, $"another answer carries the same receipt {result.Receipt}");
            }
        }

        foreach (var stream in SpoolFolder.Streams(spool))
        {
            using var reader = SpoolReader.OpenStream(stream);
            for (var read = reader.Read(); read != SpoolRead.End; read = reader.Read())
            {
                if (read == SpoolRead.Record)
                {
                    Compare(reader, pending);
                }
            }
        }

        foreach (var answer in pending.Values)
        {
            Differ(answer, $"no record stands at its receipt {answer.Result!.Receipt}");
        }
    }

    private void Compare(SpoolReader reader, Dictionary<(Guid Stream, uint Epoch, ulong Sequence), Answer> pending)
    {
        Epochs += reader.Type == RecordType.EpochStart ? 1 : 0;
        if (reader.Type != RecordType.Decision)
        {
            return;
        }

        Records++;
        var record = DecisionRecord.Parser.ParseFrom(reader.Payload);
        if (!pending.Remove((new Guid(record.StreamId.Span, bigEndian: true), record.Epoch, record.Sequence), out var answer))
        {
            _differences.Add($"record {record.Sequence} ({record.RequestId}) decides what nobody was answered");
            return;
        }

        Compared++;
        var differences = _differences.Count;
        var result = answer.Result!;
        Same(answer, "leaf hash", LeafHash(reader.Payload), Convert.ToHexStringLower(result.Receipt.LeafHash.Span));
        Same(answer, "request id", record.RequestId, result.RequestId);
        Same(answer, "surface", record.Surface, answer.Surface);
        Same(answer, "policy", record.Policy, result.Policy);
        Same(answer, "policy revision", record.PolicyRevision, result.PolicyRevision);
        Same(answer, "candidates", string.Join(' ', record.CandidateIds), string.Join(' ', answer.Items.Select(item => item.Id)));
        Same(answer, "degradations", Marks(record), Marks(result));
        for (var row = 0; row < result.Count && _differences.Count == differences; row++)
        {
            Same(answer, $"rank {row}", Verdict(record, row), Verdict(result, row));
            if (result.Message.Scores.Count > 0)
            {
                Same(answer, $"scores of rank {row}", Scores(record, row), Scores(result, row));
            }
        }
    }

    private static string LeafHash(ReadOnlySpan<byte> record)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData([0]);
        hash.AppendData(record);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    // Both sides are written out as one line in the same order; what differs can then be read in the message.
    private static string Verdict(DecisionRecord record, int row)
    {
        var rule = record.Rules[(int)record.RuleIndexes[row]];
        return Line(
            (int)record.Actions[row], (int)record.Bases[row], rule.Id, rule.ReasonCode, (int)rule.Severity, rule.DemoteFactor, rule.Label, rule.MinimumAge);
    }

    private static string Verdict(FilterResult result, int row)
    {
        var message = result.Message;
        var rule = message.Rules[(int)message.RuleIndexes[row]];
        return Line(
            (int)message.Actions[row], (int)message.Bases[row], rule.Id, rule.ReasonCode, (int)rule.Severity, rule.DemoteFactor, rule.Label, rule.MinimumAge);
    }

    private static string Line(int action, int basis, string rule, string reason, int severity, float factor, string label, uint age) =>
        string.Create(CultureInfo.InvariantCulture, $"action {action}, basis {basis}, {rule}, {reason}, {severity}, {factor:R}, {label}, {age}");

    private static string Marks(DecisionRecord record) => Sorted(record.Degradations.Select(mark =>
        $"{record.Classifiers[(int)mark.ClassifierIndex].Name} {(int)mark.Failure} {(int)mark.FailMode} [{string.Join(' ', mark.CandidateIndexes)}]"));

    private static string Marks(FilterResult result) => Sorted(result.Message.Degradations.Select(mark =>
        $"{result.Classifier((int)mark.ClassifierIndex).Name} {(int)mark.Failure} {(int)mark.FailMode} [{string.Join(' ', mark.CandidateIndexes)}]"));

    private static string Scores(DecisionRecord record, int row) => Sorted(record.Classifiers.Select((classifier, index) =>
        $"{classifier.Name} {BitConverter.SingleToUInt32Bits(record.Scores[index * (int)record.CandidateCount + row]):x8}"));

    private static string Scores(FilterResult result, int row) => Sorted(Enumerable.Range(0, result.ClassifierCount).Select(index =>
        $"{result.Classifier(index).Name} {BitConverter.SingleToUInt32Bits(result[row].Score(index)):x8}"));

    private static string Sorted(IEnumerable<string> parts) => string.Join(", ", parts.Order(StringComparer.Ordinal));

    private void Same(Answer answer, string what, string record, string answered)
    {
        if (record != answered)
        {
            Differ(answer, $"{what} is '{record}' on record and '{answered}' in the answer");
        }
    }

    private void Differ(Answer answer, string how) => _differences.Add($"{answer.RequestId}: {how}");
}
